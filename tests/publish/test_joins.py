"""Whom the operator believes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from itertools import count

import pytest

from mesh.publish.joins import admit, elsewhere
from mesh.publish.order import Fleet as State
from mesh.publish.order import Member
from mesh.trust import joining, keys
from mesh.trust.documents import JoinRequest, RefusedJoin
from tests.kit.registry import shared_fleet

FLEET = shared_fleet()
NODE = "lax-vultr-1"
FACTS = FLEET.facts[NODE]
ORDER = FLEET.order()
ONE = {NODE: replace(ORDER.instances[NODE], created="2026-11-21T06:00:00Z")}
BORN = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
SOON = BORN + timedelta(minutes=1)
OTHER = replace(FACTS, identity=keys.signing_public(keys.new_signing_key()[0]))


def request(**changed: object) -> JoinRequest:
    return joining.join_request(FLEET.token(NODE), NODE, replace(FACTS, **changed))  # type: ignore[arg-type]


def state(instance: str = FACTS.instance_id) -> State:
    return State(3, "0" * 64, {NODE: Member(instance, FACTS.identity, FACTS)})


STRANGER = joining.join_request(keys.new_exchange_key()[0], NODE, OTHER)
TWIN = request(identity=OTHER.identity)


@pytest.mark.parametrize(
    ("requests", "known", "identity", "problem"),
    [
        ([], None, None, ""),
        ([request()], None, FACTS.identity, ""),
        ([request(), request()], None, FACTS.identity, ""),
        # Without the token nobody is heard, and nobody is in the way.
        ([STRANGER], None, None, ""),
        ([STRANGER, request()], None, FACTS.identity, ""),
        ([replace(request(), mac=STRANGER.mac)], None, None, ""),
        ([replace(request(), node="ord-vultr-1")], None, None, ""),
        # Another instance is not the one that the provider made.
        ([request(instance_id="i-other")], None, None, ""),
        ([request(instance_id="i-other"), request()], None, FACTS.identity, ""),
        # A second identity for one instance.
        ([request(), TWIN], None, None, "a second identity"),
        ([TWIN], state(), FACTS.identity, "a second identity"),
        ([TWIN, request()], state(), FACTS.identity, "a second identity"),
        # A member needs no request; a server made anew needs one, and gets in by the same token.
        ([], state(), FACTS.identity, ""),
        ([], state("i-before"), None, ""),
        ([TWIN], state("i-before"), OTHER.identity, ""),
        # Where it is, it was planned.
        ([request(ipv4=IPv4Address("192.0.2.9"))], None, None, "its main address is 192.0.2.9"),
        ([request(ipv6=None)], None, None, "its IPv6 address is not there yet"),
        # A member that says otherwise in the middle of a boot keeps nobody from publishing.
        ([request(ipv6=None)], state(), FACTS.identity, ""),
        ([request(ipv4=IPv4Address("192.0.2.9"))], state(), FACTS.identity, ""),
    ],
    ids=count(),  # keys are new in each process, and workers of one run need the same names
)
def test_who_is_believed(
    requests: list[JoinRequest], known: State | None, identity: str | None, problem: str
) -> None:
    found = admit(ONE, known, requests, SOON)
    member = found.members.get(NODE)
    assert (None if member is None else member.identity) == identity
    assert problem in found.problems.get(NODE, "")
    assert bool(found.problems) is bool(problem)


@pytest.mark.parametrize(
    ("age", "known", "in_"),
    [
        (timedelta(hours=23, minutes=59), None, True),
        (timedelta(hours=24, minutes=1), None, False),
        (timedelta(days=300), state(), True),  # a member stays one
        (timedelta(days=300), state("i-before"), False),
    ],
)
def test_a_token_is_good_for_a_day_of_its_instance(
    age: timedelta, known: State | None, in_: bool
) -> None:
    found = admit(ONE, known, [request()], BORN + age)
    assert (NODE in found.members) is in_
    assert ("expired" in found.problems.get(NODE, "")) is not in_


def test_who_asks_from_elsewhere_is_named_with_both_addresses_and_the_cure() -> None:
    there = IPv4Address("192.0.2.9")
    said = elsewhere(ONE, [RefusedJoin(there, request())])
    planned = " and ".join(map(str, ONE[NODE].placement.both()))
    assert said == {
        NODE: f"{NODE}: asks to join from 192.0.2.9, planned is {planned}; plan that address, or "
        "make the planned one the source of its default route"
    }
    # A registry may say anything: without the token it is nobody's word, and another instance of
    # the node is not the one that is waited for.
    for other in (STRANGER, request(instance_id="i-other"), replace(request(), node="fra-x-1")):
        assert elsewhere(ONE, [RefusedJoin(there, other)]) == {}


def test_a_registry_writes_nothing_of_its_own_into_that() -> None:
    zone = RefusedJoin(IPv6Address("fe80::1%\x1b[2J"), request())
    assert elsewhere(ONE, [zone])[NODE].isprintable()


def test_facts_of_a_member_follow_its_latest_word() -> None:
    found = admit(ONE, state(), [request(bird="2.17.1"), request(bird="2.18")], SOON)
    assert found.members[NODE].facts.bird == "2.18"


def test_times_of_any_zone_are_understood() -> None:
    """RFC 3339 leaves the zone to the provider."""
    for created in ("2026-11-21T06:00:00Z", "2026-11-20T22:00:00-08:00", "2026-11-21T06:00:00.5Z"):
        one = {NODE: replace(ONE[NODE], created=created)}
        assert NODE in admit(one, None, [request()], BORN + timedelta(hours=23)).members
        assert NODE not in admit(one, None, [request()], BORN + timedelta(hours=25)).members


def test_an_ipv6_address_that_nobody_planned_opens_no_firewall() -> None:
    """It would go into every peer's list of known nodes."""
    without = replace(ONE[NODE], placement=replace(ONE[NODE].placement, ipv6=None))
    found = admit({NODE: without}, None, [request(ipv6=IPv6Address("2001:db8:bad::1"))], SOON)
    assert found.members[NODE].facts.ipv6 is None
