"""What the servers cost per month: after the update by the stack file, now by the account.

The prices are those of the API's plans, in US dollars. Addresses, traffic and taxes are in none of
its answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mesh.infra.providers.vultr.catalog import DDOS, Catalog
from mesh.infra.providers.vultr.v2 import ApiError, Mark
from mesh.infra.providers.vultr.v2.answers import BareMetal, Server
from mesh.plan import Node
from mesh.spec import Note, Spec

DDOS_PRICE = 10.0
"""US dollars per month and instance (vultr.com/faq, "How much does DDoS Protection cost?"): no
answer of the API has it."""

UNKNOWN = "an unknown sum"


@dataclass(frozen=True, slots=True)
class Item:
    """One server on the bill; ``price`` is None for a plan that is no longer sold."""

    plan: str
    price: float | None
    protected: bool = False

    @property
    def total(self) -> float:
        """US dollars per month, without what has no price."""
        return (self.price or 0.0) + (DDOS_PRICE if self.protected else 0.0)


def note(
    stack: str,
    spec: Spec,
    nodes: Sequence[Node],
    catalog: Catalog,
    own: Sequence[Server] | ApiError,
) -> Note:
    """The monthly cost before and after; ``own`` are the stack's servers, or the error where they
    are not known."""
    after = [_item(node.size, node.bare_metal, _is_protected(spec), catalog) for node in nodes]
    total, before = _total(after), _before(stack, own, catalog)
    return Note(
        f"Vultr costs {total} a month after this update, "
        f"{'the same' if before == total else before} now: {_bill(after)}; "
        "list prices, without addresses, traffic and taxes"
    )


def _before(stack: str, own: Sequence[Server] | ApiError, catalog: Catalog) -> str:
    """What the stack's servers cost now."""
    if isinstance(own, ApiError):
        return f"{UNKNOWN} ({own.problem.reason})"
    marks = (Mark.read_tags(server.tags) for server in own)
    if len({mark.identity for mark in marks if mark is not None}) > 1:
        return f"{UNKNOWN} (the account has several networks named {stack})"
    items = [
        _item(server.plan, isinstance(server, BareMetal), DDOS in server.features, catalog)
        for server in own
    ]
    return _total(items) if items else "nothing"


def _item(plan: str, bare_metal: bool, protected: bool, catalog: Catalog) -> Item:
    found = catalog.plan(plan, bare_metal)
    return Item(plan, None if found is None else found.monthly_cost, protected)


def _is_protected(spec: Spec) -> bool:
    return bool(spec.providers.vultr.ddos_protection)


def _total(items: Sequence[Item]) -> str:
    lacking = sorted({item.plan for item in items if item.price is None})
    if lacking:
        return f"{UNKNOWN} (Vultr sells {', '.join(lacking)} no longer)"
    return f"{sum(item.total for item in items):.2f} US dollars"


def _bill(items: Sequence[Item]) -> str:
    """The number of servers by plan, and other costs."""
    counts = Counter((item.plan, item.price) for item in items)
    parts = [
        f"{count} {plan}" if price is None else f"{count} {plan} at {price:.2f}"
        for (plan, price), count in sorted(counts.items())
    ]
    protected = sum(item.protected for item in items)
    if protected:
        parts.append(f"{protected} times DDoS protection at {DDOS_PRICE:.2f}")
    return ", ".join(parts)
