"""A network's name is made once: neither a renamed stack nor another ASN changes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from mesh.plan import Plan
from mesh.plan.document import write_plan
from mesh.publish import Fleet as State
from mesh.publish import PublishError, dump_fleet, load_fleet, named, publish, retire
from mesh.publish.identity import adopted, new_network
from mesh.trust import keys
from mesh.trust.documents import MAX_NETWORK, DrainOrder, Planned
from mesh.trust.encoding import dump, parse
from mesh.trust.orders import DRAIN
from tests.kit.nodes import Nodes, speaking
from tests.kit.registry import PLACES, Fleet, Live, live, shared_fleet
from tests.kit.wait import until

pytestmark = pytest.mark.usefixtures("soon_steady")

FLEET = shared_fleet()
LAX, MIA = "lax-vultr-1", "mia-vultr-1"
OTHER = "as27218-another"


def moved(**changed: object) -> Plan:
    return replace(FLEET.plan, **changed)  # type: ignore[arg-type]


# --- the name ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", ["prod", "p" * 100])
def test_a_new_name_tells_the_stack_fits_and_is_never_the_same_twice(stack: str) -> None:
    plan = moved(stack=stack)
    made = {new_network(plan) for _ in range(20)}
    assert len(made) == 20
    for name in made:
        assert name.startswith(f"as27218-{stack}"[:40])
        assert parse(Planned, dump(Planned({}, name))).network == name
        assert len(name) <= MAX_NETWORK


PLAN = write_plan(FLEET.plan)
TEXTS = {
    "the plan beside it": (PLAN, "as27218-prod"),
    "a plan of another version": ('{"stack": "old", "asn": 64500, "x": 1}', "as64500-old"),
    "no plan": ("", None),
    "no JSON": ("{", None),
    "a list": ("[]", None),
    "no ASN": ('{"stack": "prod"}', None),
    "an ASN as text": ('{"stack": "prod", "asn": "27218"}', None),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_state_without_a_name_had_that_of_its_plan(case: str) -> None:
    text, expected = TEXTS[case]
    document = json.loads(dump_fleet(State(5, "0" * 64, FLEET.members())))
    del document["network"]  # as an earlier version wrote it
    assert named(load_fleet(json.dumps(document)), text).network == expected


def test_a_kept_name_stays_whatever_the_plan_says() -> None:
    kept = State(5, "0" * 64, FLEET.members(), network="as1-first")
    assert named(kept, PLAN) is kept
    assert load_fleet(dump_fleet(kept)) == kept


def test_only_a_network_that_names_our_nodes_is_adopted() -> None:
    """Another one of the same key has the same names of nodes, and other keys."""
    foreign = Fleet(FLEET.plan, FLEET.key).generation(2**40, OTHER).manifest
    ours = FLEET.generation(5, "as1-first").manifest
    identities = {member.identity for member in FLEET.members().values()}
    assert adopted([foreign, ours], identities) == "as1-first"
    assert adopted([foreign], identities) is None
    assert adopted([], identities) is None


# --- publications --------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Live]:
    with live(tmp_path, keys.signing_public(FLEET.key), b"a bundle") as one:
        yield one


@contextmanager
def joined(registry: Live, refusing: set[str] | None = None) -> Iterator[Nodes]:
    """All nodes, which join as soon as they are planned and obey what the registry holds."""
    registry.registry.accept_planned(dump(FLEET.planned()))
    for node, place in PLACES.items():
        registry.raw("POST", "/api/v1/join", body=FLEET.join(node), source=place)
    with speaking(Nodes(FLEET, registry, refusing=refusing or set())) as nodes:
        yield nodes


def reported(registry: Live) -> None:
    """Waits until all nodes have reported on what the registry holds."""
    until(lambda: len(registry.registry.store.reports()) == len(PLACES), 20, "all have reported")


def published(
    registry: Live, state: State | None, plan: Plan = FLEET.plan, lines: list[str] | None = None
) -> State:
    order = FLEET.order(registries={LAX: registry.url}, deadline=300.0, plan=plan)
    fleet, _ = publish(order, state, ([] if lines is None else lines).append)
    return fleet


def held(registry: Live) -> tuple[int, str]:
    current = registry.registry.current()
    assert current is not None
    return current.manifest.generation, current.manifest.network


def test_a_renamed_stack_and_another_asn_leave_the_network_what_it_is(registry: Live) -> None:
    with joined(registry):
        first = published(registry, None)
        assert first.network is not None and first.network.startswith("as27218-prod-")
        order = DRAIN.signed(FLEET.key, DrainOrder(first.network, 1, (MIA,)))
        registry.registry.accept_order(DRAIN, dump(order))
        second = published(registry, first, moved(stack="core", asn=64500))
    assert (second.generation, second.network) == (2, first.network)
    assert held(registry) == (2, first.network)
    assert second.drain == DrainOrder(first.network, 1, (MIA,)), "an order from before stands"


def test_an_upgrade_a_rename_and_another_asn_in_one_update_keep_the_old_name(
    registry: Live,
) -> None:
    """The registries hold what an earlier version made; the state's own plan is of before."""
    with joined(registry):
        registry.registry.accept_packed(dump(FLEET.generation(5).generation))
        reported(registry)
        old = named(State(5, FLEET.generation(5).digest, FLEET.members()), PLAN)
        done = published(registry, old, moved(stack="core", asn=64500))
    assert (done.generation, done.network) == (6, "as27218-prod")


