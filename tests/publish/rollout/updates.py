"""What is published to simulated nodes, and what they have then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mesh.publish import Fleet as State
from mesh.publish import publish
from mesh.publish.order import SealedBefore
from mesh.trust.documents import Health, RolloutOrder
from mesh.trust.orders import ROLLOUT
from tests.kit.registry import shared_fleet
from tests.kit.rollouts import RolloutNodes

FLEET = shared_fleet()
LAX, ORD, MIA, EWR = NODES = ("lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1")
STATE = State(5, FLEET.fifth.digest, FLEET.members(), network=FLEET.network)
KNOWN = SealedBefore(5)
"""The secrets are those of generation 5."""


class Lines(list[str]):
    """The lines of an update, each of which something follows on when it is shown."""

    def __init__(self, follow: Callable[[str], None]) -> None:
        super().__init__()
        self._follow = follow

    def append(self, line: str) -> None:
        super().append(line)
        self._follow(line)


def publication(nodes: RolloutNodes, lines: list[str] | None = None, **changed: Any) -> State:
    values = {"registries": {LAX: nodes.registry.url}, "deadline": 300.0, "bundle": b"another"}
    before = changed.pop("before", None)
    order = FLEET.order(**(values | changed))
    shown: list[str] = [] if lines is None else lines
    done, _ = publish(order, STATE, shown.append, before)
    return done


def last(nodes: RolloutNodes) -> RolloutOrder:
    """The rollout order that the registry holds."""
    held = nodes.registry.registry.standing(ROLLOUT)
    assert held is not None
    return held.order


def generations(nodes: RolloutNodes) -> dict[str, int]:
    return {node: own.generation for node, own in nodes.own.items()}


def bundles(nodes: RolloutNodes) -> set[str]:
    return {own.bundle for own in nodes.own.values()}


def withdrawn(health: Health) -> Health:
    return replace(health, announced=dict.fromkeys(health.announced or {}, ()))


def dead(health: Health) -> Health:
    return replace(health, families={"web": {"ipv4": True, "ipv6": False}})


def only_announced_by(node: str) -> Any:
    aggregates = tuple(replace(each, nodes=(node,)) for each in FLEET.plan.aggregates)
    return replace(FLEET.plan, aggregates=aggregates)
