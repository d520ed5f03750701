"""The lock file pins everything by hash, and nobody's package registry."""

from __future__ import annotations

import re
import tomllib

import pytest

from setup import versions

LOCK = (versions.CHECKOUT / "requirements.lock").read_text()
ENTRIES = re.split(r"\n(?=[A-Za-z])", LOCK.strip())


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.split("==")[0] for entry in ENTRIES])
def test_every_package_has_one_version_and_hashes(entry: str) -> None:
    assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+", entry)
    assert re.findall(r"--hash=sha256:[0-9a-f]{64}", entry)


def test_no_address_of_any_registry_is_in_it() -> None:
    assert "://" not in LOCK
    assert not re.search(r"^\s*(--?(index|extra-index|find-links|trusted)|-i |-f )", LOCK, re.M)


def test_all_that_pyproject_asks_for_is_locked() -> None:
    project = tomllib.loads((versions.CHECKOUT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in asked}  # type: ignore[index]
    locked = {entry.split("==")[0].split("[")[0].lower() for entry in ENTRIES}
    assert names <= locked


def test_engine_and_sdk_are_of_one_version() -> None:
    pinned = versions.load().pulumi
    assert f"\npulumi=={pinned} " in LOCK
    modules = (versions.HERE / "engine" / "go.mod").read_text()
    assert f"github.com/pulumi/pulumi/pkg/v3 v{pinned}" in modules
    assert f"github.com/pulumi/pulumi/sdk/v3 v{pinned}" in modules
