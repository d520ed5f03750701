"""A map of the network: its cities and tunnels on the part of the world where they are.

The projection is equirectangular, true at the map's middle. Everything here is geometry; what it is
drawn with is ``templates/map.html``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import cos, hypot, radians
from typing import Literal

from mesh.glass import land
from mesh.glass.network import Network, Region

WIDTH = 1000
"""Units of the map from left to right."""
_WIDEST, _NARROWEST = 2.4, 1.5
"""Width by height."""
_LEAST = 14.0
"""Degrees from south to north that a map shows at least: a city alone says little."""
_MARGIN = 0.18
_SOUTH, _NORTH = -60.0, 80.0
_DOT = 9
_LARGE, _SMALL = 34, 17
"""Sizes of labels, in units of the map: on a narrow screen and on a wide one (style.css)."""
_CHARACTER = 0.6
"""How wide one is on average, in sizes."""

LineState = Literal["up", "down", "unknown"]
Anchor = Literal["start", "end", "middle"]


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of the world that a map shows, in degrees; ``height`` is in units of the map."""

    west: float
    north: float
    degrees: float
    parallel: float
    height: int

    def place(self, point: land.Point) -> land.Point:
        """Where a point of the world is on the map."""
        scale = WIDTH / self.degrees
        x = (point[0] - self.west) * scale
        return x, (self.north - point[1]) * scale / cos(radians(self.parallel))


@dataclass(frozen=True, slots=True)
class Label:
    """A text beside a dot. ``wide``: it has room on a wide screen only."""

    text: str
    x: float
    y: float
    anchor: Anchor
    wide: bool


@dataclass(frozen=True, slots=True)
class Dot:
    """A city; ``state`` is that of the node in it that most needs a look."""

    x: float
    y: float
    state: str
    label: Label | None


@dataclass(frozen=True, slots=True)
class Line:
    """A tunnel between two cities."""

    x1: float
    y1: float
    x2: float
    y2: float
    state: LineState


@dataclass(frozen=True, slots=True)
class Map:
    """A map, ready to be drawn."""

    width: int
    height: int
    land: str
    lines: tuple[Line, ...]
    dots: tuple[Dot, ...]


def drawn(
    network: Network, states: Mapping[str, str], links: Mapping[tuple[str, str], LineState]
) -> Map | None:
    """The map of the regions that ``states`` names, and of the tunnels in ``links`` by the ids of
    the nodes at their ends; None where there is no region."""
    regions = [each for each in network.regions if each.id in states]
    if not regions:
        return None
    crop = _crop(tuple(sorted({each.location for each in regions})))
    places = {each.id: _place(crop, each) for each in regions}
    lines = tuple(_lines(network, places, links))
    labels = _labels(regions, places, lines, crop.height)
    return Map(
        WIDTH,
        crop.height,
        _land(crop),
        lines,
        tuple(
            Dot(*_rounded(places[each.id]), states[each.id], labels.get(each.id))
            for each in regions
        ),
    )


def _place(crop: Crop, region: Region) -> land.Point:
    """The place of a region, a full turn to the east where the map begins beyond it."""
    north, east = region.location
    return crop.place((east if east >= crop.west else east + 360, north))


def _rounded(point: land.Point) -> land.Point:
    return round(point[0], 1), round(point[1], 1)


@lru_cache(maxsize=8)
def _crop(locations: tuple[tuple[float, float], ...]) -> Crop:
    """What shows all the locations (latitude, longitude) with room around them."""
    west, east = _span(sorted({each[1] for each in locations}))
    south, north = min(each[0] for each in locations), max(each[0] for each in locations)
    parallel = max(-55.0, min(55.0, (south + north) / 2))
    squeeze = cos(radians(parallel))  # a degree to the east, in degrees to the north
    tall = max((north - south) * (1 + 2 * _MARGIN), _LEAST)
    wide = max((east - west) * (1 + 2 * _MARGIN), tall * _NARROWEST / squeeze)
    wide = min(wide, 360.0)
    tall = min(max(tall, wide * squeeze / _WIDEST), _NORTH - _SOUTH)
    top = min((south + north + tall) / 2, _NORTH)
    top = max(top, _SOUTH + tall)
    return Crop(
        west=(west + east - wide) / 2,
        north=top,
        degrees=wide,
        parallel=parallel,
        height=round(WIDTH * tall / (wide * squeeze)),
    )


