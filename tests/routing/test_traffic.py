"""What an upstream hears of an edge that is steered: all of its UPDATEs, to the last community."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from mesh.plan import Family, Plan
from tests.kit.bgp.attributes import Route
from tests.kit.bgp.speaker import Speaker
from tests.kit.machine import BIRDS
from tests.kit.stacks import plan_of, with_members
from tests.kit.wait import until
from tests.routing.listener import Edge, edge

pytestmark = pytest.mark.image
NODE, HOST = "ewr-vultr-1", "ewr-buyvm-1"
NET4, NET6 = "192.30.120.0/23", "2620:71:4000::/48"
ASN = 27218
SHUTDOWN = (65535, 0)

RULES: list[dict[str, Any]] = [
    {
        "name": "keep-new-york-light",
        "nodes": [NODE],
        "prefix": NET4,
        "prepend": 2,
        "scope": "routeServersOnly",
        "med": 50,
        "zeroMed": True,
        "toAs": [
            {"asn": 174, "prepend": 3},
            {"asn": 3356, "export": False},
            {"asn": 6939, "export": True},
            {"asn": 212345, "export": True, "prepend": 1, "zeroMed": True},
        ],
        "communities": ["174:3001", "174:0:3001", "no-peer"],
    },
    {"name": "v6-not-to-cogent", "nodes": [NODE], "toAs": [{"asn": 174, "export": False}],
     "prefix": NET6},
    {"name": "imports", "nodes": [NODE], "localPreference": 120},
    {"name": "longer-at-the-host", "nodes": [HOST], "prefix": NET4, "prepend": 3, "med": 0},
    {"name": "as-its-panel-says", "nodes": [HOST], "communities": ["53667:1234"]},
]  # fmt: skip


def plan(*more: dict[str, Any]) -> Plan:
    """The fleet with these rules and what is added; New York's edge at Vultr takes a full table."""
    values = with_members() | {"traffic": [*RULES, *more]}
    values["nodes"][NODE]["import"] = "full"
    return plan_of(values)


@pytest.fixture(scope="module", params=BIRDS)
def edges(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Edge]]:
    """New York's two edges, with each BIRD that a node may report."""
    with ExitStack() as stack:
        yield {
            node_id: stack.enter_context(
                edge(plan(), node_id, tmp_path_factory.mktemp("edge"), f"steer-{os.getpid()}{n}",
                     request.param)
            )
            for n, node_id in enumerate((NODE, HOST))
        }  # fmt: skip


@pytest.fixture
def vultr(edges: dict[str, Edge]) -> Edge:
    """The one at Vultr."""
    return edges[NODE]


def said(speaker: Speaker, since: float = 0.0) -> list[Route | tuple[str, ...]]:
    """Every announcement and every withdrawal so far, in their order; communities sorted."""
    found: list[Route | tuple[str, ...]] = []
    for update in speaker.log.updates(since):
        found += [update.withdrawn] if update.withdrawn else []
        found += [_sorted(route) for route in update.announced]
    return found


def _sorted(route: Route) -> Route:
    values = {name: getattr(route, name) for name in Route.__slots__}
    values["communities"] = tuple(sorted(route.communities))
    values["large"] = tuple(sorted(route.large))
    return Route(**values)


def heard(speaker: Speaker, count: int, since: float = 0.0) -> list[Route | tuple[str, ...]]:
    """The same, once there are so many."""
    speaker.log.wait(lambda _: len(said(speaker, since)) >= count, 15, f"{count} announcements")
    return said(speaker, since)


VULTR4 = Route(
    NET4,
    (ASN,),
    IPv4Address("203.0.113.4"),
    med=50,
    communities=(
        (174, 3001),
        (20473, 6000),
        (20473, 6002),
        (20473, 6602),
        (20473, 64609),
        (64600, 3356),
        (64603, 174),
        (64699, 6939),
        (65535, 65284),
    ),
    large=((174, 0, 3001), (20473, 6001, 212345), (20473, 6009, 212345), (20473, 6099, 212345)),
)
VULTR6 = Route(NET6, (ASN,), IPv6Address("2001:db8::4"), communities=((64600, 174),))
HOST4 = Route(NET4, (ASN,) * 4, IPv4Address("203.0.113.7"), med=0, communities=((53667, 1234),))
HOST6 = Route(NET6, (ASN,), IPv6Address("2001:db8::7"), communities=((53667, 1234),))


