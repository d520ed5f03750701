"""Control groups: one per node, so that all of a node can be ended at once, like a power cut.

They also keep the nodes apart: systemd in a container manages the group that it finds itself in,
and two containers in one group would manage each other's services.
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
    """Where hierarchies of a kind are mounted: ``cgroup2`` or, of version 1, ``cgroup``."""
    found = []
    for line in MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == kind:
            found.append(Path(before.split()[4]))
    return found


def _of_lab(hierarchy: Path, place: LabFiles, node: str | None) -> Path:
    lab = hierarchy / PARENT / place.lab
    return lab / node if node else lab


def path(place: LabFiles, node: str | None = None) -> Path:
    """The group of a node, or of the lab, in the unified hierarchy; some hosts have that beside
    version 1. LabError where it is not mounted."""
    unified = _mounted("cgroup2")
    if not unified:
        raise LabError(
            "this machine mounts no cgroup2, which the nodes' systemd needs; "
            "mount it with `mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified`"
        )
    return _of_lab(unified[0], place, node)


def groups(place: LabFiles, node: str | None = None) -> list[Path]:
    """The groups of a node, or of the lab, in every hierarchy that has one, the unified first.

    Processes are put into the unified one only. But where a host mounts version 1 beside it,
    systemd-nspawn copies the groups that it makes into the hierarchy ``name=systemd``, and leaves
    them there.
    """
    hierarchies = _mounted("cgroup2") + _mounted("cgroup")
    of_lab = (_of_lab(hierarchy, place, node) for hierarchy in hierarchies)
    return [group for group in of_lab if group.is_dir()]


def create(place: LabFiles, node: str) -> Path:
    """A node's group, made if missing."""
    group = path(place, node)
    group.mkdir(parents=True, exist_ok=True)
    return group


def pids(place: LabFiles, node: str | None = None) -> list[int]:
    """Every process of a node, or of all nodes of the lab; none without a unified hierarchy."""
    unified = (_of_lab(hierarchy, place, node) for hierarchy in _mounted("cgroup2")[:1])
    return [pid for group in unified for pid in pids_in(group)]


def pids_in(group: Path) -> list[int]:
    """Every process of a group and the groups below it; none where there is no such group."""
    found: list[int] = []
    for directory, _, _ in os.walk(group):
        try:
            found += map(int, (Path(directory) / "cgroup.procs").read_text().split())
        except OSError:
            continue  # the group has gone since
    return found


def kill(place: LabFiles, node: str | None = None, deadline: float = 10.0) -> None:
    """End every process of a node, or of all nodes, at once, and wait until they are gone."""

    def none_left() -> bool:
        left = pids(place, node)
        if not left:
            return True
        try:
            # Linux 5.14: atomic, so that nothing can restart what has been killed.
            (path(place, node) / "cgroup.kill").write_text("1")
        except FileNotFoundError:
            for pid in left:
                namespaces.kill(pid, signal.SIGKILL)
        return False

    namespaces.wait_until(none_left, deadline, f"{node or 'the nodes'} to end")


def remove(place: LabFiles, node: str | None = None) -> None:
    """Remove the empty groups of a node, or of the lab, from every hierarchy."""
    for group in groups(place, node):
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
        return False  # the kernel is still letting go of a dead process
    return True