def test_a_lost_state_takes_up_the_network_that_its_nodes_follow(registry: Live) -> None:
    with joined(registry):
        registry.registry.accept_packed(dump(FLEET.generation(5, "as1-first").generation))
        reported(registry)
        done = published(registry, None, moved(stack="core"))
    assert (done.generation, done.network) == (6, "as1-first")


def test_another_networks_manifest_on_a_fresh_registry_is_neither_adopted_nor_in_the_way(
    registry: Live,
) -> None:
    """Anybody may bring one, for manifests are public; and its number is higher."""
    foreign = Fleet(FLEET.plan, FLEET.key).generation(700, OTHER).generation.manifest
    assert registry.registry.accept_manifest(dump(foreign))
    with joined(registry):
        done = published(registry, None)
    assert done.network is not None and done.network.startswith("as27218-prod-")
    assert held(registry) == (done.generation, done.network)


def test_a_registry_of_another_network_is_said_at_once_and_not_taken_over(registry: Live) -> None:
    registry.registry.accept_planned(dump(replace(FLEET.planned(), network=OTHER)))
    registry.registry.accept_packed(dump(FLEET.generation(5, OTHER).generation))
    before = registry.memory()
    state = State(9, "0" * 64, FLEET.members(), network="as1-first")
    with pytest.raises(PublishError, match=rf"as1-first.*serves {OTHER}.*mesh replace <node>"):
        published(registry, state)
    assert registry.memory() == before


def test_nodes_that_refuse_a_generation_end_the_wait_with_their_reason(
    registry: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("mesh.publish.publish"), "AFTERMATH", 0.5)
    lines: list[str] = []
    with joined(registry, refusing={MIA}), pytest.raises(PublishError) as failed:
        published(registry, None, lines=lines)
    line = (
        f"{MIA} refuses generation 1: of the network N, and this node is of M; if this is the "
        f"right stack, give the node a new server (mesh replace {MIA})"
    )
    assert line in lines, "as soon as it is known"
    assert str(failed.value) == line, "and nobody else is blamed"


def test_no_farewell_is_signed_for_another_network(registry: Live) -> None:
    """It would take that network down, in the hands of whoever keeps it."""
    foreign = Fleet(FLEET.plan, FLEET.key).generation(9, OTHER).generation.manifest
    registry.registry.accept_manifest(dump(foreign))
    before, lines = registry.memory(), list[str]()
    state = State(5, "0" * 64, FLEET.members(), network="as1-first")
    retire(FLEET.order(registries={LAX: registry.url}, deadline=2.0), state, lines.append)
    assert registry.memory() == before
    assert lines == [
        "warning: retire: no registry holds a generation; no node was ordered to withdraw"
    ]
