"""`mesh:waves` and `mesh:drain`: what a stack file may say, and what a twin takes over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.plan import make
from mesh.spec import SpecError, load, load_file
from tests.kit.stacks import ROOT, prod

TWIN = {"twin": "prod"}


def in_files(folder: Path, **stacks: dict[str, Any]) -> Path:
    for stack, keys in stacks.items():
        config = {f"mesh:{key}": value for key, value in keys.items()}
        (folder / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": config}))
    return folder


def test_an_update_goes_in_waves_and_a_node_lingers_unless_the_file_says_otherwise() -> None:
    plan = make(load("prod", prod(), ROOT).spec)
    assert (plan.waves, plan.linger) == (True, 30)
    plan = make(load("prod", prod() | {"waves": False, "drain": {"linger": 90}}, ROOT).spec)
    assert (plan.waves, plan.linger) == (False, 90)


@pytest.mark.parametrize(
    ("written", "waves"), [("on", True), ("off", False), ("'off'", False), ("true", True)]
)
def test_waves_are_switched_as_yaml_and_the_engine_write_it(written: str, waves: bool) -> None:
    """The engine hands every value over as text."""
    assert load("prod", prod() | {"waves": yaml.safe_load(written)}, ROOT).spec.waves is waves


SECONDS = (
    "a node lingers a whole number of seconds from 0 to 600; give the seconds alone, for example 30"
)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "neither on nor off": (
        {"waves": "some"},
        "mesh:waves = some: this is neither true nor false; write true or false",
    ),
    "a number alone": (
        {"drain": 30},
        "mesh:drain = 30: this is not a map; write a map, for example mesh:drain: {linger: 60}",
    ),
    "another key": (
        {"drain": {"lingers": 30}},
        "mesh:drain.lingers = 30: the key is unknown here; write linger, or remove it",
    ),
    "a unit": ({"drain": {"linger": "30s"}}, f"mesh:drain.linger = 30s: {SECONDS}"),
    "too long": ({"drain": {"linger": 601}}, f"mesh:drain.linger = 601: {SECONDS}"),
    "below nothing": ({"drain": {"linger": -1}}, f"mesh:drain.linger = -1: {SECONDS}"),
    "half a second": ({"drain": {"linger": 0.5}}, f"mesh:drain.linger = 0.5: {SECONDS}"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_value_that_is_none_is_refused_with_what_to_write(case: str) -> None:
    keys, expected = REFUSED[case]
    with pytest.raises(SpecError) as refused:
        load("prod", prod() | keys, ROOT)
    assert expected in [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("original", "own", "seconds"),
    [({}, {}, 5), ({"linger": 90}, {}, 5), ({"linger": 90}, {"drain": {"linger": 8}}, 8)],
    ids=["unsaid", "said by the original", "said by the twin"],
)
def test_a_twin_lingers_as_long_as_its_own_file_says(
    tmp_path: Path, original: dict[str, Any], own: dict[str, Any], seconds: int
) -> None:
    values = prod() | ({"drain": original} if original else {})
    folder = in_files(tmp_path, prod=values, lab=TWIN | own)
    assert load_file("lab", folder).spec.drain.linger == seconds


def test_a_twin_goes_in_waves_as_its_original_does(tmp_path: Path) -> None:
    folder = in_files(tmp_path, prod=prod() | {"waves": False}, lab=TWIN)
    assert load_file("lab", folder).spec.waves is False
