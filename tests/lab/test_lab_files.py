"""A lab's name says what is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh import netns
from mesh.lab import lab_files
from mesh.lab.errors import LabError
from mesh.lab.lab_files import files_of


@pytest.mark.parametrize(
    "name",
    ["", "Lab", "a_b", "-a", "a-", "a--b", "../x", "a/b", "x" * 33, "a-transit", "operator", "a b"],
)
def test_names_that_could_be_mistaken_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="MESH_LAB"):
        files_of(name)


def test_the_environment_names_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_LAB", "mine")
    assert files_of().namespace("client-lax") == "mesh-mine-client-lax"
    monkeypatch.delenv("MESH_LAB")
    assert files_of().lab == "lab"


def test_a_lab_takes_no_box_of_a_lab_with_a_longer_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netns, "FOLDER", tmp_path / "netns")
    monkeypatch.setattr(lab_files, "RUNTIME", tmp_path / "run")
    for name in ("mesh-a-client-lax", "mesh-a-b-client-lax", "mesh-a-b-lax-vultr-1", "mesh-a-x-1"):
        (tmp_path / "netns" / name).mkdir(parents=True)
    (tmp_path / "run/a/boxes/lax-vultr-1").mkdir(parents=True)
    (tmp_path / "run/a-b/boxes/lax-vultr-1").mkdir(parents=True)
    assert files_of("a").boxes() == ("client-lax", "lax-vultr-1")
    assert files_of("a-b").boxes() == ("client-lax", "lax-vultr-1")


def test_a_tree_without_bird_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_IMAGE", str(tmp_path))
    with pytest.raises(LabError, match=r"no Debian 13 tree with BIRD; build it"):
        files_of("x").image()
