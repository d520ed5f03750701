"""How rollouts are read, and that clients notice what they are to notice."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tests.waves.__main__ import proofs
from tests.waves.applied import Taken
from tests.waves.clients import Heard
from tests.waves.network import Rollout
from tests.waves.outcome import Outcome
from tests.waves.proofs import lost, named

SAID = (
    (10.0, "generation 7 signed for 3 nodes"),
    (19.0, "generation 7 signed for 3 nodes"),
    (20.0, "error: mia-vultr-1: vultr4 was Established before"),
)
TAKEN = (
    Taken(10.5, "mia-vultr-1", 7), Taken(12.0, "ewr-vultr-1", 8), Taken(12.1, "mia-vultr-1", 8)
)  # fmt: skip


def heard(city: str, *moments: float) -> Heard:
    return Heard(city, ip_address("192.30.120.100"), 100, list(moments))


def rollout(*cities: Heard) -> Rollout:
    return Rollout(1, 9.0, 21.0, SAID, TAKEN, cities)


@pytest.mark.parametrize(
    ("moments", "seconds"),
    [
        ((), 0.0),
        ((1.0,), 0.01),
        ((1.0, 1.01, 1.02), 0.03),
        ((1.0, 2.0, 2.01), 0.02),
        ((2.01, 1.0, 2.0), 0.02),
    ],
    ids=["nothing lost", "one", "a row", "two rows", "in no order"],
)
def test_a_gap_is_the_longest_row_of_lost_connections(
    moments: tuple[float, ...], seconds: float
) -> None:
    assert heard("mia", *moments).gap == pytest.approx(seconds)


def test_a_rollout_tells_its_generations_and_who_had_them() -> None:
    found = rollout()
    assert found.generations == (7,)
    assert found.nodes(8) == ("ewr-vultr-1", "mia-vultr-1")
    assert found.waves(8) == 1
    assert named(found) == "mia-vultr-1"


def test_what_is_lost_in_the_struck_city_is_not_held_against_a_change_that_stops() -> None:
    found = rollout(heard("mia", 10.6, 10.61), heard("ewr"), heard("ord", 10.6))
    assert list(lost(found, "mia")) == ["ord lost 1"]


def test_a_row_shows_each_generation_by_the_seconds_after_the_first_was_signed() -> None:
    row = Outcome("password", (rollout(heard("mia", 10.6), heard("ewr")),), ("mia lost 1",)).row()
    assert "| #7 0.5 mia, #8 2.0 ewr+mia | 12.0 | mia 1 (0.0), ewr 0 | **no**: mia lost 1 |" in row


def test_every_proof_can_be_run_by_its_name() -> None:
    assert {"password", "wrong-password", "killed-restarting-1", "away"} <= proofs().keys()
