"""The cache outside the checkout: what takes minutes is built once, keyed by its recipe."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from setup.failure import SetupFailure
from setup.progress import Step

DEFAULT = Path("/var/cache/anycast-mesh")
GIB = 2**30


def root() -> Path:
    """Return the cache folder: ``MESH_CACHE``, or ``/var/cache/anycast-mesh``."""
    return Path(os.environ.get("MESH_CACHE") or DEFAULT)


def recipe_key(files: Iterable[Path], *texts: str) -> str:
    """Return 16 hexadecimal digits that change with any file's name or content, or any text."""
    digest = hashlib.sha256()
    for file in sorted(files):
        content = file.read_bytes()
        digest.update(f"{file.name}\0{len(content)}\0".encode() + content)
    for text in texts:
        digest.update(f"{len(text)}\0{text}".encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is kept in the cache as ``<name>-<key>``.

    ``space`` is what building it needs in bytes, by folder; ``make`` fills a new folder,
    and its second argument is a lock that long-running children should inherit.
    """

    name: str
    key: str
    space: tuple[tuple[Path, int], ...]
    make: Callable[[Path, int], None]

    @property
    def path(self) -> Path:
        """The finished folder."""
        return root() / f"{self.name}-{self.key}"


def fetch(recipe: Recipe, step: Step) -> Path:
    """Return the finished folder of ``recipe``, building it if it is not there.

    It is built beside and renamed when complete, so a killed build is never mistaken for
    a finished one; its leftovers go before the next attempt. Only one build runs at a time.
    """
    if recipe.path.is_dir():
        return recipe.path
    make_folder(root())
    with (root() / f"{recipe.name}.lock").open("w") as lock:
        hold(lock.fileno(), step.show)
        if recipe.path.is_dir():
            return recipe.path
        for leftover in root().glob(f"{recipe.name}-*.part"):
            step.show(f"removing what a killed build left in {leftover}")
            remove(leftover)
        require_space(recipe.space)
        part = recipe.path.with_name(recipe.path.name + ".part")
        part.mkdir()
        try:
            recipe.make(part, lock.fileno())
        except BaseException:
            remove(part)
            raise
        part.rename(recipe.path)
    return recipe.path


def make_folder(folder: Path, mode: int = 0o755) -> None:
    """Make ``folder`` if it is not there; SetupFailure when we may not write into it."""
    reason = "it is not ours to write"
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise SetupFailure(
            f"cannot use the folder {folder} ({reason}): run as root or as its owner (a checkout "
            "of your own; MESH_CACHE for a cache of your own)."
        )


def require_space(needs: Iterable[tuple[Path, int]]) -> None:
    """Raise SetupFailure if a file system has less room than is needed there.

    ``needs`` are (folder, bytes); folders on the same file system are added up.
    """
    wanted: dict[int, tuple[Path, int]] = {}
    for folder, size in needs:
        there = _nearest(folder)
        device = there.stat().st_dev
        first, sum_so_far = wanted.get(device, (there, 0))
        wanted[device] = (first, sum_so_far + size)
    for there, size in wanted.values():
        free = shutil.disk_usage(there).free
        if free < size:
            raise SetupFailure(
                f"{there}: {free / GIB:.1f} GiB free, and building needs {size / GIB:.1f} GiB. "
                "Make room, or set MESH_CACHE (and GOCACHE, GOMODCACHE for the engine) to a "
                "larger disk."
            )


def _nearest(folder: Path) -> Path:
    """Return ``folder`` or the nearest folder above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def point(link: Path, target: Path) -> None:
    """Make ``link`` a symbolic link to ``target``, in one step and only when it is not one yet."""
    if link.is_symlink() and link.readlink() == target:
        return
    make_folder(link.parent)
    beside = link.with_name(f".{link.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(link)


def remove(folder: Path) -> None:
    """Remove ``folder``, after everything that is mounted below it."""
    for mount in reversed(mounts_below(folder, Path("/proc/self/mountinfo").read_text())):
        subprocess.run(["umount", "--lazy", mount], check=True)
    shutil.rmtree(folder)


def mounts_below(folder: Path, mountinfo: str) -> list[str]:
    """Return the mount points at or below ``folder`` in the order in which they were mounted.

    ``mountinfo`` is the text of ``/proc/self/mountinfo`` (proc(5)): the fifth field is the
    mount point, with blanks written as ``\\040``.
    """
    points = (line.split()[4].replace("\\040", " ") for line in mountinfo.splitlines() if line)
    return [mount for mount in points if Path(mount).is_relative_to(folder)]


def hold(descriptor: int, show: Callable[[str], None]) -> None:
    """Take the lock on an open file; show a message when another set-up holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        show("another set-up on this machine works on the same thing; waiting for it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
