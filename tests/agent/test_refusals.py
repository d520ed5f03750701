"""What a node refuses and reports, and which network it follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.agent.host import Host
from mesh.agent.refusals import LAPSE_SECONDS, Refusals
from mesh.agent.state import Applied, Forged, Rejected, State, stated_number, verified
from mesh.trust import keys, signing
from mesh.trust.documents import MAX_REFUSALS, DrainOrder, Manifest, Refusal
from mesh.trust.orders import DRAIN
from mesh.trust.signing import Purpose, Signed
from tests.kit.registry import Fleet, shared_fleet

FLEET = shared_fleet()
FOREIGN = Fleet(FLEET.plan, FLEET.key)
"""Another network of the same operator key, with nodes of the same names."""
OPERATOR, NODE, OTHER = keys.signing_public(FLEET.key), "lax-vultr-1", "as27218-another"
A, B = "https://192.0.2.1:8443", "https://192.0.2.2:8443"


def names_us(manifest: Manifest) -> bool:
    return manifest.nodes[NODE].identity == FLEET.facts[NODE].identity


def manifest(number: int, network: str = FLEET.network, of: Fleet = FLEET) -> Signed:
    return of.generation(number, network).generation.manifest


def take(state: State, envelope: Signed) -> bool:
    return state.accept(verified(OPERATOR, envelope))


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(Host(tmp_path), OPERATOR, names_us)


# --- which network -------------------------------------------------------------------------------


def test_a_fresh_node_follows_the_network_that_names_its_own_key(state: State) -> None:
    """A manifest is public, so another network's may come first, and with a higher number."""
    assert not take(state, manifest(900, OTHER, FOREIGN))
    assert state.highest is None
    assert take(state, manifest(3))
    assert state.highest is not None and state.highest.number == 3


def test_a_member_refuses_another_networks_generation_for_good(
    state: State, tmp_path: Path
) -> None:
    take(state, manifest(3))
    for again in (state, State(Host(tmp_path), OPERATOR, names_us)):
        for of in (FLEET, FOREIGN):
            with pytest.raises(Rejected, match=f"of the network {OTHER}, and this node is of"):
                take(again, manifest(900, OTHER, of))
        assert again.highest is not None and again.highest.number == 3


def test_a_member_that_is_left_out_stays_what_it_is(state: State, tmp_path: Path) -> None:
    """Its last generation may not name it any more; it has applied one that did."""
    take(state, manifest(3))
    state.confirm(Applied(3, "0" * 64, "{}"))
    take(state, manifest(4, of=FOREIGN))
    again = State(Host(tmp_path), OPERATOR, names_us)
    assert again.highest is not None and again.highest.number == 4


def test_what_an_earlier_version_kept_of_another_network_decides_nothing(tmp_path: Path) -> None:
    State(Host(tmp_path), OPERATOR, lambda _: True).accept(
        verified(OPERATOR, manifest(900, OTHER, FOREIGN))
    )
    state = State(Host(tmp_path), OPERATOR, names_us)
    assert state.highest is None
    assert take(state, manifest(3))


# --- what is reported ----------------------------------------------------------------------------


def refusal(number: int, digest: str = "0", what: str = "manifest") -> Refusal:
    return Refusal(what, number, digest * 64, "why")  # type: ignore[arg-type]


def test_a_refusal_stands_while_it_is_offered_and_ends_with_what_is_followed() -> None:
    now = [0.0]
    held = Refusals(lambda: now[0])
    held.add(A, refusal(7))
    held.add(B, refusal(7))
    assert held.standing == (refusal(7),), "once, whoever offers it"
    held.taken("manifest", A, 6)
    assert held.standing == (refusal(7),), "the other offers it still"
    held.taken("drain", B, 9)
    assert held.standing == (refusal(7),)
    held.taken("manifest", A, 8)
    assert not held.standing
    held.add(A, refusal(9))
    now[0] += LAPSE_SECONDS
    assert held.standing == (refusal(9),)
    now[0] += 1
    assert not held.standing, "nobody offers it any more"


def test_one_registry_holds_one_place_of_each_kind_and_hides_no_other() -> None:
    """Whoever holds it may offer all that the operator has ever signed."""
    held = Refusals(lambda: 0.0)
    held.add(B, refusal(7, "b"))
    for number in range(1, 1000):
        held.add(A, refusal(number, "a"))
    assert held.standing == (refusal(999, "a"), refusal(7, "b"))
    for place in range(100):
        held.add(f"https://192.0.2.{place}:1", refusal(place + 1, f"{place % 8}"))
    assert len(held.standing) == MAX_REFUSALS


STRANGER = keys.new_operator_key()[0]
ORDER = DrainOrder(FLEET.network, 5, ())


@pytest.mark.parametrize(
    ("envelope", "error", "number"),
    [
        (signing.signed_document(FLEET.key, Purpose.MANIFEST, {"generation": 7}), Rejected, 7),
        (signing.signed_document(FLEET.key, Purpose.MANIFEST, ["x"]), Rejected, 0),
        (signing.signed_document(FLEET.key, Purpose.MANIFEST, {"generation": True}), Rejected, 0),
        (signing.signed_document(STRANGER, Purpose.MANIFEST, {"generation": 7}), Forged, 7),
        (signing.signed_document(FLEET.key, Purpose.DRAIN, ORDER), Forged, 5),
        (Signed("[" * 100_000, "A" * 86 + "=="), Forged, 0),
        (Signed("{", "A" * 86 + "=="), Forged, 0),
    ],
)
def test_what_cannot_be_read_is_ours_or_forged(
    envelope: Signed, error: type[Exception], number: int
) -> None:
    """Only what our operator has signed is worth a report."""
    with pytest.raises(Rejected) as caught:
        verified(OPERATOR, envelope)
    assert type(caught.value) is error
    assert stated_number(envelope) == number


def test_an_orders_digest_is_that_of_its_envelope() -> None:
    assert DRAIN.digest(ORDER) == DRAIN.signed(FLEET.key, ORDER).digest
