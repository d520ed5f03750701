"""The land of the world as rings of points, and cut to a rectangle for a map."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from itertools import pairwise

Point = tuple[float, float]
"""Degrees to the east and to the north; or units of a map to the right and down."""

_UNITS = 20.0
"""Of ``land.svg`` in a degree."""
_NEAR = 1.5
"""Units of a map: points nearer to the last one are left out."""


@cache
def rings() -> tuple[tuple[Point, ...], ...]:
    """The outlines of continents, islands and seas within them. A ring that crosses the 180th
    meridian goes on beyond it, so that none jumps."""
    text = files("mesh.glass").joinpath("land.svg").read_text(encoding="utf-8")
    return tuple(_ring(each) for each in re.findall(r"^M([-\d l]+)z$", text, re.MULTILINE))


def _ring(text: str) -> tuple[Point, ...]:
    """A ring from its first point and the steps from there."""
    first, _, steps = text.partition("l")
    x, y = map(int, first.split())
    numbers = [int(each) for each in re.findall(r"-?\d+", steps)]
    found = [(x, y)]
    for right, down in zip(numbers[::2], numbers[1::2], strict=True):
        x, y = x + right, y + down
        found.append((x, y))
    return tuple((x / _UNITS, -y / _UNITS) for x, y in found)


def path(place: Callable[[Point], Point], width: int, height: int) -> str:
    """The land in a map of this size, as data of an SVG path. ``place`` gives a point's place."""
    found = []
    for ring in rings():
        for turn in (-360.0, 0.0, 360.0):
            placed = [place((east + turn, north)) for east, north in ring]
            cut = _inside(placed, width, height)
            if len(cut) > 2:
                found.append(_drawn(cut))
    return "".join(found)


def _drawn(ring: list[Point]) -> str:
    """A ring in whole units: where it begins, and the steps from there."""
    points = [(round(ring[0][0]), round(ring[0][1]))]
    for x, y in ring[1:]:
        if abs(x - points[-1][0]) + abs(y - points[-1][1]) > _NEAR:
            points.append((round(x), round(y)))
    steps = (f"{c - a} {d - b}" for (a, b), (c, d) in pairwise(points))
    return f"M{points[0][0]} {points[0][1]}l{' '.join(steps)}z" if len(points) > 2 else ""


def _inside(ring: list[Point], width: int, height: int) -> list[Point]:
    """The part of a ring that is inside a rectangle (Sutherland and Hodgman)."""
    margin = 4  # the cut itself is not seen
    for axis, sign, bound in (
        (0, 1, -margin),
        (0, -1, -width - margin),
        (1, 1, -margin),
        (1, -1, -height - margin),
    ):
        if not ring:
            break
        ring = list(_half(ring, axis, sign, bound))
    return ring


def _half(ring: list[Point], axis: int, sign: int, bound: float) -> Iterator[Point]:
    """The part of a ring on one side of a line."""
    for one, other in pairwise([ring[-1], *ring]):
        here, there = sign * one[axis] - bound, sign * other[axis] - bound
        if (here < 0) != (there < 0):
            part = here / (here - there)
            yield (one[0] + part * (other[0] - one[0]), one[1] + part * (other[1] - one[1]))
        if there >= 0:
            yield other
