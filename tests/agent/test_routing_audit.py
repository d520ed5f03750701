"""What peers say, in the words of three versions of BIRD, held against a plan."""

from __future__ import annotations

import pytest

from mesh.agent.config import Config
from mesh.agent.routing_audit import (
    Lasting,
    PlannedRouting,
    Route,
    TransitPath,
    clients,
    orders,
    parsed,
    transit_paths,
    violations,
)
from mesh.bird.reply import Reply
from mesh.render import node_files, placeholder_facts
from mesh.trust.documents import Alarm
from mesh.trust.encoding import parse
from tests.kit.stacks import plan_of, prod, with_members

LAX, ORD, MIA, EWR, NOBODY = (4200000000 + number for number in (1, 2, 3, 4, 9))
HOST = "10.10.10.2/32"

# Copied from the control sockets of these versions.
OLD = """\
Table master4:
10.10.10.3/32        unicast [u_mia_vultr_1 16:19:01.602] * (100) [AS4200000003i]
	via fe80::3 on wg-mia-vultr-1
	Type: BGP univ
	igp_metric: 38
	BGP.origin: IGP
	BGP.as_path: 4200000003
	BGP.next_hop: :: fe80::3
	BGP.local_pref: 999962
                     unicast [u_ord_vultr_1 16:19:01.702] (100) [AS4200000003i]
	via fe80::2 on wg-ord-vultr-1
	Type: BGP univ
	BGP.as_path: 4200000002 {4200000003 7}
	BGP.next_hop: :: fe80::2
192.30.120.101/32    unicast [mate4_mia_vultr_1 16:19:01.603 from 10.10.10.3] * (100/38) [i]
	via fe80::3 on wg-mia-vultr-1
	Type: BGP univ
	BGP.as_path: 
	BGP.next_hop: 10.10.10.3
	BGP.community: (65535,666) (1,2)
	BGP.originator_id: 10.10.10.3
	BGP.cluster_list: 10.10.10.1

Table master6:
2620:71:4000::25/128 unreachable [u_mia_vultr_1 16:19:01.602] * (100) [AS4200000003i]
	BGP.as_path: 4200000003
"""  # noqa: W291
NEW = """\
Table master4:
10.10.10.2/32        unicast [u_mia_vultr_1 16:19:04.170] * (100/57) [AS4200000002i]
	via fe80::3 on wg-mia-vultr-1
	preference: 100
	igp_metric: 57
	from: fe80::3
	source: BGP
	bgp_origin: IGP
	bgp_path: 4200000003 4200000002
	bgp_next_hop: :: fe80::3
	bgp_local_pref: 999943
	Internal route handling values: 0L 2G 0S id 2
"""


def reply(text: str) -> Reply:
    return Reply(tuple((1007, line) for line in text.splitlines()))


def test_routes_are_read_from_bird_2() -> None:
    assert list(parsed(reply(OLD))) == [
        Route("10.10.10.3/32", "u_mia_vultr_1", (MIA,), "::"),
        Route("10.10.10.3/32", "u_ord_vultr_1", (ORD, MIA, 7), "::"),
        Route(
            "192.30.120.101/32", "mate4_mia_vultr_1", (), "10.10.10.3", "(65535,666) (1,2)", True
        ),
        Route("2620:71:4000::25/128", "u_mia_vultr_1", (MIA,)),
    ]


def test_routes_are_read_from_bird_3() -> None:
    assert list(parsed(reply(NEW))) == [Route(HOST, "u_mia_vultr_1", (MIA, ORD), "::")]


@pytest.mark.parametrize("text", ["", "Network not found", "syntax error", "\t\tBGP.as_path: x"])
def test_what_is_no_list_of_routes_has_none(text: str) -> None:
    assert list(parsed(reply(text))) == []


