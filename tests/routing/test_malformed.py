"""Row 97: what cannot be read costs the route, not the session (RFC 7606)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address
from typing import Any

import pytest

from tests.kit.bgp import attributes
from tests.kit.bgp.attributes import Raw, Route, Segment
from tests.kit.machine import BIRDS
from tests.kit.wait import until
from tests.routing.corpus import valid
from tests.routing.trial import BUYVM, PEERED, Trial, trial

pytestmark = pytest.mark.image
WELL_KNOWN, OPTIONAL = 0x40, 0xC0
AS_SET, SEQUENCE, CONFED, CONFED_SET = 1, 2, 3, 4


@dataclass(frozen=True)
class Broken:
    """A route that was in order and is said again, broken; ``words``: what BIRD says of it.

    ``only``: the one family that says it as an attribute (the other has it in MP_REACH_NLRI).
    """

    what: str
    words: str
    change: dict[str, Any] = field(default_factory=dict)
    only: int | None = None


def raw(code: int, value: bytes, flags: int) -> dict[str, Any]:
    """One attribute replaced by these bytes."""
    return {"raw": (Raw(code, value, flags),)}


def path(*parts: int | Segment) -> dict[str, Any]:
    """A path that begins with the neighbor."""
    return {"path": (BUYVM, *parts)}


def octets(count: int) -> bytes:
    return bytes(range(1, count + 1))


# Treated as withdrawn: RFC 7606 section 7, RFC 9234 section 5, RFC 8092 section 5.
WITHDRAWN = [
    Broken("OTC of three octets", "Malformed OTC", raw(attributes.OTC, octets(3), OPTIONAL)),
    Broken("OTC of eight octets", "Malformed OTC", raw(attributes.OTC, octets(8), OPTIONAL)),
    Broken("an empty OTC", "Malformed OTC", raw(attributes.OTC, b"", OPTIONAL)),
    Broken("no AS_PATH", "Missing mandatory AS_PATH", {"path": None}),
    Broken("a path that ends within a segment", "Malformed AS_PATH",
           raw(attributes.AS_PATH, b"\x02\x05", WELL_KNOWN)),
    Broken("a segment of an unknown kind", "Malformed AS_PATH", path(Segment(9, (3356,)))),
    Broken("an empty segment", "Malformed AS_PATH", path(Segment(SEQUENCE, ()), 3356)),
    Broken("an empty AS_SET", "Malformed AS_PATH", path(3356, Segment(AS_SET, ()))),
    Broken("a confederation's sequence", "AS_CONFED_SEQUENCE", path(Segment(CONFED, (1,)))),
    Broken("a confederation's set", "AS_CONFED_SET", path(Segment(CONFED_SET, (1,)))),
    Broken("no ORIGIN", "Missing mandatory ORIGIN", {"origin": None}),
    Broken("an unknown ORIGIN", "Malformed ORIGIN", {"origin": 3}),
    Broken("ORIGIN of two octets", "Malformed ORIGIN",
           raw(attributes.ORIGIN, bytes(2), WELL_KNOWN)),
    Broken("ORIGIN with the flags of another kind", "conflicting flags",
           raw(attributes.ORIGIN, bytes(1), OPTIONAL)),
    Broken("an unknown attribute that claims to be well-known", "conflicting flags",
           raw(99, b"ab", WELL_KNOWN)),
    Broken("MED of three octets", "Malformed MULTI_EXIT_DISC",
           raw(attributes.MED, octets(3), 0x80)),
    Broken("communities that do not end", "Malformed COMMUNITY",
           raw(attributes.COMMUNITIES, octets(6), OPTIONAL)),
    Broken("no community in the attribute", "Malformed COMMUNITY",
           raw(attributes.COMMUNITIES, b"", OPTIONAL)),
    Broken("large communities that do not end", "Malformed LARGE_COMMUNITY",
           raw(attributes.LARGE, octets(11), OPTIONAL)),
    Broken("extended communities that do not end", "Malformed EXT_COMMUNITY",
           raw(attributes.EXTENDED, octets(7), OPTIONAL)),
    Broken("no NEXT_HOP", "Missing mandatory NEXT_HOP", {"next_hop": None}, only=4),
    Broken("NEXT_HOP of five octets", "Malformed NEXT_HOP",
           raw(attributes.NEXT_HOP, octets(5), WELL_KNOWN), only=4),
    Broken("a next hop of zeros", "zero address", {"next_hop": ip_address("0.0.0.0")}, only=4),
    Broken("a next hop of zeros", "zero address", {"next_hop": ip_address("::")}, only=6),
]  # fmt: skip

# Only the attribute is passed over.
PASSED_OVER = [
    Broken("AGGREGATOR of five octets", "Malformed AGGREGATOR",
           raw(attributes.AGGREGATOR, octets(5), OPTIONAL)),
    Broken("ATOMIC_AGGREGATE with a value", "Malformed ATOMIC_AGGR",
           raw(attributes.ATOMIC_AGGREGATE, b"\x01", WELL_KNOWN)),
    Broken("LOCAL_PREF from outside", "Discarding LOCAL_PREF", {"local_pref": 4_000_000_000}),
]  # fmt: skip


@dataclass(frozen=True)
class Said:
    """All of a family was in order, and then broken, in one session."""

    trial: Trial
    routes: dict[str, Route]


@pytest.fixture(scope="module", params=[(v, f) for v in BIRDS for f in (4, 6)], ids=str)
def said(request: pytest.FixtureRequest) -> Iterator[Said]:
    """The neighbor is on the link, so that next hops are looked at as well."""
    version, family = request.param
    told = [each for each in (*WITHDRAWN, *PASSED_OVER) if each.only in (None, family)]
    sound = {each.what: valid(family, number, PEERED) for number, each in enumerate(told)}
    bystander = valid(family, 500, PEERED)
    with trial(version, PEERED) as made:
        made.say(family, [bystander, *sound.values()])
        assert all(verdict.taken for verdict in made.verdicts(family).values())
        assert len(made.verdicts(family)) == len(told) + 1
        made.say(family, [replace(sound[each.what], **each.change) for each in told])
        yield Said(made, sound | {"": bystander})


def logged(said: Said, words: str) -> bool:
    """Whether BIRD has said so of its neighbor."""
    return re.search(f"buyvm[46]: [^\n]*{re.escape(words)}", said.trial.log()) is not None


def test_routes_that_cannot_be_read_are_gone(said: Said) -> None:
    family = said.routes[""].family
    held = said.trial.verdicts(family)
    cases = [case for case in WITHDRAWN if case.only in (None, family)]
    gone = {said.routes[case.what].prefix for case in cases}
    assert not gone & held.keys()
    for case in cases:
        until(partial(logged, said, case.words), 5, f"{case.what}: {case.words} in the log")
    for prefix in gone:
        until(partial(logged, said, f"Invalid route {prefix} withdrawn"), 5, "which, in the log")


def test_attributes_that_matter_less_are_passed_over(said: Said) -> None:
    family = said.routes[""].family
    held = said.trial.verdicts(family)
    for case in PASSED_OVER:
        verdict = held[said.routes[case.what].prefix]
        assert verdict.taken, case.what
        assert verdict.held is not None
        assert "4000000000" not in str(verdict.held.attributes)
        until(partial(logged, said, case.words), 5, f"{case.what}: {case.words} in the log")


def test_the_session_stands_and_other_routes_stay(said: Said) -> None:
    bystander = said.routes[""]
    assert said.trial.verdicts(bystander.family)[bystander.prefix].taken
    log = said.trial.speaker(bystander.family).log
    assert (len(log.opens()), log.ends(), log.notifications()) == (1, (), ())


def test_what_is_in_order_again_is_taken_again(said: Said) -> None:
    family = said.routes[""].family
    said.trial.say(family, said.routes.values())
    verdicts = said.trial.verdicts(family)
    assert {prefix for prefix, verdict in verdicts.items() if verdict.taken} == {
        route.prefix for route in said.routes.values()
    }
