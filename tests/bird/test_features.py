"""What versions of BIRD lack, and who is told of it."""

from __future__ import annotations

from mesh.bird.features import DEBIAN, FEATURES, capabilities
from mesh.render.bird import ASKED


def test_of_each_lack_is_known_which_networks_ask_for_it() -> None:
    assert {each.name for each in FEATURES if each.lack} == set(ASKED)


def test_every_series_of_debian_has_a_configuration_of_its_own() -> None:
    able = [capabilities(version).features for version in DEBIAN]
    assert len({*able}) == len(DEBIAN)
