"""The engine's environment: this checkout's own, and nothing of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.cli.environment import environment, state_folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that has been set up."""
    for name in ("MESH_LAB", "MESH_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("engine", "image"):
        (tmp_path / "cache" / name).mkdir(parents=True)
    monkeypatch.setenv("MESH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "checkout"


@pytest.mark.parametrize(
    "name",
    [
        "PULUMI_ACCESS_TOKEN",
        "PULUMI_CONFIG_PASSPHRASE",
        "PULUMI_BACKEND_URL",
        "PULUMI_HOME",
        "PULUMI_STACK",
        "PULUMI_OPTION_REFRESH",
    ],
)
def test_what_the_user_has_set_for_pulumi_does_not_reach_the_engine(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "the user's")
    assert environment(root).get(name) != "the user's"


def test_attached_providers_still_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_DEBUG_PROVIDERS", "vultr:1234")
    assert environment(root)["PULUMI_DEBUG_PROVIDERS"] == "vultr:1234"


def test_home_state_and_passphrase_are_the_checkouts(root: Path) -> None:
    found = environment(root)
    assert found["PULUMI_HOME"] == str(root / ".mesh" / "pulumi")
    assert found["PULUMI_BACKEND_URL"] == f"file://{root / '.mesh' / 'state'}?metadata=skip"
    assert found["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(root / ".mesh" / "passphrase")


def test_the_engine_comes_first_on_path_then_the_checkouts_python(
    root: Path, tmp_path: Path
) -> None:
    path = environment(root)["PATH"].split(":")
    assert path[:2] == [str(tmp_path / "cache" / "engine"), str(root / ".venv" / "bin")]


def test_the_checkouts_own_image_wins_over_the_caches_latest(root: Path, tmp_path: Path) -> None:
    assert environment(root)["MESH_IMAGE"] == str(tmp_path / "cache" / "image")
    own = tmp_path / "cache" / "image-own"
    own.mkdir()
    (root / ".mesh").mkdir(parents=True)
    (root / ".mesh" / "image").symlink_to(own)
    assert environment(root)["MESH_IMAGE"] == str(own)


def test_two_labs_of_one_checkout_have_states_of_their_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = state_folder(root)
    monkeypatch.setenv("MESH_LAB", "second")
    assert state_folder(root) == root / ".mesh" / "labs" / "second"
    assert first == root / ".mesh"
