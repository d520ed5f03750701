"""Which drain orders a node follows: its operator's, its network's, and never a lower one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.agent.host import Host
from mesh.agent.state import HighestManifest, Rejected, State, verified, verified_order
from mesh.trust import keys, signing
from mesh.trust.documents import DrainOrder, Manifest
from mesh.trust.orders import DRAIN
from mesh.trust.signing import Purpose, Signed
from tests.kit.registry import shared_fleet

FLEET = shared_fleet()
OPERATOR = keys.signing_public(FLEET.key)
NETWORK = "as27218-prod"


def signed(number: int, *nodes: str, network: str = NETWORK) -> Signed:
    order = DrainOrder(network, number, nodes)
    return signing.signed_document(FLEET.key, Purpose.DRAIN, order)


def anybody(_: Manifest) -> bool:
    return True


def known() -> HighestManifest:
    return verified(OPERATOR, FLEET.generation(1).generation.manifest)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def take(state: State, envelope: Signed) -> bool:
    return state.accept_order(verified_order(OPERATOR, DRAIN, envelope))


def test_the_highest_order_counts_and_outlives_a_restart(host: Host) -> None:
    state = State(host, OPERATOR, anybody)
    state.accept(known())
    assert state.obeyed_order(DRAIN) is None
    assert take(state, signed(2, "lax-vultr-1"))
    assert not take(state, signed(2, "lax-vultr-1")), "known already"
    again = State(host, OPERATOR, anybody).obeyed_order(DRAIN)
    assert again == DrainOrder(NETWORK, 2, ("lax-vultr-1",))


@pytest.mark.parametrize(
    ("envelope", "why"),
    [
        (signed(4), "not above drain order 5"),
        (signed(5), "not above drain order 5"),
        (signed(9, network="as27218-other"), "of the network as27218-other, and this node is of"),
    ],
)
def test_a_lower_order_or_another_networks_is_refused(
    host: Host, envelope: Signed, why: str
) -> None:
    state = State(host, OPERATOR, anybody)
    state.accept(known())
    take(state, signed(5, "lax-vultr-1"))
    with pytest.raises(Rejected, match=why):
        take(state, envelope)
    assert State(host, OPERATOR, anybody).obeyed_order(DRAIN) == DrainOrder(
        NETWORK, 5, ("lax-vultr-1",)
    )


@pytest.mark.parametrize("purpose", [Purpose.MANIFEST, Purpose.REPORT, Purpose.REQUEST])
def test_a_signature_for_another_purpose_is_no_order(purpose: Purpose) -> None:
    order = DrainOrder(NETWORK, 1, ())
    with pytest.raises(Rejected, match="not signed by our operator"):
        verified_order(OPERATOR, DRAIN, signing.signed_document(FLEET.key, purpose, order))


def test_an_order_that_comes_before_the_first_generation_waits_for_it(host: Host) -> None:
    """A new node asks for both, and does not know yet which network is its own."""
    state = State(host, OPERATOR, anybody)
    assert take(state, signed(9, "lax-vultr-1", network="as27218-other"))
    assert state.obeyed_order(DRAIN) is None
    state.accept(known())
    assert state.obeyed_order(DRAIN) is None, "another network's"
    assert state.order(DRAIN) is None, "and nothing to wait above"
    assert take(state, signed(1, "lax-vultr-1")), "its number is of another count"
    assert state.obeyed_order(DRAIN) == DrainOrder(NETWORK, 1, ("lax-vultr-1",))
