"""Runs commands on a node of a lab."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from mesh.lab import containers
from mesh.lab.lab_files import LabFiles
from mesh.lab.underlay import World
from tests.kit.stacks import ROOT
from tests.kit.wait import patience


def own_name(lab: str) -> str:
    """The name of a lab of this checkout: the tests of another one clear theirs away, not ours."""
    return f"{lab}-{crc32(str(ROOT).encode()) & 0xFFFF:04x}"


@dataclass
class LabNode:
    """A system container in a lab's world."""

    place: LabFiles
    world: World
    node: str

    @property
    def address(self) -> str:
        """Its main IPv4 address."""
        return str(self.world.node(self.node).ipv4)

    @property
    def root(self) -> Path:
        """Its root directory, while it runs."""
        return Path("/proc", str(containers.leader(self.place, self.node)), "root")

    def run(self, *command: str) -> str:
        """What a command prints on its console, as root."""
        done = subprocess.run(
            [*containers.entering(self.place, self.node), *command], capture_output=True,
            text=True, check=False, timeout=patience(60),
        )  # fmt: skip
        return done.stdout
