"""Vultr: edges, on instances and bare metal. Resources of our own make them, or a plugin."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.infra.providers.description import Broken, Description, EnginePlugin, FormerResources
from mesh.infra.providers.inputs import (
    TCP,
    Inputs,
    given,
    is_one_of,
    is_unknown,
    known,
    port_range,
)
from mesh.infra.providers.resources import OTHER, PortRange, ResourceKind, ResourceType
from mesh.spec import Spec

BY_API, BY_PLUGIN = "pulumi-python:dynamic/vultr:", "vultr:"
"""Prefixes of the types of resources, by what makes them."""


def _group(group: Inputs) -> Iterator[tuple[str, PortRange]]:
    """A group of our own with its rules: RuleArgs of mesh/infra/dynamic/vultr/firewall.py."""
    for rule in known(group, "rules") or ():
        subnet, size = rule.get("subnet"), rule.get("size")
        # A subnet that is not known yet is a node's own address.
        if is_one_of(rule.get("protocol"), TCP) and subnet and not is_unknown(subnet):
            yield f"{subnet}/{int(size)}", port_range(rule.get("port") or "", ":")


def _rule(rule: Inputs) -> Iterator[tuple[str, PortRange]]:
    # Required: ipType, protocol, subnet, subnetSize; without a port it is all of them.
    subnet, size = known(rule, "subnet"), known(rule, "subnetSize")
    if is_one_of(known(rule, "protocol"), TCP) and subnet and size is not None:
        yield f"{subnet}/{int(size)}", port_range(known(rule, "port") or "", ":")


def _is_by_plugin(spec: Spec) -> bool:
    return bool(spec.providers.vultr.through == "plugin")


# How the drift of a server begins (v2/server.py).
_QUIET_DRIFT = (
    "its label is ",
    "its tags are ",
    "it is not behind its firewall group",
    "it is powered off",
    "its address ",
)
_ADDRESS = ResourceType(ResourceKind.ADDRESS, protected=True, reserved=True)

_OWN = {
    # Our objects are also found by their ids.
    "pulumi-python:dynamic/mesh:Identity": OTHER,
    # api.vultr.com, "Update Instance": `plan` restarts the server, and `os_id` installs it anew.
    f"{BY_API}Instance": ResourceType(
        ResourceKind.SERVER,
        quiet=frozenset({"identity", "tags", "firewall_group_id"}),
        quiet_drift=_QUIET_DRIFT,
        tags="tags",
        has_ipv6=given("enable_ipv6"),
    ),
    f"{BY_API}BareMetal": ResourceType(
        ResourceKind.SERVER,
        quiet=frozenset({"identity", "tags"}),
        quiet_drift=_QUIET_DRIFT,
        tags="tags",
        has_ipv6=given("enable_ipv6"),
    ),
    f"{BY_API}Address": _ADDRESS,
    f"{BY_API}Firewall": ResourceType(ResourceKind.FIREWALL, lets_in=_group),
    f"{BY_API}SSHKey": OTHER,  # for servers to come
    f"{BY_API}StartupScript": OTHER,  # likewise
    f"{BY_API}Reverse": OTHER,  # names of addresses
}

_PLUGINS = {
    f"{BY_PLUGIN}index/instance:Instance": ResourceType(
        ResourceKind.SERVER,
        quiet=frozenset({"label", "tags", "firewallGroupId", "activationEmail"}),
        tags="tags",
        has_ipv6=given("enableIpv6"),
    ),
    f"{BY_PLUGIN}index/bareMetalServer:BareMetalServer": ResourceType(
        ResourceKind.SERVER,
        quiet=frozenset({"label", "tags"}),
        tags="tags",
        has_ipv6=given("enableIpv6"),
    ),
    f"{BY_PLUGIN}index/reservedIp:ReservedIp": _ADDRESS,
    f"{BY_PLUGIN}index/firewallGroup:FirewallGroup": ResourceType(ResourceKind.FIREWALL),
    f"{BY_PLUGIN}index/firewallRule:FirewallRule": ResourceType(
        ResourceKind.FIREWALL, lets_in=_rule
    ),
    f"{BY_PLUGIN}index/sSHKey:SSHKey": OTHER,  # for servers to come
    f"{BY_PLUGIN}index/reverseIpv4:ReverseIpv4": OTHER,  # names of addresses
    f"{BY_PLUGIN}index/reverseIpv6:ReverseIpv6": OTHER,
}

# vultr/terraform-provider-vultr: the call came with 2.16.0 (issue 386), is reported in issue 753,
# and removed in pull request 760; 2.32.0 still has it. ediri-vultr has the same version numbers.
_VPC2 = Broken(
    "2.16.0", "2.32.0", "mesh:providers.vultr.through", "plugin",
    "it asks Vultr's VPC 2.0 endpoint for every server, which Vultr removed in July 2026: each "
    "server that it makes is billed and counts as failed",
    "set mesh:providers.vultr.through to api (`mesh adopt` moves a stack that the plugin has "
    "made), or install a release of the package that no longer asks it",
)  # fmt: skip

DESCRIPTION = Description(
    driver="mesh.infra.providers.vultr.driver:Vultr",
    resources=_OWN | _PLUGINS,
    plugin=EnginePlugin("ediri-vultr", _is_by_plugin, (_VPC2,)),
    strays="mesh.infra.providers.vultr.strays:VultrStrays",
    former=FormerResources(
        types=BY_PLUGIN,
        present_types=BY_API,
        adoption="mesh.infra.providers.vultr.adoption.resources:VultrAdoption",
        command="mesh adopt",
        hint="the servers are moved to the API once",
        irreversible=(
            "the servers of this stack are made by Vultr's API, from which there is no way back "
            "to the plugin: `pulumi config rm --path mesh:providers.vultr.through"
        ),
    ),
)
