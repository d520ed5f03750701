"""Control groups: one per node, so that all its processes can be killed at once, as in a power cut.

They also separate the nodes: systemd in a container manages the group that it starts in, and two
containers in one group would manage each other's services.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

from mesh.lab import namespaces
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles

PARENT = "anycast-mesh"
MOUNTS = Path("/proc/self/mountinfo")


def _mounted(kind: str) -> list[Path]:
    """Mount points of the hierarchies of a kind: ``cgroup2`` or, for version 1, ``cgroup``."""
    found = []
    for line in MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == kind:
            found.append(Path(before.split()[4]))
    return found


def _of_lab(hierarchy: Path, files: LabFiles, node: str | None) -> Path:
    lab = hierarchy / PARENT / files.lab
    return lab / node if node else lab


def path(files: LabFiles, node: str | None = None) -> Path:
    """The group of a node, or of the lab, in the unified hierarchy. LabError where that is not
    mounted."""
    unified = _mounted("cgroup2")
    if not unified:
        raise LabError(
            "this machine mounts no cgroup2, which the nodes' systemd needs; "
            "mount it with `mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified`"
        )
    return _of_lab(unified[0], files, node)


def groups(files: LabFiles, node: str | None = None) -> list[Path]:
    """The groups of a node, or of the lab, in all hierarchies, the unified one first.

    Processes are put into the unified one only. But where a host mounts version 1 as well,
    systemd-nspawn copies its groups into the hierarchy ``name=systemd``, and leaves them there.
    """
    hierarchies = _mounted("cgroup2") + _mounted("cgroup")
    of_lab = (_of_lab(hierarchy, files, node) for hierarchy in hierarchies)
    return [group for group in of_lab if group.is_dir()]


def create(files: LabFiles, node: str) -> Path:
    """A node's group, made if missing."""
    group = path(files, node)
    group.mkdir(parents=True, exist_ok=True)
    return group


def pids(files: LabFiles, node: str | None = None) -> list[int]:
    """Every process of a node, or of all nodes of the lab; none without a unified hierarchy."""
    unified = (_of_lab(hierarchy, files, node) for hierarchy in _mounted("cgroup2")[:1])
    return [pid for group in unified for pid in pids_in(group)]


def pids_in(group: Path) -> list[int]:
    """Every process of a group and the groups below it; none where there is no such group."""
    found: list[int] = []
    for directory, _, _ in os.walk(group):
        try:
            found += map(int, (Path(directory) / "cgroup.procs").read_text().split())
        except OSError:
            continue  # the group was removed meanwhile
    return found


def kill(files: LabFiles, node: str | None = None, deadline: float = 10.0) -> None:
    """End every process of a node, or of all nodes, at once, and wait until they are gone."""

    def none_left() -> bool:
        left = pids(files, node)
        if not left:
            return True
        try:
            # Linux 5.14: atomic, so that nothing can restart what has been killed.
            (path(files, node) / "cgroup.kill").write_text("1")
        except FileNotFoundError:
            for pid in left:
                namespaces.kill(pid, signal.SIGKILL)
        return False

    namespaces.wait_until(none_left, deadline, f"{node or 'the nodes'} to end")


def remove(files: LabFiles, node: str | None = None) -> None:
    """Remove the empty groups of a node, or of the lab, from every hierarchy."""
    for group in groups(files, node):
        for directory, _, _ in os.walk(group, topdown=False):
            namespaces.wait_until(partial(_removed, Path(directory)), 5.0, f"{directory} to empty")
        if node is None:
            with suppress(OSError):  # another lab's
                group.parent.rmdir()


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # the kernel still holds a dead process
    return True
