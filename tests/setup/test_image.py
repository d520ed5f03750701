"""The recipe of the node image."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mesh.render.debian_boot import PACKAGES, REGISTRY_PACKAGES
from setup.image import build


def test_every_package_has_a_reason() -> None:
    lines = (build.HERE / "packages").read_text().splitlines()
    named = [line for line in lines if line and not line.startswith("#")]
    assert [line.split()[0] for line in named] == build.packages()
    assert all(line.split("#", 1)[1].strip() for line in named)


def test_all_that_a_node_would_install_at_boot_is_in_it() -> None:
    """A node of the lab reaches no mirror: what its bootstrap asks for must be there."""
    assert {*PACKAGES, *REGISTRY_PACKAGES} <= set(build.packages())


def test_the_image_is_built_anew_when_its_recipe_changes_and_only_then(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = build.key()
    assert build.key() == before
    monkeypatch.setattr(build, "packages", lambda: ["bird2"])
    without = build.key()
    (tmp_path / "finish").write_text("#!/bin/bash\n")
    monkeypatch.setattr(build, "HERE", tmp_path)
    assert len({before, without, build.key()}) == 3


def test_recommended_packages_stay_out_and_signatures_are_checked() -> None:
    call = build.command(Path("/tree"), "trixie", "http://m.example/debian")
    assert '--aptopt=APT::Install-Recommends "false"' in call
    assert f"--keyring={build.KEYRING}" in call
    assert call[-3:] == ["trixie", "/tree", "http://m.example/debian"]


def test_the_finishing_step_is_a_valid_script() -> None:
    subprocess.run(["bash", "-n", build.HERE / "finish"], check=True)
