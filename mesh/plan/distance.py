"""Cost of a link by the distance of its ends: light takes the same way for everybody."""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt

EARTH_KM = 6371.0
KM_PER_COST = 100


def kilometres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance of two places, given as (latitude, longitude) in degrees."""
    (lat_a, lon_a), (lat_b, lon_b) = a, b
    dlat, dlon = radians(lat_b - lat_a) / 2, radians(lon_b - lon_a) / 2
    haversine = sin(dlat) ** 2 + cos(radians(lat_a)) * cos(radians(lat_b)) * sin(dlon) ** 2
    return 2 * EARTH_KM * asin(sqrt(haversine))


def cost(a: tuple[float, float], b: tuple[float, float]) -> int:
    """Cost of a link: one per 100 km, at least 1. BIRD adds it to the AIGP metric (RFC 7311)."""
    return max(1, round(kilometres(a, b) / KM_PER_COST))