def _span(longitudes: Sequence[float]) -> tuple[float, float]:
    """From where to where, to the east, all of them are: the widest gap is left out."""
    turned = [*longitudes, longitudes[0] + 360]
    gaps = [other - one for one, other in pairwise(turned)]
    after = max(range(len(gaps)), key=gaps.__getitem__)
    return turned[after + 1], turned[after] + 360


@lru_cache(maxsize=8)
def _land(crop: Crop) -> str:
    return land.path(crop.place, WIDTH, crop.height)


def _lines(
    network: Network,
    places: Mapping[str, land.Point],
    links: Mapping[tuple[str, str], LineState],
) -> list[Line]:
    """The tunnels between cities, once for each pair of them; the one that is down is shown."""
    worst: dict[tuple[str, str], LineState] = {}
    rank: dict[LineState, int] = {"up": 0, "unknown": 1, "down": 2}
    for (one, other), state in links.items():
        ends = [network.by_id[each].region for each in (one, other) if each in network.by_id]
        if len(set(ends)) == 2 and set(ends) <= set(places):
            pair = (min(ends), max(ends))
            worst[pair] = max(worst.get(pair, state), state, key=rank.__getitem__)
    return [
        Line(*_rounded(places[one]), *_rounded(places[other]), state)
        for (one, other), state in sorted(worst.items(), key=lambda each: rank[each[1]])
    ]


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def is_passed_by(self, line: Line) -> bool:
        """Whether a line goes through it, looked at every few units."""
        steps = max(2, round(hypot(line.x2 - line.x1, line.y2 - line.y1) / 8))
        for n in range(steps + 1):
            x = line.x1 + (line.x2 - line.x1) * n / steps
            y = line.y1 + (line.y2 - line.y1) * n / steps
            if self.left < x < self.right and self.top < y < self.bottom:
                return True
        return False

    def within(self, height: int) -> bool:
        return self.left >= 0 and self.right <= WIDTH and self.top >= 0 and self.bottom <= height


def _labels(
    regions: Sequence[Region],
    places: Mapping[str, land.Point],
    lines: Collection[Line],
    height: int,
) -> dict[str, Label]:
    """The labels that have room: first those that have it on narrow screens, whose labels are
    larger, then the others on wide ones."""
    dots = {name: _Box(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for name, (x, y) in places.items()}
    found: dict[str, Label] = {}
    taken: list[_Box] = []
    for size in (_LARGE, _SMALL):
        for region in regions:
            if region.id in found:
                continue
            others = [box for name, box in dots.items() if name != region.id]
            room = _room(region.name, places[region.id], size, [*others, *taken], lines, height)
            if room is not None:
                found[region.id], box = room
                taken.append(box)
    return found


def _room(
    text: str,
    place: land.Point,
    size: int,
    taken: Collection[_Box],
    lines: Collection[Line],
    height: int,
) -> tuple[Label, _Box] | None:
    """A label at the side of a dot where there is room and the fewest lines pass, and its box."""
    x, y = place
    width, beside = len(text) * size * _CHARACTER, _DOT + 5
    sides: tuple[tuple[float, float, Anchor, float], ...] = (
        (x + beside, y, "start", x + beside),
        (x - beside, y, "end", x - beside - width),
        (x, y - beside - size / 2, "middle", x - width / 2),
        (x, y + beside + size / 2, "middle", x - width / 2),
    )
    free = []
    for at, middle, anchor, left in sides:
        box = _Box(left, middle - size / 2, left + width, middle + size / 2)
        if box.within(height) and not any(box.meets(other) for other in taken):
            label = Label(text, round(at, 1), round(middle, 1), anchor, size == _SMALL)
            free.append((sum(box.is_passed_by(line) for line in lines), label, box))
    return min(free, key=lambda each: each[0])[1:] if free else None
