"""Fetches Debian's packages of other BIRDs and unpacks each set as a layer over the node image.

An overlay with a layer on top of the image runs that BIRD where the image's own lay. Packages
come from this machine's mirror by apt with a state of its own, which checks Debian's signatures.
Which versions the mirror has is its business: they are recorded in ``found.json``.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from setup import cache, found, versions
from setup.failure import SetupFailure
from setup.found import Found
from setup.image import mirror
from setup.image.build import KEYRING, LEFT_OUT
from setup.progress import Step
from setup.versions import Layer

HERE = Path(__file__).resolve().parent
SPACE = cache.GIB  # package lists of two releases, and the layers
MERGED = ("bin", "sbin", "lib", "lib64")  # links into /usr: file-hierarchy(7)
RECORD = "found.json"


def key() -> str:
    """Return the hash of everything that the layers are made from, but for the mirror."""
    texts = [f"{layer.name} {layer.suite} {layer.packages}" for layer in versions.load().layers]
    made_by = [HERE / "build.py", Path(found.__file__)]  # the layers, and their record
    return cache.recipe_key(made_by, platform.machine(), *texts)


def recipe_path() -> Path:
    """Where the layers of the present recipe lie, or will lie."""
    return cache.root() / f"birds-{key()}"


def birds(step: Step) -> Path:
    """Return the folder of the layers, one by name each, made if they are not in the cache yet.

    A layer whose packages its release does not have is left out, and listed in ``found.json``: the
    tests that need it fail with that reason, and nothing else does.
    """
    layers = versions.load().layers

    def make(part: Path, lock: int) -> None:
        step.show(f"fetching {', '.join(f'{each.packages[0]} of {each.suite}' for each in layers)}")
        uri = mirror.debian_mirror(mirror.sources(), mirror.host_codename())
        record = {}
        with tempfile.TemporaryDirectory() as scratch:
            for suite in sorted({layer.suite for layer in layers}):
                apt = Apt(Path(scratch, suite), uri, suite, step, lock)
                there = apt.update()
                for layer in layers:
                    if layer.suite == suite:
                        step.doing(f"fetching {layer.name}")
                        record[layer.name] = _layer(layer, apt if there else None, part)
        found.write(part / RECORD, record)

    folder = cache.fetch(cache.Recipe("birds", key(), ((cache.root(), SPACE),), make), step)
    for line in report(found.read(folder / RECORD), layers, folder):
        step.show(line)
    return folder


def report(record: dict[str, Found], layers: tuple[Layer, ...], folder: Path) -> list[str]:
    """Lines on what was found: one for all versions, and one for each that is unusual."""
    firsts = {layer.name: layer.packages[0] for layer in layers}
    made = {name: each for name, each in record.items() if not each.missing}
    lines = [", ".join(each.text(firsts[name]) for name, each in made.items())]
    for layer in layers:
        each, package = record[layer.name], layer.packages[0]
        if each.missing:
            lines.append(
                f"{each.lack()}: tests that need the layer {layer.name} will fail. To ask the "
                f"mirror anew, remove {folder} and run the same command again"
            )
        elif not found.of_series(each.packages[package], layer.series):
            moved = found.moved_on(layer.suite, package, each.packages[package], layer.series)
            lines.append(moved)
    return [line for line in lines if line]


def _layer(layer: Layer, apt: Apt | None, folder: Path) -> Found:
    """Make a layer in ``folder`` if its release has its packages; ``apt`` is None where the mirror
    does not have the release."""
    if apt is None:
        return Found(layer.suite, {}, layer.packages, release=False)
    known = apt.versions(layer.packages)
    if missing := tuple(name for name in layer.packages if name not in known):
        return Found(layer.suite, known, missing)
    packages = apt.download(layer)
    unpack(packages, folder / layer.name)
    return Found(layer.suite, dict(map(name_and_version, packages)))


class Apt:
    """apt for one release, with lists, sources and settings of its own: nothing of this machine's
    is changed."""

    def __init__(self, folder: Path, uri: str, suite: str, step: Step, lock: int) -> None:
        self._folder, self._uri, self._suite = folder, uri, suite
        self._step, self._lock = step, lock

    def update(self) -> bool:
        """Fetch the package lists; False when the mirror has no such release (any more).

        Raises SetupFailure when a signature is not good, or the mirror cannot be reached.
        """
        options = f"signed-by={KEYRING} target=Packages"
        for name in ("lists/partial", "cache/archives/partial", "debs"):
            (self._folder / name).mkdir(parents=True)
        source = f"deb [{options}] {self._uri} {self._suite} main\n"
        (self._folder / "sources.list").write_text(source)
        (self._folder / "status").touch()
        self._step.doing(f"reading the package lists of {self._suite}")
        output: list[str] = []
        try:
            self._run("apt-get", "update", "--error-on=any", seen=output)
        except SetupFailure:
            # apt's message where the mirror answers, and has neither InRelease nor Release.
            if any("does not have a Release file" in line for line in output):
                return False
            raise
        return True

    def versions(self, packages: tuple[str, ...]) -> dict[str, str]:
        """Return the version that the release has, by package, of those that it has."""
        output: list[str] = []
        self._run("apt-cache", "madison", *packages, seen=output)
        rows = (line.split("|") for line in output if line.count("|") == 2)
        return {row[0].strip(): row[1].strip() for row in rows}

    def download(self, layer: Layer) -> list[Path]:
        """Fetch a layer's packages, in the order in which it names them."""
        folder = self._folder / "debs" / layer.name
        folder.mkdir()
        self._run("apt-get", "download", *layer.packages, cwd=folder)
        return [next(folder.glob(f"{package}_*.deb")) for package in layer.packages]

    def _run(self, *arguments: str, cwd: Path | None = None, seen: list[str] | None = None) -> None:
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
        command, *rest = arguments
        settings = [f"--option={name}={value}" for name, value in options.items()]
        self._step.run(
            [command, *settings, *rest],
            cwd=cwd,
            env={"LC_ALL": "C"},  # apt's messages are parsed
            keep_open=[self._lock],
            seen=(seen if seen is not None else []).append,
        )


def name_and_version(package: Path) -> tuple[str, str]:
    """Return a package file's name and Debian version, from its own control data."""
    asked = ["dpkg-deb", "--show", "--showformat=${Package} ${Version}", str(package)]
    name, version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    return name, version


def unpack(packages: list[Path], target: Path) -> None:
    """Unpack packages as a layer."""
    for package in packages:
        subprocess.run(["dpkg-deb", "--extract", package, target], check=True)
    # A directory in a layer would hide the image's link of that name, and all libraries with it.
    for name in MERGED:
        if (target / name).is_dir():
            shutil.copytree(target / name, target / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(target / name)
    for pattern in LEFT_OUT:
        shutil.rmtree(target / pattern.strip("/*"), ignore_errors=True)
