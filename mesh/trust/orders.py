"""The kinds of orders: what the operator signs apart from generations.

Each kind has its own numbers, each order is complete, and the highest valid number of a network
counts. Registries relay orders; nodes store them and pass them on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from mesh.trust import signing
from mesh.trust.documents import (
    BlackholeOrder,
    DrainOrder,
    Health,
    HoldOrder,
    RolloutOrder,
)
from mesh.trust.encoding import dump, sha256
from mesh.trust.signing import Purpose, Signed


class Order(Protocol):
    """What orders of all kinds have."""

    @property
    def network(self) -> str:
        """The network that it is for."""

    @property
    def number(self) -> int:
        """Its number, within its kind."""


T = TypeVar("T", bound=Order)


@dataclass(frozen=True)
class OrderKind(Generic[T]):
    """One kind of order. ``key`` is its name in the API's paths and in the nodes' files, ``name``
    its name in messages. ``members_only``: only members may read it at a registry."""

    key: Literal["drain", "blackhole", "hold", "rollout"]
    name: str
    purpose: Purpose
    document: type[T]
    members_only: bool = False

    def obeyed(self, health: Health) -> int:
        """The number of the order of this kind that a node reports as applied last."""
        number: int = getattr(health, self.key)
        return number

    def opened(self, operator: str, envelope: Signed) -> T:
        """The order of an envelope, after its signature has been verified."""
        return signing.opened(operator, self.purpose, envelope, self.document)

    def digest(self, order: T) -> str:
        """SHA-256 (hex) of an order's envelope, as in a node's refusal."""
        return sha256(dump(order))

    def signed(self, operator_key: str, order: T) -> Signed:
        """The order in its envelope."""
        return signing.signed_document(operator_key, self.purpose, order)


DRAIN = OrderKind("drain", "drain order", Purpose.DRAIN, DrainOrder)
BLACKHOLE = OrderKind(
    "blackhole", "blackhole order", Purpose.BLACKHOLE, BlackholeOrder, members_only=True
)
HOLD = OrderKind("hold", "hold order", Purpose.HOLD, HoldOrder, members_only=True)
ROLLOUT = OrderKind("rollout", "rollout order", Purpose.ROLLOUT, RolloutOrder, members_only=True)
KINDS: tuple[OrderKind[Any], ...] = (DRAIN, BLACKHOLE, HOLD, ROLLOUT)
