"""Whose connections and requests are bounded, and whose are not."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest

from mesh.rates import WIDER, Rate
from mesh.registry import known_networks, registry
from mesh.registry.connections import (
    HANDSHAKES,
    KEPT,
    KNOWN,
    PER_MEMBER,
    PER_STRANGER,
    Connections,
    Slot,
    SourceCounts,
)
from mesh.registry.known_networks import PER_SIGNER, KnownNetworks, Priority, Signer
from mesh.registry.limits import ConcurrencyLimit
from mesh.registry.registry import Address
from mesh.spec.checks.admin import WORLD

NODE = ip_address("2001:db8:1::2")
ADMINS = "203.0.113.128/25"
OPERATOR, MEMBER, TOKEN = ("operator", ""), ("node", "lax-vultr-1"), ("token", "ord-vultr-1")


def nothing() -> None:
    """Cuts no connection."""


@dataclass
class Hall:
    """A registry's places, with a clock of its own. NODE is a planned node's address; every
    connection has a port of its own."""

    total: int = 512
    now: float = 0.0
    cut: list[Address] = field(default_factory=list)
    ports: int = 0

    def __post_init__(self) -> None:
        admins: tuple[IPv4Network | IPv6Network, ...] = (ip_network(ADMINS),)
        self.known = KnownNetworks(
            lambda: frozenset({NODE}), admins=lambda: admins, clock=lambda: self.now
        )
        self.connections = Connections(self.known, self.total, clock=lambda: self.now)

    def enter(self, text: str) -> Slot | None:
        self.now += 1 / HANDSHAKES
        return self.at_once(text)

    def at_once(self, text: str) -> Slot | None:
        """One that comes in the same moment as the one before it."""
        address = ip_address(text)
        self.ports += 1
        return self.connections.enter(address, self.ports, lambda: self.cut.append(address))

    def sign(self, signer: Signer, place: Slot | None) -> None:
        """A signed request comes over that connection."""
        assert place is not None and place.pool is not None
        self.connections.signed(signer, place.address, place.port)

    def standing(self, text: str) -> Priority:
        return self.known.standing(ip_address(text))


# --- who is known --------------------------------------------------------------------------------


def test_a_network_is_known_for_a_while_after_a_signed_request() -> None:
    hall = Hall()
    hall.known.signed(OPERATOR, ip_address("192.0.2.1"))
    hall.known.signed(OPERATOR, ip_address("2001:db8:7::1"))
    hall.now = known_networks.LIFETIME - 1
    assert hall.standing("192.0.2.1") is Priority.KNOWN
    assert hall.standing("192.0.2.2") is Priority.STRANGER
    assert hall.standing("2001:db8:7::ffff") is Priority.KNOWN, "of the same /64"
    assert hall.standing("2001:db8:7:1::1") is Priority.STRANGER
    hall.now = known_networks.LIFETIME + 1
    assert hall.standing("192.0.2.1") is Priority.STRANGER


def test_a_signer_makes_few_networks_known() -> None:
    """However many a stolen key has, and others as many all the same."""
    hall = Hall()
    for n in range(50):
        hall.known.signed(MEMBER, ip_address(f"2001:db8:7:{n:x}::1"))
    standings = [hall.standing(f"2001:db8:7:{n:x}::1") for n in range(50)]
    assert standings.count(Priority.KNOWN) == PER_SIGNER
    hall.known.signed(OPERATOR, ip_address("2001:db8:7:ff::1"))
    assert hall.standing("2001:db8:7:ff::1") is Priority.KNOWN
    hall.now = known_networks.LIFETIME + 1
    hall.known.signed(MEMBER, ip_address("2001:db8:7:31::1"))
    assert hall.standing("2001:db8:7:31::1") is Priority.KNOWN, "the first are forgotten"


def test_who_signs_in_anothers_network_keeps_it_known() -> None:
    hall = Hall()
    for signer, now in ((MEMBER, 0.0), (OPERATOR, known_networks.LIFETIME - 1)):
        hall.now = now
        hall.known.signed(signer, ip_address("192.0.2.1"))
    hall.now = 2 * known_networks.LIFETIME - 2
    assert hall.standing("192.0.2.1") is Priority.KNOWN


def test_networks_that_may_log_in_are_known_and_planned_nodes_are_planned() -> None:
    hall = Hall()
    assert hall.standing("203.0.113.200") is Priority.KNOWN
    assert hall.standing("203.0.113.1") is Priority.STRANGER
    hall.known.signed(MEMBER, NODE)
    assert hall.standing(str(NODE)) is Priority.PLANNED


def test_registry_and_stack_files_have_the_same_notion_of_the_world() -> None:
    assert registry.WORLD == WORLD


# --- connections ---------------------------------------------------------------------------------


def test_a_source_holds_so_many_and_who_comes_gets_the_oldest_of_them() -> None:
    hall = Hall()
    neighbor = hall.enter("198.51.100.8")
    places = [hall.enter("198.51.100.7") for _ in range(PER_STRANGER)]
    assert all(places) and hall.cut == []
    assert hall.enter("198.51.100.7")
    assert hall.cut == [ip_address("198.51.100.7")]
    assert places[0] is not None and places[0].pool is None
    assert neighbor is not None and neighbor.pool is not None
    assert places[1] is not None
    hall.connections.leave(places[1])
    assert hall.enter("198.51.100.7") and len(hall.cut) == 1


def test_an_ipv6_host_is_its_64_and_a_48_holds_a_few_times_as_many() -> None:
    hall = Hall()
    assert all(hall.enter(f"2001:db8:7::{n:x}") for n in range(PER_STRANGER))
    assert hall.cut == []
    for n in range(1, WIDER):
        assert all(hall.enter(f"2001:db8:7:{n:x}::1") for _ in range(PER_STRANGER))
    assert hall.cut == []
    assert hall.enter("2001:db8:8::1") and hall.cut == []
    assert hall.enter("2001:db8:7:ffff::1") and hall.enter("2001:db8:7:1::1")
    assert hall.cut == [ip_address("2001:db8:7::"), ip_address("2001:db8:7:1::1")]


def test_a_newcomer_finds_a_place_and_who_holds_most_loses_the_oldest() -> None:
    hall = Hall(total=8)
    for text in ("192.0.2.1", *["198.51.100.7"] * 4, "192.0.2.2", *["203.0.113.9"] * 2):
        assert hall.enter(text)
    assert hall.enter("192.0.2.3")
    assert hall.cut == [ip_address("198.51.100.7")]


def test_who_has_no_room_left_costs_nobody_else_a_place() -> None:
    hall = Hall(total=PER_STRANGER + 1)
    assert hall.enter("198.51.100.8")
    assert all(hall.enter("198.51.100.7") for _ in range(2 * PER_STRANGER))
    assert set(hall.cut) == {ip_address("198.51.100.7")} and len(hall.cut) == PER_STRANGER


def test_a_place_that_was_taken_away_is_not_given_back_twice() -> None:
    hall = Hall(total=2)
    first = hall.enter("198.51.100.7")
    hall.enter("198.51.100.8")
    assert first is not None and hall.enter("198.51.100.9")
    hall.connections.leave(first)
    hall.connections.leave(first)
    assert hall.enter("198.51.100.9") and len(hall.cut) == 2


def test_nodes_have_places_that_strangers_do_not_take() -> None:
    hall = Hall(total=4)
    nodes = [hall.at_once(str(NODE)) for _ in range(PER_MEMBER)]
    for n in range(20):
        hall.enter(f"2001:db8:1:{n:x}::1")
    assert all(place is not None and place.pool for place in nodes)
    assert NODE not in hall.cut


def test_who_has_signed_a_request_keeps_its_place() -> None:
    hall = Hall(total=4)
    mine = hall.enter("192.0.2.1")
    hall.sign(OPERATOR, mine)
    for n in range(20):
        assert hall.enter(f"198.51.100.{n}")
    assert ip_address("192.0.2.1") not in hall.cut
    assert mine is not None
    hall.connections.leave(mine)


@pytest.mark.parametrize("home", ["192.0.2.1", "203.0.113.200"], ids=["unknown", "an admin's"])
def test_an_operator_gets_in_and_stays_behind_an_address_that_others_fill(home: str) -> None:
    hall = Hall()
    assert all(hall.enter(home) for _ in range(PER_STRANGER))
    mine = hall.enter(home)
    hall.sign(OPERATOR, mine)
    hall.now += 60
    for _ in range(2 * PER_MEMBER):
        hall.enter(home)
    assert len(hall.cut) > PER_MEMBER
    assert mine is not None and mine.pool is not None
    again = hall.enter(home)
    assert again is not None and again.pool is not None


def test_a_stolen_key_does_not_take_the_places_of_known_networks() -> None:
    """A node's key and its token, from wherever they like: they sign on all that they get."""
    hall = Hall()
    home = "192.0.2.1"
    hall.known.signed(OPERATOR, ip_address(home))
    for n in range(KNOWN // PER_STRANGER):
        hall.now += 60
        for _ in range(PER_MEMBER):
            place = hall.enter(f"2001:{0xDB8 + n:x}::1")
            if place is not None:
                hall.sign(MEMBER if n % 2 else TOKEN, place)
        if n % 8 == 0:
            hall.known.signed(OPERATOR, ip_address(home))
    mine = [hall.enter(home) for _ in range(20)]
    assert all(place is not None and place.pool for place in mine)
    assert ip_address(home) not in hall.cut


def test_a_signer_keeps_so_many_connections() -> None:
    """Who has stolen a key shuts nobody out who is behind the same address."""
    hall = Hall()
    hall.known.signed(MEMBER, ip_address("192.0.2.1"))
    places = [hall.enter("192.0.2.1") for _ in range(PER_MEMBER)]
    for place in places:
        hall.sign(MEMBER, place)
    assert all(hall.enter("192.0.2.1") for _ in range(PER_MEMBER))
    assert [place is not None and place.pool is not None for place in places].count(True) == KEPT


def test_a_host_that_comes_again_and_again_does_not_spend_the_budget_of_all() -> None:
    hall = Hall()
    made = 0
    for _ in range(1000):
        place = hall.at_once("198.51.100.7")
        if place is not None:
            made += 1
            hall.connections.leave(place)
    assert made == 2 * PER_STRANGER
    assert hall.at_once("198.51.100.8")


def test_strangers_share_so_many_handshakes_and_nodes_and_admins_do_not_wait_for_them() -> None:
    hall = Hall()
    made = sum(hall.at_once(f"10.0.{n // 250}.{n % 250}") is not None for n in range(1000))
    assert made == 2 * HANDSHAKES
    assert hall.at_once(str(NODE))
    assert hall.at_once("203.0.113.200")


def test_a_place_is_found_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each who comes it is asked once what he is, and of nobody who is there."""
    hall = Hall()
    asked: list[Address] = []
    standing = KnownNetworks.standing

    def count(self: KnownNetworks, address: Address) -> Priority:
        asked.append(address)
        return standing(self, address)

    monkeypatch.setattr(KnownNetworks, "standing", count)
    for n in range(2 * hall.total):
        hall.enter(f"10.0.{n // 250}.{n % 250}")
    assert len(asked) == 2 * hall.total


def test_the_largest_crowd_is_the_largest() -> None:
    crowds, sizes, chance = SourceCounts(), dict.fromkeys(range(6), 0), random.Random(7)
    for _ in range(3000):
        n = chance.randrange(6)
        if sizes[n] and chance.random() < 0.5:
            crowds.remove((32, n))
            sizes[n] -= 1
        elif sizes[n] < 9:
            crowds.add((32, n))
            sizes[n] += 1
        largest = crowds.largest
        assert (0 if largest is None else sizes[largest[1]]) == max(sizes.values())


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "neighbor", "other"),
    [
        ("198.51.100.7", None, "198.51.100.8"),
        ("2001:db8:7::1", "2001:db8:7::2", "2001:db8:7:1::1"),
    ],
)
def test_requests_are_counted_by_host(first: str, neighbor: str | None, other: str) -> None:
    rate = Rate(rate=1, burst=5, clock=lambda: 0.0)
    assert [rate.allows(ip_address(first)) for _ in range(6)] == [True] * 5 + [False]
    assert neighbor is None or not rate.allows(ip_address(neighbor))
    assert rate.allows(ip_address(other))


def test_requests_of_a_48_are_counted_together_as_well() -> None:
    rate = Rate(rate=1, burst=5, clock=lambda: 0.0)
    granted = sum(rate.allows(ip_address(f"2001:db8:7:{n:x}::1")) for n in range(100))
    assert granted == 5 * WIDER
    assert rate.allows(ip_address("2001:db8:8::1"))


def test_a_48_does_not_hold_all_places_of_those_who_wait() -> None:
    waiting = ConcurrencyLimit(per_source=2, total=32)
    granted = sum(waiting.enter(ip_address(f"2001:db8:7:{n:x}::1")) for n in range(100))
    assert granted == 2 * WIDER
    assert waiting.enter(ip_address("2001:db8:8::1"))
