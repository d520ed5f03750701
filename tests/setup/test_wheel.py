"""A wheel holds all that `mesh` needs beside its dependencies, and gives what a checkout gives."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mesh.agent import bundle
from mesh.cli.main import app
from mesh.infra import sources
from tests.kit.stacks import ROOT

pytest.importorskip("setuptools", reason="setuptools, which builds the wheel, is not installed")

PARTS = ("mesh", "templates", "setup", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml")
CALL = "from mesh.cli.main import app; app()"


@dataclass(frozen=True)
class Wheel:
    """A wheel, installed in a folder of its own."""

    site: Path

    def python(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program on it. Without ``site``, whose .pth files name the checkout."""
        paths = [str(self.site), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        program = f"import sys; sys.path += {paths!r}; sys.argv[0] = 'mesh'; {program}"
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", program, *words],
            cwd=self.site.parent, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def mesh(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run its `mesh` command."""
        return self.python(CALL, *words)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wheel]:
    """Built from the source distribution, which is what others get."""
    folder = tmp_path_factory.mktemp("wheel")
    copy, site = folder / "copy", folder / "site"
    copy.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    build(copy, "sdist", folder)
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder)
    source = folder / archive.name.removesuffix(".tar.gz")
    left = source / "build" / "lib" / "mesh" / "agent" / "left_by_an_earlier_build.py"
    left.parent.mkdir(parents=True)
    left.write_text("")
    # What pip does with it is this, and a second of its own.
    build(source, "wheel", folder)
    (archive,) = folder.glob("*.whl")
    shutil.unpack_archive(archive, site, "zip")
    shutil.rmtree(copy)
    yield Wheel(site)
    shutil.rmtree(folder)


def build(source: Path, kind: str, folder: Path) -> None:
    """Have the build backend make a ``kind`` of distribution into a folder."""
    make = f"from setuptools import build_meta; build_meta.build_{kind}({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", make], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def rendered(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_it_renders_the_same_bytes_as_the_checkout(wheel: Wheel, tmp_path: Path) -> None:
    words = ["render", "--stack", "prod", "--root", str(ROOT), "--out"]
    done = wheel.mesh(*words, str(tmp_path / "wheel"))
    assert done.returncode == 0, done.stderr
    assert CliRunner().invoke(app, [*words, str(tmp_path / "checkout")]).exit_code == 0
    expected = rendered(tmp_path / "checkout")
    assert any(name.endswith("bird.conf") for name in expected)
    assert rendered(tmp_path / "wheel") == expected


def test_it_knows_its_version(wheel: Wheel) -> None:
    assert wheel.mesh("--version").stdout.strip() == version("anycast-mesh")


def test_nodes_get_the_same_bundle_and_no_other_code_is_told_of(wheel: Wheel) -> None:
    say = (
        "from mesh.agent import bundle; from mesh.infra import sources; "
        "print(bundle.digest(bundle.build()), sources.digest())"
    )
    done = wheel.python(say)
    assert done.stdout.split() == [bundle.digest(bundle.build()), sources.digest()], done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "mesh/py.typed",
        "mesh/lab/templates/transit.conf.j2",
        "mesh/policy/PulumiPolicy.yaml",
        "anycast_mesh-*.dist-info/licenses/LICENSE",
    ],
)
def test_it_carries(wheel: Wheel, name: str) -> None:
    assert list(wheel.site.glob(name))


@pytest.mark.parametrize("words", [("lab", "env"), ("status",)])
def test_what_needs_a_checkout_says_so_in_one_line(wheel: Wheel, words: tuple[str, ...]) -> None:
    done = wheel.mesh(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the lab is deployed from a checkout")
    assert done.stderr.count("\n") == 1
