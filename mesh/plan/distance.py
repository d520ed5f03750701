"""Cost of a link by the distance of its ends."""

from __future__ import annotations

from mesh.spec.distance import kilometres

KM_PER_COST = 100


def cost(a: tuple[float, float], b: tuple[float, float]) -> int:
    """Cost of a link: one per 100 km, at least 1. BIRD sums them along each path."""
    return max(1, round(kilometres(a, b) / KM_PER_COST))
