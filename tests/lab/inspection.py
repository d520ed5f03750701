"""Questions to the kernel about a lab: commands in its boxes, and what is left of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mesh import netns
from mesh.lab import bird, cgroups, namespaces
from mesh.lab.lab_files import RUNTIME, STORAGE, LabFiles


def run_in(place: LabFiles, box: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the Debian 13 tree in a box's network."""
    words = bird.program(place, command[0]) if "/" in command[0] else [command[0]]
    return subprocess.run(
        [*netns.entering(place.namespace(box)), *map(str, words), *command[1:]],
        capture_output=True,
        text=True,
        check=False,
    )


def pings(
    place: LabFiles, box: str, address: object, source: object = None, wait: float = 5
) -> bool:
    """Whether an address answers an echo within ``wait`` seconds (asked five times a second)."""
    chosen = ["-I", str(source)] if source else []
    count = str(int(wait * 5))
    flags = ["-n", "-c", "1", "-i", "0.2", "-W", "0.2", *chosen]
    for _ in range(int(count)):
        if run_in(place, box, "usr/bin/ping", *flags, str(address)).returncode == 0:
            return True
    return False


def leftovers(name: str) -> list[str]:
    """Everything of a lab that this machine still holds."""
    found = [str(path) for path in netns.FOLDER.glob(f"mesh-{name}-*")]
    found += [str(path) for path in (RUNTIME / name, STORAGE / name) if path.exists()]
    found += map(str, cgroups.groups(LabFiles(name)))
    mounts = Path("/proc/self/mountinfo").read_text()
    found += [
        line for line in mounts.splitlines() if f"mesh-{name}-" in line or f"/{name}/" in line
    ]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            line = " ".join(namespaces.command_line(int(entry.name)))
            if f"anycast-mesh/{name}/" in line or f"mesh-{name}-" in line:
                found.append(line)
    return found
