"""Who announces what in effect, by the nodes' words."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest

from mesh.plan import Network
from mesh.publish.announcers import (
    Announces,
    Loss,
    announce_state,
    announce_states,
    announced_families,
    announcers,
    losses,
    missing,
    prefixes,
    uncertain,
)
from mesh.publish.recent import AHEAD_SECONDS, SILENT_SECONDS
from mesh.trust.documents import Down, Health, Report
from mesh.trust.encoding import parse
from tests.kit.registry import shared_fleet

FLEET = shared_fleet()
PLAN, MADE = FLEET.plan, FLEET.seventh
LAX, ORD, MIA, EWR = NODES = ("lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1")
NET4, NET6 = IPv4Network("192.30.120.0/23"), IPv6Network("2620:71:4000::/48")
NOW = 10**9


def report(node: str, age: float = 0.0, **changed: Any) -> Report:
    """A node's last word of so many seconds ago; well, but for what is changed."""
    sequence = int((NOW - age) * 1e6)
    signed = FLEET.report(node, MADE, sequence, health=FLEET.well(node, **changed))
    return parse(Report, signed.payload)


def sessions(**changed: str) -> dict[str, str]:
    return FLEET.well(LAX).sessions | changed


OLD: dict[str, Any] = {"bird": None, "announced": None, "tunnels": None}
BOTH = {"vultr4": (NET4,), "vultr6": (NET6,)}
HEARD: dict[str, tuple[Report | None, str, str, str]] = {
    "well": (report(LAX), "yes", "yes", ""),
    "not in service, whatever is up": (
        report(LAX, in_service=False, announced={"vultr4": (), "vultr6": ()}),
        "no", "no", "it is out of service",
    ),
    "not in service, with its only service down": (
        report(LAX, in_service=False, services={"web": False}),
        "no", "no", "it is out of service: no service is healthy here or at a node that it reaches",
    ),
    "not in service, and it may serve nothing": (
        report(LAX, in_service=False, services={}),
        "no", "no", "it is out of service: it reaches no peer, or none that serves",
    ),
    "not in service, and its BIRD refuses": (
        report(LAX, in_service=False, services={}, faults={"announce": "BIRD: syntax error"}),
        "no", "no", "it is out of service: BIRD: syntax error",
    ),
    "drained": (report(LAX, in_service=False, drained=True), "no", "no", "it is drained"),
    "both sessions down": (
        report(LAX, sessions=sessions(vultr4="Active", vultr6="Idle"), announced={}),
        "no", "no", "vultr4 is down (Active); vultr6 is down (Idle)",
    ),
    "IPv6 down, with BIRD's error": (
        report(
            LAX,
            sessions=sessions(vultr6="Connect"),
            announced={"vultr4": (NET4,)},
            down={"vultr6": Down("Received: Administrative shutdown", 5)},
        ),
        "yes", "no", "vultr6 is down (Connect, Received: Administrative shutdown)",
    ),
    "up, and nothing exported": (
        report(LAX, announced={"vultr4": (), "vultr6": ()}),
        "no", "no", "vultr4 is up, and BIRD does not export 192.30.120.0/23 on it; vultr6 is up, "
        "and BIRD does not export 2620:71:4000::/48 on it",
    ),
    "up, and BIRD does not say": (
        report(LAX, announced={"vultr4": (NET4,)}),
        "yes", "unknown", "its BIRD does not report what it exports on vultr6",
    ),
    "BIRD has no such session": (
        report(LAX, sessions={"u_ord_vultr_1": "Established"}, announced={}),
        "no", "no", "it has no session vultr4; it has no session vultr6",
    ),
    "BIRD killed": (
        report(LAX, bird="does not run", sessions={}, announced=None),
        "unknown", "unknown", "its BIRD does not run",
    ),
    "never spoke": (None, "unknown", "unknown", "no report yet"),
    "silent": (
        report(LAX, SILENT_SECONDS + 5), "unknown", "unknown", "its last report is 50 s old",
    ),
    "of a time to come": (
        report(LAX, -AHEAD_SECONDS - 1), "unknown", "unknown",
        "its clock is wrong, or its report is forged",
    ),
    "an older agent": (report(LAX, **OLD), "yes", "yes", ""),
    "an older agent, IPv4 down": (
        report(LAX, **OLD, sessions=sessions(vultr4="Active")),
        "no", "yes", "vultr4 is down (Active)",
    ),
    "an older agent, BIRD killed": (
        report(LAX, **OLD, sessions={}), "unknown", "unknown", "its BIRD reports no session",
    ),
    "a new agent on an older generation": (report(LAX, announced=None), "yes", "yes", ""),
}  # fmt: skip


