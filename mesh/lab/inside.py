"""Commands that run inside a box of the lab."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from mesh import netns
from mesh.lab import bgpd, bird, containers
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles
from mesh.lab.world import load


def inside(files: LabFiles, box: str, command: Sequence[str]) -> list[str]:
    """The command in all namespaces of a node, or in the network namespace of any other box."""
    world = load(files.lab)
    if not command:
        raise LabError(f"give a command: mesh lab exec {box} -- CMD…")
    if box in {uplink.node for uplink in world.nodes}:
        return [
            *containers.entering(files, box),
            f"TERM={os.environ.get('TERM', 'dumb')}",
            *command,
        ]
    if box not in files.boxes():
        raise LabError(f"lab {files.lab!r} has no box {box!r}; see `mesh lab list`")
    return [*netns.entering(files.namespace(box)), *_tool(files, box, command)]


def _tool(files: LabFiles, box: str, command: Sequence[str]) -> list[str]:
    """The host's tool, else the Debian 13 tree's; birdc and bgpctl with the sockets of the box's
    own daemons."""
    name, *arguments = command
    control = files.box(box) / bird.SOCKET
    if name == "birdc" and control.exists():
        birdc = bird.program(files, "usr/sbin/birdc")
        return [*map(str, birdc), "-s", str(control), *arguments]
    if name == "bgpctl" and bgpd.speaks(files, box):
        return [*map(str, bgpd.control(files, box, *arguments))]
    if shutil.which(name):
        return list(command)
    for folder in ("usr/bin", "usr/sbin"):
        if (files.image() / folder / name).is_file():
            return [*map(str, bird.program(files, f"{folder}/{name}")), *arguments]
    return list(command)
