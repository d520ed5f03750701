"""What operators got wrong in their stack files, or could: each is named by its key."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.spec import SpecError, load, read_stack_file
from tests.networks.table import FOLDER

MISTAKES: dict[str, tuple[str, str, Any, str, str]] = {
    "a link-local neighbor without its link": (
        "link-local", "nodes/fra-hoster-1/upstreams/0",
        {"name": "neighbor", "asn": 64520, "ipv6": "fe80::1"},
        "mesh:nodes.fra-hoster-1.upstreams.neighbor.ipv6", "one of every link",
    ),
    "a neighbor with a zone": (
        "link-local", "nodes/fra-hoster-1/upstreams/0/ipv6", "fe80::1%eth1",
        "mesh:nodes.fra-hoster-1.upstreams.neighbor.ipv6", "zone",
    ),
    **{
        f"a neighbor that is {what}": (
            "handed-out-30", "nodes/fra-rack-1/upstreams/0/ipv4", address,
            "mesh:nodes.fra-rack-1.upstreams.transit.ipv4", reason,
        )
        for what, address, reason in (
            ("the node itself", "203.0.113.77", "a node of ours"),
            ("multicast", "224.0.0.5", "multicast"),
            ("loopback", "127.0.0.1", "loopback"),
            ("inside the aggregate", "192.30.120.9", "inside the aggregate"),
            ("a tunnel's", "10.10.10.2", "the range of the tunnels"),
            ("the subnet", "192.0.2.8", "which is the subnet itself"),
            ("the subnet's broadcast address", "192.0.2.11", "its broadcast address"),
        )
    },
    "one neighbor of two sessions": (
        "gtsm", "nodes/fra-rack-1/upstreams/1/ipv4", "192.0.2.1",
        "mesh:nodes.fra-rack-1.upstreams.far.ipv4", "has this neighbor already",
    ),
    "a neighbor outside the session's subnet": (
        "handed-out-30", "nodes/fra-rack-1/upstreams/0/ipv4", "192.0.2.33",
        "mesh:nodes.fra-rack-1.upstreams.transit.ipv4", "outside 192.0.2.8/30",
    ),
    "a subnet in place of an own address": (
        "handed-out-30", "nodes/fra-rack-1/upstreams/0/local/ipv4", "192.0.2.8/30",
        "mesh:nodes.fra-rack-1.upstreams.transit.local.ipv4", "no interface of a host has it",
    ),
    "a session's name in capitals": (
        "handed-out-30", "nodes/fra-rack-1/upstreams/0/name", "RS1",
        "mesh:nodes.fra-rack-1.upstreams.0.name", "small letters",
    ),
    "a session's name without end": (
        "handed-out-30", "nodes/fra-rack-1/upstreams/0/name", "a" * 33,
        "mesh:nodes.fra-rack-1.upstreams.0.name", "at most 32 characters",
    ),
    "an interface's name without end": (
        "handed-out-30", "nodes/fra-rack-1/upstreams/0/interface", "enp0s31f6.12345678",
        "mesh:nodes.fra-rack-1.upstreams.0.interface", "at most 15",
    ),
    "several sessions in the short form": (
        "blog", "nodes/lux-buyvm-1/host/upstream", [{"peerAsn": 53667, "ipv6": "2001:db8::1"}],
        "mesh:nodes.lux-buyvm-1.host.upstream", "not a map",
    ),
    "an address as a host number": (
        "blog", "regions/fra/slots/vultr-1", "2a14:67c1:a020::1",
        "mesh:regions.fra.slots.vultr-1", "nor a host number",
    ),
    "an IPv4 service without a prefix": (
        "blog", "services/dns/addresses", {"ipv4": "192.0.2.53"},
        "mesh:services.dns.addresses.ipv4", "the network has no IPv4",
    ),
    "a service at a node's IPv6 address": (
        "seed", "services/web/addresses/ipv6", "2620:71:4000::1",
        "mesh:services.web.addresses.ipv6", "the IPv6 addresses that belong to 192.30.120.0/29",
    ),
    "SSH as a service": (
        "seed", "services/web/ports/tcp", [22], "mesh:services.web.ports.tcp", "SSH listens",
    ),
    "the registry as a service": (
        "blog", "services/blog/ports/tcp", [8443], "mesh:services.blog.ports.tcp", "registry",
    ),
    "a service at no node": (
        "seed", "services/web/nodes", [], "mesh:services.web.nodes", "at least 1",
    ),
    "a service without an address": (
        "blog", "services/dns/addresses", {}, "mesh:services.dns.addresses", "no address",
    ),
    "a service address that is no address of ours": (
        "several-addresses", "services/dns/addresses/ipv6", ["2620:71:4000::53", "2001:db8::53"],
        "mesh:services.dns.addresses.ipv6", "outside the aggregate",
    ),
    "a prefix twice": (
        "two-blocks", "prefixes/ipv4", ["192.30.120.0/24", "192.30.120.0/24"],
        "mesh:prefixes.ipv4.1", "has it already",
    ),
    "two prefixes that overlap": (
        "two-prefixes", "prefixes/ipv4/1", "192.30.121.0/24", "mesh:prefixes.ipv4.1", "overlaps",
    ),
    "a prefix that is announced nowhere": (
        "unicast", "prefixes/ipv6/1", {"prefix": "2620:71:4001::/48", "announcedBy": []},
        "mesh:prefixes.ipv6.1.announcedBy", "at least 1",
    ),
    "a part of nothing": (
        "halves", "prefixes/moreSpecifics/1/prefix", "192.30.122.0/24",
        "mesh:prefixes.moreSpecifics.1.prefix", "inside none",
    ),
    "a part too long": (
        "halves", "prefixes/moreSpecifics/1/prefix", "192.30.121.0/25",
        "mesh:prefixes.moreSpecifics.1", "nothing longer than /24",
    ),
    "a place that is none": (
        "unicast", "prefixes/ipv6/1/announcedBy", ["lhr"],
        "mesh:prefixes.ipv6.1.announcedBy", "no such region or node",
    ),
    "a service away from its prefix": (
        "unicast", "services/here/nodes", ["fra-vultr-1"],
        "mesh:services.here.addresses.ipv6", "is announced by ams",
    ),
}  # fmt: skip
"""A network, one of its keys and another value for it, the key that is refused, and why."""


@pytest.mark.parametrize(
    ("name", "path", "value", "key", "reason"), MISTAKES.values(), ids=MISTAKES.keys()
)
def test_a_mistake_is_refused_by_its_key(
    name: str, path: str, value: Any, key: str, reason: str
) -> None:
    values = read_stack_file(FOLDER / f"Pulumi.{name}.yaml")
    *parents, last = path.split("/")
    place: Any = values
    for parent in parents:
        place = place[int(parent) if isinstance(place, list) else parent]
    place[int(last) if isinstance(place, list) else last] = value
    with pytest.raises(SpecError) as refused:
        load(name, values, FOLDER)
    errors = {each.key: each.reason for each in refused.value.problems if each.severity == "error"}
    assert reason in errors[key], errors


def test_a_password_in_the_stack_file_is_not_shown() -> None:
    values = read_stack_file(FOLDER / "Pulumi.handed-out-30.yaml")
    values["nodes"]["fra-rack-1"]["upstreams"][0]["password"] = "correct horse"
    with pytest.raises(SpecError) as refused:
        load("handed-out-30", values, FOLDER)
    assert "as a secret" in str(refused.value)
    assert "horse" not in str(refused.value)


def test_a_family_that_no_session_has_is_a_warning() -> None:
    """Not an error: the prefix may wait for its edge."""
    values = read_stack_file(FOLDER / "Pulumi.handed-out-30.yaml")
    values["prefixes"]["ipv6"] = "2620:71:4000::/48"
    found = {each.key: each for each in load("handed-out-30", values, FOLDER).problems}
    assert found["mesh:prefixes.ipv6"].severity == "warning"
    assert "no node has an IPv6 session" in found["mesh:prefixes.ipv6"].reason


def test_a_rule_for_one_of_several_prefixes_has_one_error() -> None:
    values = read_stack_file(FOLDER / "Pulumi.two-prefixes.yaml")
    second = values["prefixes"]["ipv4"][1]["prefix"]
    values["traffic"] = [{"name": "less", "prefix": second, "prepend": 2}]
    with pytest.raises(SpecError) as refused:
        load("two-prefixes", values, FOLDER)
    (error,) = refused.value.problems
    assert "several IPv4 prefixes" in error.reason


def test_a_place_that_is_none_is_the_only_error() -> None:
    values = read_stack_file(FOLDER / "Pulumi.unicast.yaml")
    values["prefixes"]["ipv6"][1]["announcedBy"] = ["lhr"]
    with pytest.raises(SpecError) as refused:
        load("unicast", values, FOLDER)
    errors = [each for each in refused.value.problems if each.severity == "error"]
    assert [each.key for each in errors] == ["mesh:prefixes.ipv6.1.announcedBy"]