@pytest.mark.parametrize(
    ("at", "family", "expected"),
    [
        (NODE, "ipv4", VULTR4),
        (NODE, "ipv6", VULTR6),
        (HOST, "ipv4", HOST4),
        (HOST, "ipv6", HOST6),
    ],
)
def test_an_upstream_hears_exactly_what_the_rules_ask(
    edges: dict[str, Edge], at: str, family: Family, expected: Route
) -> None:
    assert heard(edges[at].upstreams[family], 1) == [expected]


@pytest.mark.parametrize(("at", "steady"), [(NODE, VULTR4), (HOST, HOST4)])
def test_a_node_that_drains_stays_steered_and_says_that_it_leaves(
    edges: dict[str, Edge], at: str, steady: Route
) -> None:
    """To those who do not know GRACEFUL_SHUTDOWN (RFC 8326) the path says it; then it withdraws."""
    steered = edges[at]
    upstream = steered.upstreams["ipv4"]
    heard(upstream, 1)
    leaving = replace(
        steady,
        path=(steady.path or ()) + (ASN,) * 3,
        communities=tuple(sorted((*steady.communities, SHUTDOWN))),
    )
    begin = time.monotonic()
    steered.tell(in_service=True, draining=True)
    assert heard(upstream, 1, begin) == [leaving]
    steered.tell(in_service=False, draining=True)
    assert heard(upstream, 2, begin) == [leaving, (NET4,)]
    steered.tell(in_service=True)
    assert heard(upstream, 3, begin) == [leaving, (NET4,), steady]
    assert len(upstream.log.opens()) == 1, "the session stood all the time"


def test_another_rule_is_one_more_update_of_what_it_changes_and_no_flap(vultr: Edge) -> None:
    upstream, other = vultr.upstreams["ipv4"], vultr.upstreams["ipv6"]
    heard(upstream, 1)
    count = len(heard(other, 1))
    more = plan({"name": "b", "nodes": [NODE], "prefix": NET4, "communities": ["174:1"]})
    begin = time.monotonic()
    vultr.take(more)
    expected = replace(VULTR4, communities=((174, 1), *VULTR4.communities))
    assert heard(upstream, 1, begin) == [expected]
    begin = time.monotonic()
    vultr.take(plan())
    assert heard(upstream, 1, begin) == [VULTR4]
    assert len(said(other)) == count, "of IPv6 nothing was said"
    assert len(upstream.log.opens()) == 1


@pytest.mark.parametrize(
    ("communities", "preference"),
    [((), 120), (((64515, 1),), 120), ((SHUTDOWN,), 0), ((SHUTDOWN, (64515, 1)), 0)],
    ids=["nothing", "something", "it is about to go", "both"],
)
def test_what_comes_in_is_preferred_as_asked_unless_it_is_about_to_go(
    vultr: Edge, communities: tuple[tuple[int, int], ...], preference: int
) -> None:
    prefix = "185.1.8.0/24"
    hop = IPv4Address("169.254.169.254")
    vultr.upstreams["ipv4"].announce(Route(prefix, (64515, 3356), hop, communities=communities))
    preferred = f"local_pref: {preference}\n"
    shown = f"show route {prefix} table internet4 all"
    until(lambda: preferred in vultr.birdc(shown), 10, f"{preferred} of {prefix}")


def test_an_address_that_is_given_up_is_not_steered(edges: dict[str, Edge]) -> None:
    """What has to be thrown away everywhere is said to everybody, and plainly."""
    given = "192.30.120.77"
    order = Route(f"{given}/32", (ASN,), VULTR4.next_hop, communities=((20473, 666),))
    upstreams = {at: edges[at].upstreams["ipv4"] for at in (NODE, HOST)}
    for upstream in upstreams.values():
        heard(upstream, 1)
    begin = time.monotonic()
    for steered in edges.values():
        steered.order(given)
    assert heard(upstreams[NODE], 1, begin) == [order]
    for steered in edges.values():
        steered.order()
    assert heard(upstreams[NODE], 2, begin) == [order, (order.prefix,)]
    assert said(upstreams[HOST], begin) == [], "its upstream is not known to discard"


def test_nothing_else_was_ever_said(vultr: Edge) -> None:
    """All else that the node holds while it is steered stays with it."""
    heard(vultr.upstreams["ipv4"], 1)
    announced = {
        route.prefix
        for speaker in vultr.upstreams.values()
        for route in said(speaker)
        if isinstance(route, Route)
    }
    assert announced - {"192.30.120.77/32"} == {NET4, NET6}
