"""What a person is told of the sessions in a node's ``upstreams``: key, value, reason and cure."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.spec import Loaded, SpecError, given_secret, load, needed_passwords
from tests.kit.stacks import EXISTING, ROOT, with_members, with_sessions

NODE = "mesh:nodes.ewr-buyvm-1"
KEY = f"{NODE}.upstreams"
GOOD: dict[str, Any] = {"name": "transit", "asn": 64510, "ipv4": "198.51.100.1"}


def loaded(*entries: dict[str, Any], **host: Any) -> Loaded:
    """The network with these entries on its existing host, which has other keys as well."""
    values = with_members()
    given = {key: value for key, value in (EXISTING | host).items() if value is not None}
    values["nodes"]["ewr-buyvm-1"] = {"number": 7, "host": given, "upstreams": list(entries)}
    return load("prod", values, ROOT)


REFUSED: list[tuple[str, dict[str, Any], list[str]]] = [
    ("nobody", {"ipv4": None}, [f"{KEY}.transit = asn 64510", "needs a neighbor", "ipv4"]),
    ("ourselves", {"asn": 27218}, [f"{KEY}.transit.asn = 27218", "own ASN"]),
    (
        "the host itself",
        {"ipv4": "203.0.113.77"},
        [f"{KEY}.transit.ipv4 = 203.0.113.77", "ewr-buyvm-1, a node of ours"],
    ),
    (
        "its own source",
        {"local": {"ipv4": "198.51.100.1"}},
        [f"{KEY}.transit.ipv4 = 198.51.100.1", "session's own address"],
    ),
    (
        "an address of the aggregate",
        {"ipv4": "192.30.121.1"},
        [f"{KEY}.transit.ipv4", "inside the aggregate 192.30.120.0/23"],
    ),
    (
        "an address of the IPv6 aggregate",
        {"ipv6": "2620:71:4000::1"},
        [f"{KEY}.transit.ipv6", "inside the aggregate 2620:71:4000::/48"],
    ),
    (
        "a tunnel's address",
        {"ipv4": "10.10.10.9"},
        [f"{KEY}.transit.ipv4 = 10.10.10.9", "range of the tunnels"],
    ),
    ("multicast", {"ipv4": "224.0.0.5"}, [f"{KEY}.transit.ipv4 = 224.0.0.5", "multicast"]),
    ("multicast of IPv6", {"ipv6": "ff02::5"}, [f"{KEY}.transit.ipv6 = ff02::5", "multicast"]),
    ("loopback", {"ipv4": "127.0.0.1"}, [f"{KEY}.transit.ipv4 = 127.0.0.1", "loopback"]),
    ("no address", {"ipv6": "::"}, [f"{KEY}.transit.ipv6 = ::", "no address of any router"]),
    ("broadcast", {"ipv4": "255.255.255.255"}, [f"{KEY}.transit.ipv4", "broadcast"]),
    (
        "a link-local address of no link",
        {"ipv6": "fe80::1"},
        [f"{KEY}.transit.ipv6 = fe80::1", "every link", "interface: eth1"],
    ),
    (
        "a zone",
        {"ipv6": "fe80::1%eth1"},
        [f"{KEY}.transit.ipv6 = fe80::1%eth1", "ipv6: fe80::1, and interface: eth1"],
    ),
    (
        "a zone in the own address",
        {
            "ipv6": "fe80::1",
            "interface": "eth1",
            "local": {"ipv6": "fe80::2%eth1"},
        },
        [f"{KEY}.transit.local.ipv6", "fe80::2, and interface: eth1"],
    ),
    (
        "link-local from another address",
        {"ipv6": "fe80::1", "interface": "eth1", "local": {"ipv6": "2001:db8::2"}},
        [f"{KEY}.transit.ipv6 = fe80::1", "remove local.ipv6"],
    ),
    ("the other family", {"ipv4": "2001:db8::1"}, [f"{KEY}.0.ipv4", "not an IPv4 address"]),
    (
        "an own address without a neighbor",
        {"local": {"ipv6": "2001:db8::2"}},
        [f"{KEY}.transit.local.ipv6 = 2001:db8::2", "no ipv6 neighbor"],
    ),
    (
        "loopback as its source",
        {"local": {"ipv4": "127.0.0.2"}},
        [f"{KEY}.transit.local.ipv4 = 127.0.0.2", "no interface"],
    ),
    (
        "another subnet",
        {"local": {"ipv4": "198.51.100.6/30"}},
        [f"{KEY}.transit.ipv4 = 198.51.100.1", "outside 198.51.100.4/30", "multihop: 2"],
    ),
    (
        "several hops on one link",
        {"interface": "eth1", "multihop": 2},
        [f"{KEY}.transit.multihop = 2", "one hop away"],
    ),
    ("a tunnel", {"interface": "wg-lax"}, [f"{KEY}.transit.interface = wg-lax", "eth1"]),
    ("an interface with a space", {"interface": "eth 1"}, [f"{KEY}.0.interface"]),
    ("a hold time of none", {"holdTime": 0}, [f"{KEY}.0.holdTime = 0", "less than 3"]),
    (
        "another's blackhole community",
        {"blackhole": "64999:666"},
        [f"{KEY}.transit.blackhole", "not of AS64510"],
    ),
    (
        "a community that would discard all",
        {"communities": ["64510:666"], "blackhole": "64510:666"},
        [f"{KEY}.transit.communities = 64510:666", "discard all traffic"],
    ),
    (
        "another provider's action",
        {"communities": ["20473:6001"]},
        [f"{KEY}.transit.communities = 20473:6001", "it is for AS20473 (vultr)"],
    ),
    ("an unknown key", {"peerAsn": 64510}, [f"{KEY}.0.peerAsn", "unknown here"]),
]


@pytest.mark.parametrize(
    ("changes", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_a_session_that_could_not_come_up_is_refused(
    changes: dict[str, Any], said: list[str]
) -> None:
    entry = {key: value for key, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(SpecError) as error:
        loaded(entry)
    (problem,) = error.value.problems
    assert all(part in str(problem) for part in said), str(problem)


@pytest.mark.parametrize("address", ["fe80::1", "2620:71:4000::1", "ff02::5", "::1"])
def test_the_short_form_is_judged_as_well(address: str) -> None:
    upstream = {**EXISTING["upstream"], "ipv6": address}
    with pytest.raises(SpecError, match=rf"{NODE}.host.upstream.ipv6 = {address}:"):
        loaded(upstream=upstream)


def test_two_sessions_have_two_names() -> None:
    other = {**GOOD, "ipv4": "198.51.100.5"}
    with pytest.raises(SpecError, match=rf"{KEY}.transit = transit: two sessions"):
        loaded(GOOD, other)


@pytest.mark.parametrize("neighbor", ["198.51.100.1", EXISTING["upstream"]["ipv4"]])
def test_two_sessions_have_two_neighbors(neighbor: str) -> None:
    other = {**GOOD, "name": "other", "ipv4": neighbor}
    with pytest.raises(SpecError, match=rf"{KEY}.other.ipv4 = {neighbor}: .* has this neighbor"):
        loaded(GOOD, other)


def test_one_link_local_address_may_be_on_two_links() -> None:
    peers = [
        {"name": f"peer{n}", "asn": 64510 + n, "ipv6": "fe80::1", "interface": f"eth{n}"}
        for n in (1, 2)
    ]
    assert len(loaded(*peers).spec.nodes["ewr-buyvm-1"].upstreams) == 2


def test_a_neighbor_behind_a_router_needs_multihop() -> None:
    entry = {**GOOD, "local": {"ipv4": "198.51.100.6/30"}, "multihop": 2}
    assert loaded(entry).spec.nodes["ewr-buyvm-1"].upstreams[0].multihop == 2


def test_an_ipv6_session_needs_an_ipv6_address_of_the_host() -> None:
    entry = {**GOOD, "ipv6": "2001:db8:a::1"}
    four = {key: value for key, value in EXISTING["upstream"].items() if key != "ipv6"}
    with pytest.raises(SpecError, match=rf"{KEY}.transit.ipv6 .* add host.ipv6, or local.ipv6"):
        loaded(entry, ipv6=None, upstream=four)
    own = {**entry, "local": {"ipv6": "2001:db8:a::2"}}
    assert loaded(own, ipv6=None, upstream=four)


def test_a_long_hold_time_is_taken_with_a_warning() -> None:
    (problem,) = [
        each for each in loaded({**GOOD, "holdTime": 180}).problems if "holdTime" in each.key
    ]
    assert (problem.severity, problem.value) == ("warning", "180")


def test_a_session_of_a_family_that_the_network_lacks_is_refused() -> None:
    values = with_sessions()
    del values["prefixes"]["ipv6"], values["services"]["web"]["addresses"]["ipv6"]
    with pytest.raises(SpecError) as error:
        load("prod", values, ROOT)
    keys = {problem.key for problem in error.value.problems}
    assert keys == {f"{KEY}.neighbor", f"{KEY}.far"}


def test_a_member_has_no_sessions() -> None:
    values = with_members()
    values["nodes"]["lax-aws-1"] = {"number": 5, "upstreams": [GOOD]}
    with pytest.raises(SpecError, match=r"lax-aws-1.upstreams = transit: .*remove them"):
        load("prod", values, ROOT)


def test_a_rule_of_traffic_names_a_session_that_exists() -> None:
    values = with_sessions()
    values["traffic"] = [{"name": "less", "sessions": ["transit-c"], "prepend": 1}]
    with pytest.raises(SpecError, match=r"less.sessions = transit-c: .*name one of far, neighbor"):
        load("prod", values, ROOT)


OWN, PROVIDERS = "ewr-buyvm-1-transit", "buyvm"


@pytest.mark.parametrize(
    ("known", "counts"),
    [((OWN,), OWN), ((PROVIDERS,), PROVIDERS), ((OWN, PROVIDERS), OWN), ((), OWN)],
)
def test_a_session_s_own_password_wins(known: tuple[str, ...], counts: str) -> None:
    assert given_secret(OWN, {f"bgpPassword-{name}" for name in known}) == counts


def test_a_password_is_asked_for_by_the_session_s_name() -> None:
    found = loaded({**GOOD, "password": True})
    assert OWN in needed_passwords(found.spec)
    missing = {each.key: each for each in found.problems if each.severity == "preview"}
    assert "mesh:bgpPassword-buyvm for all sessions" in missing[f"mesh:bgpPassword-{OWN}"].cure


def test_a_password_that_no_session_needs_is_refused() -> None:
    values = with_members() | {f"bgpPassword-{OWN}": "s3cret-of-nobody"}
    with pytest.raises(SpecError, match=rf"bgpPassword-{OWN} = \[secret\]: no node"):
        load("prod", values, ROOT)


def test_no_neighbor_is_inside_any_aggregate() -> None:
    values = with_members()
    values["prefixes"]["ipv4"] = ["192.30.120.0/23", "192.30.124.0/23"]
    entry = GOOD | {"ipv4": "192.30.125.1"}
    values["nodes"]["ewr-buyvm-1"] = {"number": 7, "host": EXISTING, "upstreams": [entry]}
    with pytest.raises(SpecError, match=r"inside the aggregate 192\.30\.124\.0/23"):
        load("prod", values, ROOT)
