"""A map shows the nodes' part of the world, and nothing that is not there."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations, pairwise

import pytest

from mesh.glass import land, map
from mesh.glass.map import Label, LineState, Map
from mesh.glass.network import Network, Region
from tests.glass import samples
from tests.kit.stacks import ROOT

NETWORKS = {"four": samples.production(), "sixteen": samples.sixteen()}


def drawn(network: Network, **states: LineState) -> Map:
    """The map of a network, with the states of some tunnels by the cities at their ends."""
    links: dict[tuple[str, str], LineState] = {each.ends: "up" for each in network.links}
    for cities, state in states.items():
        one, other = (f"{city}-vultr-1" for city in cities.split("_"))
        links[(one, other) if (one, other) in links else (other, one)] = state
    found = map.drawn(network, {each.id: "good" for each in network.regions}, links)
    assert found is not None
    return found


def of_cities(*locations: tuple[float, float]) -> Map:
    """The map of places alone."""
    regions = tuple(Region(str(n), f"City {n}", each) for n, each in enumerate(locations))
    network = replace(samples.production(), regions=regions, links=())
    found = map.drawn(network, {each.id: "good" for each in regions}, {})
    assert found is not None
    return found


def points(path: str) -> list[list[tuple[int, int]]]:
    """The rings of a path of the land, in units of the map."""
    found = []
    for x, y, steps in re.findall(r"M(-?\d+) (-?\d+)l([-\d ]+)z", path):
        ring = [(int(x), int(y))]
        numbers = [int(each) for each in steps.split()]
        for right, down in zip(numbers[::2], numbers[1::2], strict=True):
            ring.append((ring[-1][0] + right, ring[-1][1] + down))
        found.append(ring)
    return found


def box(label: Label, size: int) -> tuple[float, float, float, float]:
    """Where a label of that size is: left, top, right, bottom."""
    width = len(label.text) * size * 0.6
    left = label.x - {"start": 0.0, "middle": width / 2, "end": width}[label.anchor]
    return left, label.y - size / 2, left + width, label.y + size / 2


@pytest.mark.parametrize("name", list(NETWORKS))
def test_all_cities_and_labels_are_on_the_map(name: str) -> None:
    found = drawn(NETWORKS[name])
    assert len(found.dots) == len(NETWORKS[name].regions)
    for dot in found.dots:
        assert 0 < dot.x < found.width
        assert 0 < dot.y < found.height
        if dot.label is not None:
            left, top, right, bottom = box(dot.label, 17)
            assert min(left, top) >= 0
            assert right <= found.width
            assert bottom <= found.height


@pytest.mark.parametrize(("name", "size"), [("four", 17), ("four", 34), ("sixteen", 17),
                                            ("sixteen", 34)])  # fmt: skip
def test_labels_that_are_shown_leave_each_other_room(name: str, size: int) -> None:
    labels = [each.label for each in drawn(NETWORKS[name]).dots if each.label]
    shown = [box(each, size) for each in labels if size == 17 or not each.wide]
    assert len(shown) > len(NETWORKS[name].regions) / 2
    for one, other in combinations(shown, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_land_stays_on_the_map_and_crosses_it_nowhere(name: str) -> None:
    """A polygon that is not cut at the 180th meridian draws bands from edge to edge."""
    found = drawn(NETWORKS[name])
    rings = points(found.land)
    assert rings
    for ring in rings:
        assert all(-5 <= x <= found.width + 5 and -5 <= y <= found.height + 5 for x, y in ring)
        inside = [(one, other) for one, other in pairwise(ring)
                  if 0 < one[1] < found.height and 0 < other[1] < found.height]  # fmt: skip
        assert all(abs(one[0] - other[0]) < found.width / 4 for one, other in inside)


@pytest.mark.parametrize(("place", "is_land"), [
    ((39.0, -98.0), True),     # Kansas
    ((0.0, -30.0), False),     # the Atlantic
    ((66.5, -178.0), True),    # Chukotka, beyond the 180th meridian
    ((66.5, 178.0), True),     # and before it
    ((42.0, 51.0), False),     # the Caspian Sea, a hole in the land
    ((-25.0, 134.0), True),    # Australia
    ((0.0, 180.0), False),     # the Pacific
])  # fmt: skip
def test_land_is_where_land_is(place: tuple[float, float], is_land: bool) -> None:
    north, east = place
    crossed = 0
    for ring in land.rings():
        for (x1, y1), (x2, y2) in zip(ring, (*ring[1:], ring[0]), strict=True):
            for turn in (-360, 0, 360):
                if (y1 > north) != (y2 > north):
                    at = x1 + (north - y1) / (y2 - y1) * (x2 - x1) + turn
                    crossed += at > east
    assert (crossed % 2 == 1) == is_land


def test_a_map_over_the_pacific_goes_over_the_pacific() -> None:
    found = of_cities((35.8, 140.4), (33.9, -118.4))
    tokyo, angeles = found.dots
    assert tokyo.x < angeles.x
    assert angeles.x - tokyo.x > found.width / 2


@pytest.mark.parametrize("locations", [
    [(52.0, 4.8)],
    [(52.0, 4.8), (52.0, 4.8)],
    [(90.0, 180.0)],
    [(-90.0, -180.0)],
    [(-90.0, 0.0), (90.0, 0.0)],
    [(0.0, east) for east in range(-180, 181, 20)],
])  # fmt: skip
def test_any_place_has_a_map(locations: list[tuple[float, float]]) -> None:
    found = of_cities(*locations)
    assert 300 < found.height < 1000
    assert len(found.dots) == len(locations)


def test_no_region_has_no_map() -> None:
    assert map.drawn(samples.production(), {}, {}) is None


def test_a_tunnel_that_is_down_is_drawn_as_such_and_on_top() -> None:
    found = drawn(samples.production(), ewr_ord="down", ewr_mia="unknown")
    assert [each.state for each in found.lines] == ["up"] * 4 + ["unknown", "down"]


def test_the_file_of_the_land_names_its_source_and_is_small() -> None:
    text = (ROOT / "mesh/glass/land.svg").read_text(encoding="utf-8")
    assert len(text) < 40_000
    assert "Natural Earth" in text
    assert "world-atlas 2.0.2" in text
