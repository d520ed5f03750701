"""A Debian 13 to run daemons in: the node image under an overlay, in namespaces of its own.

The mounts and processes live in the namespaces of one command and are gone when it ends.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mesh.bird.client import Bird
from mesh.render import File
from setup import found, versions
from setup.birds.build import RECORD
from tests.kit import needs
from tests.kit.stacks import ROOT
from tests.kit.wait import patience, until

IMAGE = needs.image()
LAYERS = ROOT / ".mesh" / "birds"  # made by `setup/all birds`

_LAYERS_OF: dict[str, tuple[str, ...]] = {"": ()}
"""By version of BIRD, the layers over the image that have it; filled below. "" is the image's."""

# Positional parameters only: nothing is interpolated into it.
_ENTER = """
set -eu
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount --rbind /dev "$2/root/dev"
root=$2/root
shift 2
exec chroot "$root" "$@"
"""


# The first process of a machine that stays: when it ends, so does all that runs there.
_STAY = """
set -eu
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$2/root/run"
mount --rbind /dev "$2/root/dev"
exec chroot "$2/root" sh -c 'echo up; exec sleep infinity'
"""


class Debian:
    """One machine's disk, kept between commands; ``folder`` is scratch space of the test's.

    ``bird`` is one of BIRDS, and the image's unless said; ``also`` are further layers.
    """

    def __init__(self, folder: Path, bird: str = "", also: Iterable[str] = ()) -> None:
        needs.claim("image")
        self.folder = folder
        layers = map(layer, (*also, *_LAYERS_OF[bird]))
        # The first is the uppermost (Documentation/filesystems/overlayfs.rst).
        self._tree = ":".join(str(each.resolve()) for each in (*layers, IMAGE))
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def put(self, files: Iterable[File]) -> None:
        """Lay files on the disk."""
        for file in files:
            _write(self.folder / "upper" / file.path.lstrip("/"), file)

    def start(self, *command: str, namespace: str) -> subprocess.Popen[str]:
        """Start a daemon on it, in a network namespace by name; the process is the daemon's own."""
        return subprocess.Popen(
            ["ip", "netns", "exec", namespace, "unshare", "--mount", "sh", "-c", _ENTER, "sh",
             self._tree, str(self.folder), *command],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def must(self, *command: str, namespace: str) -> None:
        """Run a command to its end, which has to be a good one, in a network namespace by name."""
        assert self.start(*command, namespace=namespace).wait(patience(60)) == 0, command

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command on it, without any network but its own."""
        namespaces = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child")
        return subprocess.run(
            [*namespaces, "sh", "-c", _ENTER, "sh", self._tree, str(self.folder), *command],
            input=stdin, capture_output=True, text=True, timeout=patience(120), check=False,
        )  # fmt: skip


class Machine(Debian):
    """A Debian that stays up in a network namespace, by name: one process tree, and when its first
    process ends, all of it ends, and its mounts with it."""

    def __init__(self, folder: Path, namespace: str, bird: str = "") -> None:
        super().__init__(folder, bird)
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, "unshare", "--mount", "--pid", "--fork",
             "--kill-child", "sh", "-c", _STAY, "sh", self._tree, str(folder)],
            stdout=subprocess.PIPE, stderr=(folder / "log").open("w"), text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "up\n", (folder / "log").read_text()
        self.pid = child(self._process.pid)
        self.root = Path(f"/proc/{self.pid}/root")
        self.enter = (
            "nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--root", "--wd",
        )  # fmt: skip

    def path(self, absolute: str) -> Path:
        """A file of the machine as the host sees it."""
        return self.root / absolute.lstrip("/")

    def put(self, files: Iterable[File]) -> None:
        """Lay files on the disk while it runs."""
        for file in files:
            _write(self.path(file.path), file)

    def output(self, *command: str, check: bool = True) -> str:
        """What a command prints there; AssertionError where it fails, unless ``check`` is false."""
        done = subprocess.run(
            [*self.enter, *command],
            capture_output=True, text=True, timeout=patience(60), check=False,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
        return done.stdout

    def close(self) -> None:
        """All that runs there ends."""
        self._process.kill()
        self._process.wait()


def child(pid: int) -> int:
    """The only child of a process, once it has one."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return int(until(lambda: children.read_text().split(), 5, "a child")[0])


def _write(path: Path, file: File) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file.content)
    path.chmod(file.mode | 0o444)


def bird_of(pid: int) -> Bird:
    """The BIRD that runs as that process, in whatever file system it has."""
    return Bird(Path(f"/proc/{pid}/root/run/bird/bird.ctl"))


def layer(name: str) -> Path:
    """The folder of a layer by its name in ``setup/versions.toml``.

    Raises needs.Absent with the reason, and the cure, where it is not there.
    """
    folder = LAYERS / name
    if not folder.is_dir():
        raise needs.Absent(_why_not(name))
    return folder


def _why_not(name: str) -> str:
    folder = LAYERS / name
    record = found.read(LAYERS / RECORD) if (LAYERS / RECORD).is_file() else {}
    if name in record and record[name].missing:
        return f"{folder} is not there: {record[name].lack()}"
    return f"{folder} is not there; `setup/all birds` makes it"


def _bird(series: str, *layers: str) -> str:
    """The version of the image's BIRD, or of that of a layer over it, as it says itself.

    Where it cannot be asked (a layer that is not there, a user who is not root) it is ``series``:
    tests are collected all the same, and those that need it are skipped with what is missing.
    """
    said = ""
    with tempfile.TemporaryDirectory() as scratch, suppress(FileNotFoundError):
        done = Debian(Path(scratch), also=layers).run("bird", "--version")
        said = done.stdout + done.stderr
    match = re.search(r"BIRD version (\S+)", said)
    version = match[1] if match else series
    _LAYERS_OF[version] = layers
    return version


_SERIES = {each.name: each.series for each in versions.load().layers}

OLDEST = _bird(_SERIES["bookworm-bird2"], "bookworm-bird2")
IMAGES = _bird(dict(versions.load().series)["bird2"])
NEWEST = _bird(_SERIES["trixie-bird3"], "trixie-bird3")
BIRDS = (OLDEST, IMAGES, NEWEST)
"""Versions of the BIRDs here, as they say themselves: of Debian 12, of the node image (Debian 13),
and of Debian 13's package bird3."""


def text() -> str:
    """The BIRDs here, for people."""
    where = (("bookworm-bird2", OLDEST), ("the node image", IMAGES), ("trixie-bird3", NEWEST))
    return ", ".join(f"{version} ({place})" for place, version in where)
