"""The engine: taken from PATH when it fits, installed, or built; never half of it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from setup import versions
from setup.engine import install
from setup.failure import SetupFailure
from setup.progress import Progress, Step

PINNED = versions.load().pulumi


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Step:
    """A step with a cache of the test's own."""
    monkeypatch.setenv("MESH_CACHE", str(tmp_path / "cache"))
    return Step("engine", Progress(io.StringIO()), tmp_path / "log")


def program(path: Path, text: str) -> None:
    """Write an executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def fake_engine(folder: Path, version: str, beside: tuple[str, ...] = install.BESIDE) -> Path:
    """A folder that looks like an engine of that version."""
    program(folder / "pulumi", f"echo v{version}")
    for name in beside:
        program(folder / name, "true")
    return folder


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        (f"v{PINNED}", True),
        (f"{PINNED}+dirty", True),
        ("v3.300.1", True),
        ("v3.257.9", False),
        ("v4.0.0", False),
        ("v2.25.2", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_an_engine_fits_from_the_pinned_version_up_to_the_next_major_one(
    version: str, fits: bool
) -> None:
    assert install.fits(version) is fits


def test_a_fitting_engine_on_path_is_used_before_an_older_one_that_comes_first(
    tmp_path: Path, step: Step
) -> None:
    old = fake_engine(tmp_path / "old", "3.100.0")
    good = fake_engine(tmp_path / "good", "3.260.0")
    assert install.on_path(os.pathsep.join([str(old), "", str(good)])) == good


@pytest.mark.parametrize("lacking", install.BESIDE)
def test_an_engine_without_what_it_starts_for_python_does_not_count(
    tmp_path: Path, step: Step, lacking: str
) -> None:
    beside = tuple(name for name in install.BESIDE if name != lacking)
    folder = fake_engine(tmp_path / "engine", PINNED, beside)
    assert install.on_path(str(folder)) is None


def test_a_link_on_path_leads_to_the_engine_it_names(tmp_path: Path, step: Step) -> None:
    folder = fake_engine(tmp_path / "opt", PINNED)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pulumi").symlink_to(folder / "pulumi")
    assert install.on_path(str(tmp_path / "bin")) == folder


def test_the_caches_own_engine_on_path_does_not_hide_a_new_recipe(
    tmp_path: Path, step: Step
) -> None:
    folder = fake_engine(tmp_path / "cache" / "engine-old", PINNED)
    assert install.on_path(str(folder)) is None


def test_looking_at_an_engine_leaves_the_users_pulumi_home_alone(
    tmp_path: Path, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    program(tmp_path / "pulumi", f'mkdir -p "$PULUMI_HOME/x"; echo v{PINNED}')
    assert install.version_of(tmp_path / "pulumi") == f"v{PINNED}"
    assert not (tmp_path / "home").exists()


def test_pulumis_installer_fills_the_cache_and_nothing_else(
    tmp_path: Path, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    installer = "\n".join(
        [
            'while [ $# -gt 0 ]; do case "$1" in --install-root) root=$2;; --version) v=$2;; esac',
            'shift; done; mkdir -p "$root/bin"; cd "$root/bin"',
            'printf "#!/bin/sh\\necho v$v\\n" > pulumi',
            *(f'printf "#!/bin/sh\\n" > {name}' for name in install.BESIDE),
            "chmod +x *",
        ]
    )
    program(tmp_path / "install.sh", installer)
    program(
        tmp_path / "bin" / "curl",
        f'for last; do [ "$p" = --output ] && cp {tmp_path}/install.sh "$last"; p=$last; done',
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(home))
    folder = install.engine(step)
    assert folder == tmp_path / "cache" / f"engine-{install.key()}"
    assert install.complete(folder)
    assert not home.exists()
    assert install.engine(step) == folder


def test_without_installer_and_go_both_cures_are_named(
    tmp_path: Path, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "curl", "echo 'could not resolve host' >&2; exit 6")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(install, "go_program", lambda: None)
    with pytest.raises(SetupFailure, match=rf"put Pulumi {PINNED}.* on PATH, or install Go"):
        install.engine(step)
    assert not list((tmp_path / "cache").glob("engine-*"))


@pytest.mark.parametrize(
    ("says", "enough"),
    [
        ("go version go1.26.8 linux/amd64", True),
        ("go version go1.21.0 linux/amd64", True),
        ("go version go1.19.8 linux/amd64", False),
    ],
)
def test_a_go_that_is_too_old_is_refused_before_the_build(
    tmp_path: Path, says: str, enough: bool
) -> None:
    program(tmp_path / "go", f"echo {says}")
    if enough:
        install.require_go(str(tmp_path / "go"))
    else:
        with pytest.raises(SetupFailure, match=r"Go 1\.21 or later is needed"):
            install.require_go(str(tmp_path / "go"))


@pytest.mark.parametrize("name", install.RECIPE)
def test_the_engine_is_made_anew_when_its_recipe_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = install.key()
    for file in install.RECIPE:
        (tmp_path / file).write_bytes((install.HERE / file).read_bytes())
    monkeypatch.setattr(install, "HERE", tmp_path)
    assert install.key() == before
    (tmp_path / name).write_text("something else")
    assert install.key() != before
