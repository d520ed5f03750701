"""BIRD of the Debian 13 tree, run on this machine without anything being written to that tree.

The tree's own dynamic loader and libraries run it, so there is no chroot and no mount to leave
behind, and configuration, socket and log are ordinary files of the lab's runtime directory.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

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


def ask(place: LabFiles, box: str, command: str, timeout: float = 5.0) -> str:
    """What BIRD of a box answers on its control socket (as ``birdc`` prints it)."""
    path = place.box(box) / SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.settimeout(timeout)
        # A socket address has 107 characters; a path by way of /proc/self/fd always fits.
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            control.connect(f"/proc/self/fd/{directory}/{SOCKET}")
        finally:
            os.close(directory)
        stream = control.makefile("rw", encoding="utf-8", errors="replace")
        _reply(stream.readline)
        stream.write(command + "\n")
        stream.flush()
        return "\n".join(_reply(stream.readline)) + "\n"


def _reply(readline: object) -> list[str]:
    """Lines of one answer: ``NNNN-`` goes on, ``NNNN `` ends, a leading blank continues."""
    lines: list[str] = []
    while line := readline():  # type: ignore[operator]
        text = line.rstrip("\n")
        if text[:4].isdigit() and len(text) > 4:
            lines.append(text[5:])
            if text[4] == " ":
                return lines
        else:
            lines.append(text[1:])
    return lines


def is_ready(place: LabFiles, box: str) -> bool:
    """Whether BIRD answers."""
    try:
        ask(place, box, "show status")
    except OSError:
        return False
    return True


def sessions(place: LabFiles, box: str) -> dict[str, str]:
    """State of each BGP session of a box by its name in BIRD, for example ``Established``."""
    found: dict[str, str] = {}
    for line in ask(place, box, "show protocols").splitlines():
        words = line.split()
        if len(words) > 5 and words[1] == "BGP":
            found[words[0]] = words[-1] if words[3] != "up" else "Established"
    return found


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
