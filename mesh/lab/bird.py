"""BIRD of the Debian 13 tree, run on this machine without anything being written to that tree.

The tree's own dynamic loader and libraries run it, so there is no chroot and no mount to leave
behind, and configuration, socket and log are ordinary files of the lab's runtime directory.
"""

from __future__ import annotations

import os
from pathlib import Path

from mesh.bird.client import Bird, BirdError
from mesh.lab import namespaces
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles

CONFIG = "bird.conf"
SOCKET = "bird.ctl"
LOG = "bird.log"


def ensure(place: LabFiles, box: str, config: str) -> None:
    """Have BIRD of a box run this configuration: started, reconfigured, or left as it is."""
    directory = place.box(box)
    path = directory / CONFIG
    unchanged = path.exists() and path.read_text() == config
    running = is_running(place, box)
    if running and unchanged:
        return
    _write_private(path, config)
    if running:
        answer = ask(place, box, "configure")
        if "Reconfigured" not in answer and "Reconfiguration in progress" not in answer:
            raise LabError(f"{box}: BIRD refuses its new configuration: {answer.strip()}")
        return
    (directory / SOCKET).unlink(missing_ok=True)
    namespaces.spawn(
        [*program(place, "usr/sbin/bird"), "-f", "-c", path, "-s", directory / SOCKET],
        directory / LOG,
        place.namespace(box),
    )


def is_running(place: LabFiles, box: str) -> bool:
    """Whether a BIRD process of ours lives in the box."""
    config = str(place.box(box) / CONFIG)
    namespace = place.namespace(box)
    pids = namespaces.processes([namespace])[namespace]
    return any(config in namespaces.command_line(pid) for pid in pids)


def program(place: LabFiles, path: str) -> list[str | Path]:
    """Command words that run a program of the Debian 13 tree with that tree's libraries."""
    image = place.image()
    machine = os.uname().machine
    libraries = image / f"usr/lib/{machine}-linux-gnu"
    loaders = sorted(libraries.glob("ld-linux-*.so.*"))
    if not loaders:
        raise LabError(f"{image} has no dynamic loader for {machine}: it was built elsewhere")
    return [loaders[0], "--library-path", libraries, image / path]


def ask(place: LabFiles, box: str, command: str) -> str:
    """What the BIRD of a box answers, as ``birdc`` prints it."""
    try:
        return _of(place, box).ask(command).text
    except BirdError as error:
        raise LabError(f"{box}: {error}") from None


def is_ready(place: LabFiles, box: str) -> bool:
    """Whether BIRD answers."""
    return _of(place, box).answers()


def sessions(place: LabFiles, box: str) -> dict[str, str]:
    """State of each BGP session of a box by its name in BIRD, for example ``Established``."""
    try:
        return _of(place, box).sessions()
    except BirdError as error:
        raise LabError(f"{box}: {error}") from None


def _of(place: LabFiles, box: str) -> Bird:
    return Bird(place.box(box) / SOCKET)


def failure(place: LabFiles, box: str) -> str:
    """The end of BIRD's log, for an error message."""
    try:
        lines = (place.box(box) / LOG).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "BIRD has written no log"
    return " | ".join(lines[-3:])


def _write_private(path: Path, text: str) -> None:
    """Replace a file that only root may read, from its first byte on."""
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    beside.replace(path)
