"""Distances on the globe."""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt

EARTH_KM = 6371.0


def kilometres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance of two places, given as (latitude, longitude) in degrees."""
    (lat_a, lon_a), (lat_b, lon_b) = a, b
    dlat, dlon = radians(lat_b - lat_a) / 2, radians(lon_b - lon_a) / 2
    haversine = sin(dlat) ** 2 + cos(radians(lat_a)) * cos(radians(lat_b)) * sin(dlon) ** 2
    return 2 * EARTH_KM * asin(sqrt(haversine))
