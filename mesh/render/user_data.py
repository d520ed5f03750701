"""User data: what a node's server is given, with its seed and the bootstrap script."""

from __future__ import annotations

from mesh.plan import Plan
from mesh.render.seed import Seed, Sign
from mesh.render.systems import system_of


def user_data(plan: Plan, node_id: str, seed: Seed, sign: Sign | None = None) -> str:
    """The user data of a node; the same bytes for the same seed. The operator signs them (``sign``)
    where the system asks for it: without that they are for display only."""
    node = plan.node(node_id)
    return system_of(node).user_data(plan, node, seed, sign or _unsigned)


def _unsigned(message: str) -> str:
    from mesh.trust.signify import unsigned

    return unsigned(message)
