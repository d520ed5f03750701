"""Thousands of routes that nobody thought of, in one session: BIRD's verdicts and the oracle's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from tests.kit.bgp.attributes import Route
from tests.kit.machine import BIRDS
from tests.routing import drawn, oracle
from tests.routing.trial import DEFAULT, FULL, PROVIDED, SERVED, Trial, Verdict, trial

pytestmark = pytest.mark.image
# How many times some forty routes are said to an edge, in each family.
ROUNDS = {FULL: 50, PROVIDED: 16, SERVED: 16, DEFAULT: 8}


@pytest.fixture(scope="module")
def trials() -> Iterator[dict[tuple[str, str], Trial]]:
    """An edge for each BIRD and kind of session."""
    with ExitStack() as stack:
        yield {
            (version, name): stack.enter_context(trial(version, name))
            for version in BIRDS
            for name in ROUNDS
        }


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("name", ROUNDS)
def test_what_is_drawn_gets_the_oracle_s_verdict(
    trials: dict[tuple[str, str], Trial], name: str, family: int
) -> None:
    edges = [trials[version, name] for version in BIRDS]
    session = edges[0].session(family)
    seen = 0
    wrong: list[str] = []

    draws = drawn.Draws(session, family)
    for _ in range(ROUNDS[name]):
        routes = draws.routes()
        seen += len(routes)
        for each in edges:
            each.say(family, routes)
            wrong.extend(
                f"{each.version}: {text}" for text in disagreements(each, routes, session, family)
            )
            each.take_back(family, [route.prefix for route in routes])
    assert not wrong, "\n".join(wrong)
    assert seen >= 25 * ROUNDS[name], "routes were drawn"
    for each in edges:
        assert len(each.speaker(family).log.opens()) == 1, "in one session"
        assert not each.verdicts(family), "nothing is left of what was taken back"


def disagreements(
    each: Trial, routes: list[Route], session: oracle.Session, family: int
) -> Iterator[str]:
    """Every route that BIRD and the oracle see differently."""
    names = each.reasons()
    verdicts = each.verdicts(family)
    bogus = {str(ip_network(net)) for net in re.findall(r"bogus route (\S+)", each.log())}
    for route in routes:
        found = verdicts.get(str(ip_network(route.prefix)))
        if found is None:
            ignored = oracle.reasons(route, session) and str(ip_network(route.prefix)) in bogus
            disagreement = "" if ignored else "BIRD does not hold it"
        else:
            disagreement = differs(route, found, names, session)
        if disagreement:
            yield f"{disagreement}: {route}"


def differs(route: Route, found: Verdict, names: dict[int, str], session: oracle.Session) -> str:
    """How BIRD's verdict differs from the oracle's; empty where it does not."""
    may = oracle.reasons(route, session)
    given_for = [names[number] for number in found.reasons]
    if found.taken:
        return f"taken, against {set(may)}" if may else kept(route, found, session)
    if len(given_for) != 1 or given_for[0] not in may:
        return f"refused for {given_for}, not for {set(may)}"
    return ""


def kept(route: Route, found: Verdict, session: oracle.Session) -> str:
    """What a route that is taken has, and should not have, or the other way round."""
    held = found.held
    assert held is not None
    expected = oracle.communities(route, session.asn)
    if set(held.plain) != set(expected.plain):
        return f"communities {held.plain}"
    if set(held.large) != set(expected.large):
        return f"large communities {held.large}"
    if held.attributes.get("ext_community", "").count("(") != len(expected.extended):
        return f"extended communities {held.attributes['ext_community']}"
    if int(held.attributes["local_pref"]) != oracle.preference(route):
        return f"local preference {held.attributes['local_pref']}"
    return ""
