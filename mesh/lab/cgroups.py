"""Control groups: one per node, so that all of a node can be ended at once, like a power cut.

They also keep the nodes apart: systemd in a container manages the group that it finds itself in,
and two containers in one group would manage each other's services.
"""

from __future__ import annotations

import os
import signal
from functools import cache, partial
from pathlib import Path

from mesh.lab import namespaces
from mesh.lab.errors import LabError
from mesh.lab.place import Place

PARENT = "anycast-mesh"


@cache
def _unified() -> Path:
    """Where the unified hierarchy (cgroup2) is mounted; some hosts have it beside version 1."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            return Path(before.split()[4])
    raise LabError(
        "this machine mounts no cgroup2, which the nodes' systemd needs; "
        "mount it with `mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified`"
    )


def path(place: Place, node: str | None = None) -> Path:
    """The group of a node, or of the lab."""
    lab = _unified() / PARENT / place.lab
    return lab / node if node else lab


def create(place: Place, node: str) -> Path:
    """A node's group, made if missing."""
    group = path(place, node)
    group.mkdir(parents=True, exist_ok=True)
    return group


def pids(place: Place, node: str | None = None) -> list[int]:
    """Every process of a node, or of all nodes of the lab."""
    return pids_in(path(place, node))


def pids_in(group: Path) -> list[int]:
    """Every process of a group and the groups below it; none where there is no such group."""
    found: list[int] = []
    for directory, _, _ in os.walk(group):
        try:
            found += map(int, (Path(directory) / "cgroup.procs").read_text().split())
        except OSError:
            continue  # the group has gone since
    return found


def kill(place: Place, node: str | None = None, deadline: float = 10.0) -> None:
    """End every process of a node, or of all nodes, at once, and wait until they are gone."""
    group = path(place, node)

    def none_left() -> bool:
        if not pids(place, node):
            return True
        try:
            # Linux 5.14: atomic, so that nothing can restart what has been killed.
            (group / "cgroup.kill").write_text("1")
        except FileNotFoundError:
            for pid in pids(place, node):
                namespaces.kill(pid, signal.SIGKILL)
        return False

    namespaces.wait_until(none_left, deadline, f"{node or 'the nodes'} to end")


def remove(place: Place, node: str | None = None) -> None:
    """Remove the empty groups of a node, or of the lab."""
    group = path(place, node)
    for directory, _, _ in os.walk(group, topdown=False):
        namespaces.wait_until(partial(_removed, Path(directory)), 5.0, f"{directory} to empty")
    if node is None:
        try:
            group.parent.rmdir()
        except OSError:
            return  # missing, or another lab's


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # the kernel is still letting go of a dead process
    return True
