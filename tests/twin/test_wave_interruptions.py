"""What is left of an update that is killed, of a password that a provider forgets, and of a node
that is off meanwhile: proofs of ``tests.waves``, on a twin of their own."""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import pytest

from tests.kit.stacks import ROOT
from tests.waves.cases import GOOD
from tests.waves.interrupted import INTERRUPTED
from tests.waves.network import Network, deployed
from tests.waves.outcome import Outcome
from tests.waves.proofs import good

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.twin, pytest.mark.slow]

NAME = f"stops-{crc32(str(ROOT).encode()):08x}"
NOT_KEPT = next(each for each in GOOD if each.name == "password-not-kept")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A twin, from a copy of this checkout whose files proofs edit."""
    with deployed(NAME, "prod", tmp_path_factory.mktemp("checkout")) as found:
        yield found


def holds(outcome: Outcome) -> None:
    """Fails with all that the updates have said where something is not as it should be; shows
    otherwise what clients have lost (`-rP`)."""
    print(outcome.row())
    assert outcome.good, f"{outcome.row()}\n{outcome.output}"


@pytest.mark.parametrize("name", [name for name in INTERRUPTED if name.startswith("killed-")])
def test_what_a_killed_up_has_released_finishes_and_the_next_goes_on_or_back(
    network: Network, name: str
) -> None:
    holds(INTERRUPTED[name](network))


def test_a_provider_that_forgets_the_password_darkens_no_other_city(network: Network) -> None:
    holds(INTERRUPTED["password-forgotten"](network))


def test_where_all_providers_forget_it_no_node_stays_dark_for_a_drain(network: Network) -> None:
    outcome = good(NOT_KEPT)(network)
    holds(outcome)
    assert "drains first" not in outcome.output


@pytest.mark.parametrize("name", ["off-before", "off-between"])
def test_a_node_that_loses_its_power_stops_no_update(network: Network, name: str) -> None:
    holds(INTERRUPTED[name](network))


@pytest.mark.parametrize("name", ["away", "away-without", "away-after-all"])
def test_a_node_that_was_off_has_what_is_in_force_and_announces_nothing_of_before(
    network: Network, name: str
) -> None:
    holds(INTERRUPTED[name](network))
