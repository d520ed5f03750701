"""The words of a command that runs inside a box of the lab."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from mesh import netns
from mesh.lab import bird, containers
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles
from mesh.lab.world import load


def inside(here: LabFiles, box: str, command: Sequence[str]) -> list[str]:
    """Command words for a box: all of a node's namespaces, or the network of any other box."""
    world = load(here.lab)
    if not command:
        raise LabError(f"give a command: mesh lab exec {box} -- CMD…")
    if box in {uplink.node for uplink in world.nodes}:
        return [*containers.entering(here, box), f"TERM={os.environ.get('TERM', 'dumb')}", *command]
    if box not in here.boxes():
        raise LabError(f"lab {here.lab!r} has no box {box!r}; see `mesh lab list`")
    return [*netns.entering(here.namespace(box)), *_tool(here, box, command)]


def _tool(here: LabFiles, box: str, command: Sequence[str]) -> list[str]:
    """The host's tool, or else the Debian 13 tree's; birdc asks the box's own BIRD."""
    name, *arguments = command
    control = here.box(box) / bird.SOCKET
    if name == "birdc" and control.exists():
        birdc = bird.program(here, "usr/sbin/birdc")
        return [*map(str, birdc), "-s", str(control), *arguments]
    if shutil.which(name):
        return list(command)
    for folder in ("usr/bin", "usr/sbin"):
        if (here.image() / folder / name).is_file():
            return [*map(str, bird.program(here, f"{folder}/{name}")), *arguments]
    return list(command)