def known(members: bool = False) -> PlannedRouting:
    """The plan as Los Angeles has it on its disk."""
    plan = plan_of(with_members() if members else prod())
    files = {f.path: f for f in node_files(plan, placeholder_facts(plan))["lax-vultr-1"].files}
    text = files["/etc/anycast-mesh/agent.json"].content
    config = parse(Config, text.encode())
    assert config.underlay is not None
    return PlannedRouting(config.node, config.underlay)


REFUSED: list[tuple[str, Route, str | None]] = [
    ("a default route", Route("0.0.0.0/0", "u_mia_vultr_1", (MIA,)), "prefix"),
    ("another's address as its own", Route(HOST, "u_mia_vultr_1", (MIA,)), "owner"),
    ("a node that nobody knows", Route(HOST, "u_mia_vultr_1", (MIA, NOBODY)), "link"),
    ("a link to oneself", Route(HOST, "u_mia_vultr_1", (MIA, MIA, ORD)), "link"),
    ("an unowned service", Route("9.9.9.9/32", "mate4_mia_vultr_1", (), "10.10.10.3"), "service"),
    ("a path that is only long", Route(HOST, "u_mia_vultr_1", (MIA, EWR, MIA, ORD)), None),
    ("an order that has not come", Route("192.30.120.9/32", "mate4_mia_vultr_1", (), "10.10.10.3",
                                         "(65535,666)"), None),
    ("what an upstream says", Route("0.0.0.0/0", "vultr4", (64515,)), None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("route", "kind"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_no_honest_mate_says_is_a_charge(route: Route, kind: str | None) -> None:
    found = violations([route], known())
    assert set(found) == (set() if kind is None else {("mia-vultr-1", kind)})
    assert all(route.prefix in alarm.what for alarm in found.values())


TAG = "(65535,666)"
BLACK = "192.30.120.9/32"


def ordered(mate: str, reflected: bool = False, tag: str = TAG) -> Route:
    return Route(BLACK, f"mate4_{mate}", (), "10.10.10.3", tag, reflected)


def test_a_client_that_tells_of_an_order_lies_and_a_reflector_may_not() -> None:
    route = ordered("mia_vultr_1")
    assert violations([route], known(), {"mate4_ord_vultr_1"}) == {}
    (alarm,) = violations([route], known(), {"mate4_mia_vultr_1"}).values()
    assert alarm == Alarm("mia-vultr-1", "order", BLACK)


ORDERS: list[tuple[str, list[Route], set[str]]] = [
    ("its own", [ordered("mia_vultr_1")], {"mia-vultr-1"}),
    ("passed on, and whose it is", [ordered("mia_vultr_1"), ordered("ewr_vultr_1", True)],
     {"mia-vultr-1"}),
    ("passed on, and nobody's", [ordered("mia_vultr_1", True), ordered("ewr_vultr_1", True)],
     {"mia-vultr-1", "ewr-vultr-1"}),
    ("a client's", [ordered("ord_vultr_1")], set()),
    ("on a tunnel", [Route(BLACK, "u_mia_vultr_1", (MIA,), "", TAG)], set()),
    ("an upstream's", [Route(BLACK, "vultr4", (64515,), "", TAG)], set()),
    ("a service", [ordered("mia_vultr_1", tag="(1,2)")], set()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("routes", "mates"), [row[1:] for row in ORDERS], ids=[row[0] for row in ORDERS]
)
def test_who_answers_for_an_order(routes: list[Route], mates: set[str]) -> None:
    found = orders(routes, known(), {"mate4_ord_vultr_1"})
    assert found == {(mate, BLACK) for mate in mates}


def test_whether_a_mate_is_a_client_is_birds_to_say() -> None:
    shown = """\
mate4_mia_vultr_1 BGP        ---        up     16:18:59.602  Established
  Description:    mia-vultr-1, our client
  BGP state:          Established
  Channel ipv4
    Input filter:   client_in4
mate4_ewr_vultr_1 BGP        ---        up     16:18:59.602  Established
  Description:    Input filter: client_in4
  Channel ipv4
    Input filter:   reflector_in4
"""
    lines = [(1006 if line[0] == " " else 1002, line) for line in shown.splitlines()]
    assert clients(Reply(tuple(lines))) == {"mate4_mia_vultr_1"}


def test_ten_thousand_lies_of_a_kind_are_one_charge() -> None:
    told = [Route(f"8.8.{n // 250}.{n % 250}/32", "u_mia_vultr_1", (MIA,)) for n in range(10_000)]
    found = violations(told, known())
    assert found == {("mia-vultr-1", "prefix"): Alarm("mia-vultr-1", "prefix", "8.8.0.0/32")}


def test_an_address_of_several_nodes_is_each_ones() -> None:
    members = known(members=True)
    (exits,) = [prefix for prefix, who in members.owners.items() if len(who) > 1 and "." in prefix]
    assert not violations([Route(exits, "u_mia_vultr_1", (MIA,))], members)
    assert not transit_paths(
        [Route(exits, "u_mia_vultr_1", (MIA, ORD))], members, {"u_ord_vultr_1"}
    )


WAYS: list[tuple[str, Route, set[str], TransitPath | None]] = [
    ("the direct one", Route(HOST, "u_ord_vultr_1", (ORD,)), {"u_ord_vultr_1"}, None),
    ("around a cut tunnel", Route(HOST, "u_mia_vultr_1", (MIA, ORD)), set(),
     TransitPath(("mia-vultr-1", "ord-vultr-1"), False)),
    ("around a tunnel that is up", Route(HOST, "u_mia_vultr_1", (MIA, ORD)), {"u_ord_vultr_1"},
     TransitPath(("mia-vultr-1", "ord-vultr-1"), True)),
    ("a reflector's session is none on the tunnel", Route(HOST, "u_mia_vultr_1", (MIA, ORD)),
     {"mate4_ord_vultr_1"}, TransitPath(("mia-vultr-1", "ord-vultr-1"), False)),
    ("a service is none", Route(HOST, "mate4_mia_vultr_1", ()), {"u_ord_vultr_1"}, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("route", "up", "way"), [row[1:] for row in WAYS], ids=[row[0] for row in WAYS]
)
def test_a_way_through_others_is_odd_where_our_own_tunnel_is_nearer(
    route: Route, up: set[str], way: TransitPath | None
) -> None:
    assert transit_paths([route], known(), up) == ({} if way is None else {route.prefix: way})


def test_a_way_through_a_hub_is_not_odd_where_there_is_no_tunnel() -> None:
    plan = known().underlay
    ends = ("lax-vultr-1", "ord-vultr-1")
    fewer = tuple(link for link in plan.links if set(link.ends) != set(ends))
    hub = PlannedRouting("lax-vultr-1", type(plan)(plan.nodes, fewer))
    route = Route(HOST, "u_mia_vultr_1", (MIA, ORD))
    assert transit_paths([route], hub, {"u_ord_vultr_1"}) == {
        HOST: TransitPath(("mia-vultr-1", ends[1]), False)
    }
    assert hub.cost((ends[1],)) is None, "and a mate that claims that tunnel lies"
    assert set(violations([Route(HOST, "u_ord_vultr_1", (ORD,))], hub)) == {("ord-vultr-1", "link")}


def test_what_stays_is_told_and_what_passes_is_not() -> None:
    steady: Lasting[str] = Lasting(after=30)
    assert not steady.has({"way"}, 0)
    assert not steady.has({"way"}, 25)
    assert not steady.has(set(), 28), "gone for a moment: it begins anew"
    assert not steady.has({"way"}, 31)
    assert steady.has({"way"}, 61) == {"way"}


def test_what_is_told_on_and_off_is_told_all_the_same() -> None:
    steady: Lasting[str] = Lasting(after=30, gap=60)
    steady.has({"lie"}, 0)
    assert not steady.has(set(), 20)
    assert steady.has({"lie"}, 40) == {"lie"}
    assert steady.has(set(), 90) == {"lie"}, "not forgotten yet"
    assert not steady.has(set(), 101)
