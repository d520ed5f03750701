"""Fetches Debian's packages of other BIRDs and unpacks each set as a layer over the node image.

An overlay with a layer on top of the image runs that BIRD where the image's own lay. Packages
come from this machine's mirror by apt with a state of its own, which checks Debian's signatures.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from setup import cache, versions
from setup.failure import SetupFailure
from setup.image import mirror
from setup.image.build import KEYRING, LEFT_OUT
from setup.progress import Step
from setup.versions import Layer

HERE = Path(__file__).resolve().parent
SPACE = cache.GIB // 2  # package lists of two releases, and the layers
MERGED = ("bin", "sbin", "lib", "lib64")  # links into /usr: file-hierarchy(7)


def key() -> str:
    """Return the hash of everything that the layers are made from, but for the mirror."""
    words = [str(layer) for layer in versions.load().layers]
    return cache.recipe_key([HERE / "build.py"], platform.machine(), *words)


def recipe_path() -> Path:
    """Where the layers of the present recipe lie, or will lie."""
    return cache.root() / f"birds-{key()}"


def birds(step: Step) -> Path:
    """Return the folder of the layers, one by name each, made if they are not in the cache yet."""
    layers = versions.load().layers

    def make(part: Path, lock: int) -> None:
        step.say(f"fetching {', '.join(f'{each.packages[0]} {each.version}' for each in layers)}")
        uri = mirror.debian_mirror(mirror.sources(), mirror.host_codename())
        with tempfile.TemporaryDirectory() as scratch:
            apt = Apt(Path(scratch), uri, step, lock)
            apt.update(sorted({layer.suite for layer in layers}))
            for layer in layers:
                step.doing(f"fetching {layer.name}")
                unpack(layer, apt.download(layer), part / layer.name)

    recipe = cache.Recipe("birds", key(), ((cache.root(), SPACE),), make)
    return cache.fetch(recipe, step)


class Apt:
    """apt with lists, sources and settings of its own: nothing of this machine's is changed."""

    def __init__(self, folder: Path, uri: str, step: Step, lock: int) -> None:
        self._folder, self._uri, self._step, self._lock = folder, uri, step, lock

    def update(self, suites: list[str]) -> None:
        """Fetch the package lists of these releases; SetupFailure when a signature is not good."""
        options = f"signed-by={KEYRING} target=Packages"
        lines = (f"deb [{options}] {self._uri} {suite} main\n" for suite in suites)
        for name in ("lists/partial", "cache/archives/partial", "debs"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "sources.list").write_text("".join(lines))
        (self._folder / "status").touch()
        self._step.doing(f"reading the package lists of {' and '.join(suites)}")
        self._run("update", "--error-on=any")

    def download(self, layer: Layer) -> list[Path]:
        """Fetch a layer's packages."""
        folder = self._folder / "debs" / layer.name
        folder.mkdir()
        names = (f"{package}/{layer.suite}" for package in layer.packages)
        self._run("download", *names, cwd=folder)
        return sorted(folder.glob("*.deb"))

    def _run(self, *words: str, cwd: Path | None = None) -> None:
        options = {
            "Dir::Etc::sourcelist": self._folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": self._folder,
            "Dir::State::lists": self._folder / "lists",
            "Dir::State::status": self._folder / "status",
            "Dir::Cache": self._folder / "cache",
            # Whatever this machine's apt lets pass.
            "Acquire::AllowInsecureRepositories": "false",
            "APT::Get::AllowUnauthenticated": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "5",
            # A folder of ours is out of reach for the user that apt would become.
            "APT::Sandbox::User": "root",
        }
        settings = [f"--option={name}={value}" for name, value in options.items()]
        self._step.run(["apt-get", *settings, *words], cwd=cwd, keep_open=[self._lock])


def unpack(layer: Layer, packages: list[Path], target: Path) -> None:
    """Unpack packages as a layer; SetupFailure when the first of them is another version."""
    for package in packages:
        if package.name.startswith(f"{layer.packages[0]}_"):
            _require_version(layer, package)
        subprocess.run(["dpkg-deb", "--extract", package, target], check=True)
    # A directory in a layer would hide the image's link of that name, and all libraries with it.
    for name in MERGED:
        if (target / name).is_dir():
            shutil.copytree(target / name, target / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(target / name)
    for pattern in LEFT_OUT:
        shutil.rmtree(target / pattern.strip("/*"), ignore_errors=True)


def _require_version(layer: Layer, package: Path) -> None:
    command = ["dpkg-deb", "--field", str(package), "Version"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if upstream(found) != layer.version:
        raise SetupFailure(
            f"birds: {layer.suite} carries {layer.packages[0]} {found}, and setup/versions.toml "
            f"says {layer.version}: a new point release, perhaps; write {upstream(found)} there."
        )


def upstream(version: str) -> str:
    """Return the project's own part of a Debian version: ``1:3.1.7-0+deb13u1`` is 3.1.7."""
    return re.sub(r"^\d+:|-[^-]*$", "", version)