@pytest.mark.parametrize(("said", "four", "six", "why"), HEARD.values(), ids=HEARD)
def test_a_node_announces_what_its_upstreams_hear(
    said: Report | None, four: str, six: str, why: str
) -> None:
    found = {prefix: announce_state(PLAN.node(LAX), prefix, said, NOW) for prefix in (NET4, NET6)}
    assert (found[NET4].announces, found[NET6].announces) == (four, six)
    reasons = [one.why for one in found.values() if one.why]
    assert "; ".join(dict.fromkeys(reasons)) == why


def test_of_each_prefix_those_count_that_announce_it_and_are_not_drained() -> None:
    reports = {node: report(node) for node in NODES}
    assert announcers(PLAN, reports, NOW) == {NET4: frozenset(NODES), NET6: frozenset(NODES)}
    del reports[ORD]
    four = {"vultr4": (NET4,)}
    reports[EWR] = report(EWR, sessions=sessions(vultr6="Active"), announced=four)
    found = announcers(PLAN, reports, NOW, leaving={MIA})
    assert found == {NET4: frozenset({LAX, EWR}), NET6: frozenset({LAX})}
    either = uncertain(PLAN, reports, NOW, leaving={MIA})
    assert either == {NET4: frozenset({ORD, MIA}), NET6: frozenset({ORD, MIA})}


@pytest.mark.parametrize(
    ("going", "drained", "lost"),
    [
        ({MIA}, set(), ()),
        ({LAX}, {MIA}, ((NET6, (LAX,), ()),)),
        ({LAX, MIA}, set(), ((NET6, (LAX, MIA), ()),)),
        ({ORD}, {LAX, MIA}, ()),
        ({EWR}, {LAX, MIA}, ((NET4, (EWR,), (ORD,)),)),
        ({ORD}, {LAX, MIA, EWR}, ((NET4, (ORD,), ()),)),
    ],
    ids=[
        "others stay",
        "the last of IPv6",
        "the last two of IPv6",
        "nobody can tell, and another stays",
        "nobody can tell of who stays",
        "nobody can tell of who goes",
    ],
)
def test_a_prefix_is_lost_with_the_last_that_announces_it(
    going: set[str], drained: set[str], lost: tuple[Any, ...]
) -> None:
    """New York announces IPv4 only, and Chicago says nothing of IPv4, and no IPv6."""
    no6 = sessions(vultr6="Active")
    reports = {
        LAX: report(LAX),
        MIA: report(MIA),
        EWR: report(EWR, sessions=no6, announced={"vultr4": (NET4,)}),
        ORD: report(ORD, sessions=no6, announced={}),
    }
    found = losses(announce_states(PLAN, reports, NOW), going, drained)
    assert tuple((one.prefix, one.going, tuple(n for n, _ in one.unknown)) for one in found) == lost
    assert all(isinstance(one, Loss) for one in found)


@pytest.mark.parametrize(
    ("four", "six", "words"),
    [
        ("yes", "yes", "v4 v6"),
        ("yes", "no", "v4 only"),
        ("no", "yes", "v6 only"),
        ("no", "no", "no"),
        ("unknown", "unknown", "unknown"),
        ("no", "unknown", "unknown"),
        ("yes", "unknown", "v4, v6 unknown"),
    ],
)
def test_what_a_node_announces_fits_into_a_cell(four: str, six: str, words: str) -> None:
    assert announced_families({NET4: four, NET6: six}) == words


def test_a_node_of_one_family_and_one_without_upstreams() -> None:
    node = PLAN.node(LAX)
    one = replace(node, upstreams=tuple(up for up in node.upstreams if up.family == "ipv4"))
    assert prefixes(PLAN, one) == (NET4,)
    found: dict[Network, Any] = {
        p: announce_state(one, p, report(LAX), NOW) for p in prefixes(PLAN, one)
    }
    assert announced_families({p: e.announces for p, e in found.items()}) == "v4" and not missing(
        found
    )
    assert prefixes(PLAN, replace(node, upstreams=())) == () and announced_families({}) == "-"
    assert announce_state(one, NET6, report(LAX), NOW).announces is Announces.NO


def test_a_report_of_an_agent_from_before_there_was_any_of_this_is_read() -> None:
    health = Health(True, {"web": True}, {"vultr4": "Established"})
    assert (health.bird, health.announced, health.down, health.tunnels) == (None, None, {}, None)
