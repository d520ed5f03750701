"""Rows 89 and 90: as many prefixes as a session may bring, and one more."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from mesh.bird.features import capabilities
from tests.kit.bgp.attributes import Route
from tests.kit.bgp.messages import CEASE, RouteRefresh
from tests.kit.bgp.speaker import Speaker
from tests.kit.machine import BIRDS
from tests.kit.wait import until
from tests.routing.corpus import OWN, valid
from tests.routing.trial import FULL, Trial, network, trial

pytestmark = pytest.mark.image
LIMIT = 5
MAXIMUM = 1  # cease: maximum number of prefixes reached (RFC 4486)
FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
VERSIONS = pytest.mark.parametrize("version", BIRDS)


@contextmanager
def limited(version: str, action: str) -> Iterator[Trial]:
    """An edge that takes so many prefixes of each family."""
    limits = {"ipv4": LIMIT, "ipv6": LIMIT, "action": action}
    with trial(version, FULL, network(maxPrefixes=limits)) as made:
        yield made


def said(family: int, count: int) -> list[Route]:
    """Routes that nothing is wrong with, but for a refused one among the first."""
    refused = replace(valid(family, 1), path=(3356,))
    return [refused if n == 1 else valid(family, n) for n in range(count)]


def prefixes(routes: list[Route]) -> set[str]:
    return {route.prefix for route in routes}


@FAMILIES
@VERSIONS
def test_above_the_limit_new_routes_are_passed_over_and_the_session_stands(
    version: str, family: int
) -> None:
    """What is refused counts as well: it takes memory. BIRD 2 has to be told that there is room."""
    at_limit, beyond = said(family, LIMIT), valid(family, LIMIT)
    another = valid(family, LIMIT + 1)
    with limited(version, "block") as each:
        each.say(family, at_limit)
        assert each.verdicts(family).keys() == prefixes(at_limit)
        assert "receive limit" not in each.log()
        each.say(family, [beyond])
        assert each.verdicts(family).keys() == prefixes(at_limit)
        until(lambda: "hits route receive limit (5), action: block" in each.log(), 5, "a warning")
        each.say(family, [replace(at_limit[2], med=7)])
        changed = each.verdicts(family)[at_limit[2].prefix].held
        assert changed is not None
        assert changed.attributes["med"] == "7", "what was there before goes on to be heard"

        each.take_back(family, [at_limit[0].prefix])
        each.say(family, [another])
        assert (another.prefix in each.verdicts(family)) == capabilities(version).can("room_again")

        each.take_back(family, [another.prefix])
        if not capabilities(version).can("room_again"):
            refreshes = asked(each.speaker(family))
            assert "reloading" in each.control.ask(f"reload in {each.protocol(family)}")
            until(lambda: asked(each.speaker(family)) > refreshes, 5, "all routes are asked for")
        each.say(family, [*at_limit[1:], another])
        assert each.verdicts(family).keys() == prefixes([*at_limit[1:], another])
        log = each.speaker(family).log
        assert (len(log.opens()), log.notifications()) == (1, ())
        assert log.routes().keys() == {OWN[family]}, "our own announcement stood all the time"


def asked(speaker: Speaker) -> int:
    """How often all routes were asked for."""
    return sum(isinstance(entry.event, RouteRefresh) for entry in speaker.log.entries())


@FAMILIES
@pytest.mark.parametrize("version", [v for v in BIRDS if capabilities(v).can("restart_at_limit")])
def test_a_session_that_is_to_restart_ends_and_comes_back(version: str, family: int) -> None:
    with limited(version, "restart") as each:
        each.say(family, said(family, LIMIT))
        speaker = each.speaker(family)
        assert speaker.established.is_set()
        for _ in range(2):
            told = len(speaker.log.notifications())
            speaker.announce(valid(family, LIMIT))
            until(partial(ended, speaker, told), 5, "the end")
            why = speaker.log.notifications()[-1]
            assert (why.code, why.subcode) == (CEASE, MAXIMUM)
            until(lambda: not each.verdicts(family), 5, "nothing is left of it")
            back(each, speaker, family)
            each.say(family, said(family, LIMIT))
            assert each.verdicts(family).keys() == prefixes(said(family, LIMIT))


def ended(speaker: Speaker, told: int) -> bool:
    """Whether it was told so once more: a call that comes too soon is closed without a word."""
    return len(speaker.log.notifications()) > told and not speaker.established.is_set()


def back(each: Trial, speaker: Speaker, family: int) -> None:
    """Establish the session once more, as an upstream goes on to do."""
    name = f"ipv{family}"
    planned = each.edge.session(name)
    begins = time.monotonic()
    speaker.establish(str(planned.neighbor), each.edge.addresses[name])
    # What a session begins with would be taken for the answer to the first question in it.
    speaker.log.wait(
        lambda log: any(update.end_of for update in log.updates(begins)) and log.routes(),
        20,
        "all is told",
    )


@pytest.mark.parametrize(
    "version", [v for v in BIRDS if not capabilities(v).can("restart_at_limit")]
)
def test_a_bird_that_would_disable_the_session_is_told_to_block(version: str) -> None:
    """BIRD 3.1 disables a session that starts twice within five seconds, for good."""
    with limited(version, "restart") as each:
        each.say(4, said(4, LIMIT + 1))
        until(lambda: "(5), action: block" in each.log(), 5, "it blocks")
        assert each.verdicts(4).keys() == prefixes(said(4, LIMIT))
        assert each.speaker(4).established.is_set()


@VERSIONS
def test_a_route_changes_sides_as_often_as_it_changes(version: str) -> None:
    with trial(version, FULL) as each:
        good = valid(4, 1)
        bad = replace(good, path=(64515, 0))
        for route, taken in ((good, True), (bad, False), (good, True), (bad, False)):
            each.say(4, [route])
            (verdict,) = each.verdicts(4).values()
            assert verdict.taken == taken
        each.take_back(4, [bad.prefix])
        assert not each.verdicts(4), "a refused route is not kept when it is withdrawn"


@VERSIONS
def test_an_end_leaves_nothing_and_a_new_session_begins_anew(version: str) -> None:
    with trial(version, FULL) as each:
        routes = [*said(6, 4), valid(6, 9)]
        each.say(6, routes)
        assert each.verdicts(6).keys() == prefixes(routes)
        speaker = each.speaker(6)
        speaker.cease()
        until(lambda: not each.verdicts(6), 5, "what was taken and what was refused is gone")
        back(each, speaker, 6)
        each.say(6, routes[2:3])
        assert each.verdicts(6).keys() == {routes[2].prefix}


@VERSIONS
def test_ten_thousand_refusals_do_not_disturb_the_session(version: str) -> None:
    """The node's clock ticks: hold time is nine seconds. Lines are the agent's to bound."""
    names = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(10_000)]
    with trial(version, FULL) as each:
        good = valid(4, 1)
        each.speaker(4).announce_all(good, names)
        each.say(4, [good])
        assert each.control.count("internet4", "filtered") == len(names)
        assert each.verdicts(4)[good.prefix].taken
        log = each.speaker(4).log
        assert (len(log.opens()), log.ends()) == (1, ())
        said = len(names) if capabilities(version).can("log_udp") else 0
        assert len(re.findall("rejected: a bogon", each.log())) == said
