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
