"""The tags of servers beside their mark, for people: in Vultr's console and on a bill."""

from __future__ import annotations

from mesh.plan import Plan

TAG = "anycast-mesh"


def tags(plan: Plan) -> list[str]:
    """The tags of every server of a stack."""
    return [TAG, plan.stack]
