"""BIRD of the Debian 13 tree, run on this machine without writing to that tree.

It runs with the tree's own dynamic loader and libraries, without chroot or mounts. Configuration,
socket and log are files in the lab's runtime directory.
"""

from __future__ import annotations

import os
from pathlib import Path

from mesh.bird.client import Bird, BirdError
from mesh.lab import namespaces, rotation
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles

CONFIG, SOCKET = rotation.CONFIG, rotation.SOCKET
LOG = "bird.log"


def ensure(files: LabFiles, box: str, config: str) -> None:
    """Start or reconfigure the BIRD of a box, unless it runs this configuration already."""
    directory = files.box(box)
    path = directory / CONFIG
    unchanged = path.exists() and path.read_text() == config
    running = is_running(files, box)
    if running and unchanged:
        return
    rotation.write_private(path, config)
    if running:
        answer = ask(files, box, "configure")
        if "Reconfigured" not in answer and "Reconfiguration in progress" not in answer:
            raise LabError(f"{box}: BIRD refuses its new configuration: {answer.strip()}")
        return
    (directory / SOCKET).unlink(missing_ok=True)
    namespaces.spawn(
        [*program(files, "usr/sbin/bird"), "-f", "-c", path, "-s", directory / SOCKET],
        directory / LOG,
        files.namespace(box),
    )


def is_running(files: LabFiles, box: str) -> bool:
    """Whether our BIRD runs in the box."""
    config = str(files.box(box) / CONFIG)
    namespace = files.namespace(box)
    pids = namespaces.processes([namespace])[namespace]
    return any(config in namespaces.command_line(pid) for pid in pids)


def program(files: LabFiles, path: str | Path) -> list[str | Path]:
    """The command that runs a program of the Debian 13 tree with that tree's libraries; one of a
    layer over it has an absolute path."""
    image = files.image()
    machine = os.uname().machine
    libraries = image / f"usr/lib/{machine}-linux-gnu"
    loaders = sorted(libraries.glob("ld-linux-*.so.*"))
    if not loaders:
        raise LabError(f"{image} has no dynamic loader for {machine}: it was built elsewhere")
    return [loaders[0], "--library-path", libraries, image / path]


def ask(files: LabFiles, box: str, command: str) -> str:
    """The answer of a box's BIRD, as ``birdc`` prints it."""
    try:
        return _of(files, box).ask(command).text
    except BirdError as error:
        raise LabError(f"{box}: {error}") from None


def is_ready(files: LabFiles, box: str) -> bool:
    """Whether BIRD answers."""
    return _of(files, box).answers()


def sessions(files: LabFiles, box: str) -> dict[str, str]:
    """State of each BGP session of a box by its name in BIRD, for example ``Established``."""
    try:
        return _of(files, box).sessions()
    except BirdError as error:
        raise LabError(f"{box}: {error}") from None


def _of(files: LabFiles, box: str) -> Bird:
    return Bird(files.box(box) / SOCKET)


def failure(files: LabFiles, box: str) -> str:
    """The end of BIRD's log, for an error message."""
    try:
        lines = (files.box(box) / LOG).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "BIRD has written no log"
    return " | ".join(lines[-3:])
