"""Routes in the words of BIRD, as recorded at sockets of its versions, and in drawn garbage."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.glass.choice import lost
from mesh.glass.described import Describing
from mesh.glass.parsing import Found, parsed
from tests.glass.networks import network_of
from tests.kit.stacks import plan_of, prod

# Copied from the control sockets of 2.17.6 and 3.1.8, with `timeformat "%s"`.
TWO = """\
Table master4:
10.10.10.3/32        unicast [u_mia_vultr_1 1795993300] * (100) [AS4200000003i]
\tvia fe80::3 on wg-mia-vultr-1
\tType: BGP univ
\tigp_metric: 38
\tBGP.origin: IGP
\tBGP.as_path: 4200000003
\tBGP.next_hop: :: fe80::3
\tBGP.local_pref: 999962
                     unicast [u_ord_vultr_1 1795993301] (100) [AS4200000003i]
\tvia fe80::2 on wg-ord-vultr-1
\tType: BGP univ
\tBGP.as_path: 4200000002 {4200000003 7}
\tBGP.next_hop: :: fe80::2
192.30.120.101/32    unicast [mate4_mia_vultr_1 1795993302 from 10.10.10.3] * (100/38) [i]
\tvia fe80::3 on wg-mia-vultr-1
\tType: BGP univ
\tBGP.as_path:
\tBGP.next_hop: 10.10.10.3
\tBGP.community: (65535,666) (1,2)
\tBGP.large_community: (27218, 65666, 13)
\tBGP.ext_community: (rt, 1, 5) (generic, 0x43000000, 0x1)
\tBGP.cluster_list: 10.10.10.1
192.30.120.100/32    unicast [bound 1795993302] * (240)
\tdev dummy0
\tType: device univ

Table master6:
2620:71:4000::25/128 unreachable [u_mia_vultr_1 1795993303] * (100/?) [AS4200000003i]
\tBGP.as_path: 4200000003
"""
THREE = """\
Table internet4:
8.8.8.0/24           unreachable [vultr4 1795993313 from 169.254.169.254] * (100) [AS15169i]
\thostentry: via 169.254.169.254 table master4
\tpreference: 100
\tigp_metric: 0
\tfrom: 169.254.169.254
\tsource: BGP
\tbgp_origin: IGP
\tbgp_path: 64515 20473 15169
\tbgp_next_hop: 169.254.169.254
\tbgp_med: 5
\tbgp_local_pref: 0
\tbgp_community: (20473,300) (65535,0)
\tbgp_large_community: (20473, 300, 15169)
\tbgp_otc: 64515
\tInternal route handling values: 0L 28G 0S id 2
"""


def read(text: str) -> list[Found]:
    return list(parsed((1007, line) for line in text.splitlines()))


def test_routes_are_read_from_bird_2() -> None:
    near, far, service, own, last = read(TWO)
    assert [each.prefix for each in (near, far)] == ["10.10.10.3/32"] * 2
    assert (near.table, last.table) == ("master4", "master6")
    assert (near.path, near.origin, near.local_pref) == ((4200000003,), 4200000003, 999962)
    assert (near.next_hop, near.gateway, near.interface) == ("fe80::3", "fe80::3", "wg-mia-vultr-1")
    assert (near.best, far.best, near.since, near.igp_metric) == (True, False, 1795993300.0, 38)
    assert (far.path, far.has_set) == ((4200000002, 4200000003, 7), True)
    assert (service.path, service.origin, service.metric) == ((), None, 38)
    assert service.communities == (
        "65535:666", "1:2", "27218:65666:13", "rt:1:5", "generic:0x43000000:0x1",
    )  # fmt: skip
    assert (own.session, own.interface, own.preference) == ("bound", "dummy0", 240)
    assert (last.dest, last.metric) == ("unreachable", None)


def test_routes_are_read_from_bird_3() -> None:
    (found,) = read(THREE)
    assert (found.path, found.origin, found.local_pref) == ((64515, 20473, 15169), 15169, 0)
    assert found.communities == ("20473:300", "65535:0", "20473:300:15169")
    assert (found.number("med"), found.origin_code, found.igp_metric) == (5, 0, 0)


def test_a_path_that_is_cut_has_no_half_of_an_asn() -> None:
    text = TWO.replace("BGP.as_path: 4200000003\n", "BGP.as_path: 64515 20473 30...\n", 1)
    found = read(text)[0]
    assert (found.path, found.path_is_cut, found.origin) == ((64515, 20473), True, 4200000003)


def route(**more: str) -> Found:
    metric = int(more.pop("metric", "0"))
    dest = more.pop("dest", "unicast")
    preference = int(more.pop("preference", "100"))
    attributes = {"as_path": "1 2", "local_pref": "100", "origin": "IGP"} | more
    head = ("internet4", "8.8.8.0/24", dest, "vultr4", 0.0, False, preference, metric, None)
    return Found(*head, attributes=attributes)


def test_each_step_of_the_decision_has_its_words() -> None:
    best = route()
    cases = [
        (route(preference="1"), "lower preference of its source: 1, not 100"),
        (route(dest="unreachable"), "its next hop is not reached"),
        (route(local_pref="50"), "lower local preference: 50, not 100"),
        (route(as_path="1 2 3"), "a longer path: 3 ASNs, not 2"),
        (route(origin="Incomplete"), "a worse origin of BGP"),
        (route(med="10"), "a higher MED: 10, not 0"),
        (route(metric="7"), "a farther next hop: cost 7, not 0"),
        (route(cluster_list="10.0.0.1"), "reflected more often"),
        (route(), "all else is equal: the neighbor's lower router id or address decides"),
    ]
    assert [lost(each, best, "upstream") for each, _ in cases] == [why for _, why in cases]


def test_a_med_of_another_neighbor_is_not_compared() -> None:
    assert "MED" not in lost(route(med="10"), route(as_path="7 2"), "upstream")


LINES = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=200)
HEADS = st.from_regex(
    r"[0-9a-f.:/]{0,20} {1,4}\w{1,10} \[\w{0,9} [^\]\n]{0,20}\]( \*)? \(\d{1,12}(/[^)\n]{0,9})?\)",
    fullmatch=True,
)
ATTRIBUTES = st.from_regex(
    r"\t(BGP\.|bgp_)?(as_path|path|med|local_pref|large_community|next_hop): ?[^\n]{0,80}",
    fullmatch=True,
)


@given(st.lists(st.tuples(st.integers(0, 9999), LINES | HEADS | ATTRIBUTES), max_size=30))
def test_whatever_comes_is_described_or_passed_over(lines: list[tuple[int, str]]) -> None:
    network = network_of(plan_of(prod()))
    describing = Describing(network, network.nodes[0])
    found = list(parsed(lines))
    described = describing.accepted(found, "") + describing.refused(found, "")
    for each in described:
        assert each.prefix.isprintable() and each.session.isprintable()
        assert all(community.value.isprintable() for community in each.communities)
        assert all(len(text) <= 400 for text in (each.prefix, each.next_hop, each.why))
