"""How large a generation may be: known at check, and minded before it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.thousand import fleet
from mesh import capacity
from mesh.plan import Plan, make
from mesh.publish import Instance, PublishError
from mesh.publish.registry_pool import RegistryPool
from mesh.publish.size import at_most
from mesh.registry import gate, paths
from mesh.registry.routes import status
from mesh.render import placeholder_placements
from mesh.spec import load
from mesh.trust import keys
from mesh.trust.encoding import dump
from tests.kit.registry import Fleet, Live, live, shared_fleet
from tests.kit.stacks import plan_of, prod, with_members

FLEET = shared_fleet()
ENDLESS = 1 << 40


def plan_with(count: int) -> Plan:
    return make(load("bench", fleet(count), Path()).spec)


@pytest.mark.parametrize("values", [prod(), with_members()], ids=["edges", "members"])
def test_a_real_generation_is_a_little_smaller_than_was_said_before(values: dict[str, Any]) -> None:
    own = Fleet(plan_of(values))
    places = placeholder_placements(own.plan)
    real = own.generation(
        7,
        passwords={node.provider: "x" * 16 for node in own.plan.nodes},
        instances={
            node: Instance(f"i-{node}", "2026-01-01T00:00:00Z", "token", places[node])
            for node in own.facts
        },
    )
    size = len(dump(real.generation))
    assert size <= at_most(own.plan, ENDLESS) <= size * 1.03


def test_what_is_above_the_limit_is_estimated() -> None:
    plan = plan_with(60)
    whole = at_most(plan, ENDLESS)
    assert at_most(plan, whole * 2 // 3) == pytest.approx(whole, rel=0.1)


@pytest.mark.parametrize(("room", "refused"), [(0, False), (-1, True)], ids=["fits", "one beyond"])
def test_a_network_is_refused_by_the_byte(
    monkeypatch: pytest.MonkeyPatch, room: int, refused: bool
) -> None:
    plan = plan_of(prod())
    monkeypatch.setattr(paths, "MAX_GENERATION", at_most(plan, ENDLESS) + room)
    found = list(capacity.problems(plan))
    assert [(each.key, each.value) for each in found] == [("mesh:nodes", "4 nodes")] * refused
    said = f"registries take {paths.MAX_GENERATION / capacity.MIB:g} MiB"
    assert all(said in each.reason for each in found)


def test_as_many_nodes_fit_as_the_readme_says() -> None:
    """1,260 of them in 64 MiB: 1,200 fit and 1,300 do not. A fourth of them is rendered, for twice
    the nodes are twice the bytes (below): of 1,260 each takes 0.3 % more than of 340."""
    count = 340
    size = at_most(plan_with(count), ENDLESS)
    assert paths.MAX_GENERATION == 64 * capacity.MIB
    assert size / count * 1200 < paths.MAX_GENERATION < size / count * 1300


@pytest.mark.parametrize("plan", [plan_with(60), plan_of(with_members())], ids=["edges", "members"])
def test_what_is_not_measured_would_fit(plan: Plan) -> None:
    links = sum(len(node.links) for node in plan.nodes) // 2
    bound = len(plan.nodes) * capacity.PER_NODE + links * capacity.PER_LINK
    assert at_most(plan, ENDLESS) < bound / 2


def test_what_is_the_same_on_all_nodes_is_sent_once() -> None:
    """Twice the nodes are twice the bytes, although each node is told of all of them."""
    assert at_most(plan_with(120), ENDLESS) < 2.2 * at_most(plan_with(60), ENDLESS)


# --- on its way ----------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Live]:
    with live(tmp_path, keys.signing_public(FLEET.key), b"a bundle") as one:
        yield one


@pytest.fixture
def pool(registry: Live) -> Iterator[RegistryPool]:
    pool = RegistryPool(FLEET.key, {"lax-vultr-1": registry.url})
    pool.prepare(b"a bundle", FLEET.planned())
    yield pool
    pool.close()


def test_the_largest_generation_is_brought(
    monkeypatch: pytest.MonkeyPatch, registry: Live, pool: RegistryPool
) -> None:
    made = FLEET.seventh
    monkeypatch.setattr(paths, "MAX_GENERATION", len(dump(made.generation)))
    assert pool.put_generation(made.generation) == []
    assert registry.registry.current() is not None


def test_a_larger_one_is_not_sent_at_all(
    monkeypatch: pytest.MonkeyPatch, registry: Live, pool: RegistryPool
) -> None:
    made = FLEET.seventh
    monkeypatch.setattr(paths, "MAX_GENERATION", len(dump(made.generation)) - 1)
    with pytest.raises(PublishError, match=r"mesh:nodes: the generation of 4 nodes has [\d,]+ "):
        pool.put_generation(made.generation)
    assert registry.registry.current() is None


# --- registries of an earlier version ------------------------------------------------------------


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registries that take generations whole only."""
    doors = tuple(door for door in gate.DOORS if not door.path.fullmatch(paths.PACKED))
    monkeypatch.setattr(gate, "DOORS", doors)
    monkeypatch.setattr(status, "TAKES", ())


@pytest.mark.usefixtures("earlier")
def test_a_registry_of_an_earlier_version_gets_it_whole(registry: Live, pool: RegistryPool) -> None:
    made = FLEET.seventh
    assert pool.put_generation(made.generation) == []
    assert registry.registry.part("lax-vultr-1") == made.generation.part("lax-vultr-1")


@pytest.mark.usefixtures("earlier")
def test_what_is_too_large_for_an_earlier_version_is_said_with_the_way_there(
    monkeypatch: pytest.MonkeyPatch, registry: Live, pool: RegistryPool
) -> None:
    made = FLEET.seventh
    monkeypatch.setattr(paths, "MAX_GENERATION", len(dump(made.generation)))
    with pytest.raises(PublishError, match="of an earlier version: leave out nodes that are new"):
        pool.put_generation(made.generation)
    assert registry.registry.current() is None
