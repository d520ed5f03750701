"""GCP: members in one network, each region with a Cloud Router."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.infra.providers.description import Description, EnginePlugin
from mesh.infra.providers.inputs import (
    EVERY,
    TCP,
    Inputs,
    is_one_of,
    is_unknown,
    known,
    port_range,
    strings,
)
from mesh.infra.providers.resources import OTHER, PortRange, ResourceKind, ResourceType


def _rule(rule: Inputs) -> Iterator[tuple[str, PortRange]]:
    if known(rule, "direction") == "EGRESS" or known(rule, "disabled") is True:
        return
    sources = list(strings(known(rule, "sourceRanges")))
    named = known(rule, "sourceTags") or known(rule, "sourceServiceAccounts")
    if not sources and not named and not is_unknown(rule.get("sourceRanges")):
        sources = ["0.0.0.0/0"]  # cloud.google.com: without a source, it is any
    for allowed in known(rule, "allows") or ():
        if is_one_of(allowed.get("protocol"), TCP | EVERY):
            for ports in list(strings(allowed.get("ports"))) or [""]:
                for source in sources:
                    yield source, port_range(ports, "-")


def _on_an_interface(server: Inputs) -> bool:
    return any(
        isinstance(each, Mapping)
        and (each.get("ipv6AccessConfigs") or each.get("stackType") in ("IPV4_IPV6", "IPV6_ONLY"))
        for each in known(server, "networkInterfaces") or ()
    )


def _is_internal(address: Inputs) -> bool:
    return bool(known(address, "addressType") == "INTERNAL")


# pulumi_gcp.compute and pulumi_gcp.networkconnectivity.
_RESOURCES = {
    # cloud.google.com, "Edit the machine type": it is stopped for that, as for shielded options.
    "gcp:compute/instance:Instance": ResourceType(
        ResourceKind.SERVER,
        quiet=frozenset(
            {"labels", "tags", "metadata", "deletionProtection", "allowStoppingForUpdate"}
        ),
        tags="labels",
        has_ipv6=_on_an_interface,
    ),
    "gcp:compute/address:Address": ResourceType(
        ResourceKind.ADDRESS, protected=True, reserved=True, is_inside=_is_internal
    ),
    "gcp:compute/firewall:Firewall": ResourceType(ResourceKind.FIREWALL, lets_in=_rule),
    # GCP deletes neither while it is used (resourceInUseByAnotherResource).
    "gcp:compute/network:Network": OTHER,
    "gcp:compute/subnetwork:Subnetwork": OTHER,
    # The Cloud Router and its appliance are what the Route Server is to AWS.
    "gcp:compute/router:Router": OTHER,
    "gcp:compute/routerInterface:RouterInterface": OTHER,
    "gcp:compute/routerPeer:RouterPeer": OTHER,
    "gcp:networkconnectivity/hub:Hub": OTHER,
    "gcp:networkconnectivity/spoke:Spoke": OTHER,
}

DESCRIPTION = Description(
    driver="mesh.infra.providers.gcp.driver:Gcp",
    resources=_RESOURCES,
    plugin=EnginePlugin("pulumi-gcp"),
)
