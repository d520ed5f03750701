"""Names and directories of a lab."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mesh import netns
from mesh.lab.errors import LabError

RUNTIME = Path("/run/anycast-mesh")
STORAGE = Path("/var/lib/anycast-mesh")
DEFAULT_CACHE = Path("/var/cache/anycast-mesh")

KINDS = ("upstream", "transit", "client", "operator", "internet")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FIXED_BOX = re.compile(r"operator|internet|(upstream|transit|client)-[a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class LabFiles:
    """A lab by name. Box names have no slash, so every path below is the lab's own."""

    lab: str

    @property
    def runtime(self) -> Path:
        """Runtime files: configurations, sockets, logs, state; removed with the lab."""
        return RUNTIME / self.lab

    @property
    def storage(self) -> Path:
        """Disks of the nodes."""
        return STORAGE / self.lab

    def box(self, box: str) -> Path:
        """Runtime directory of a box. It is made before the namespace and removed after it, so that
        it shows which namespaces are this lab's even after a killed run."""
        return self.runtime / "boxes" / box

    def disk(self, node: str) -> Path:
        """Directory of a node's overlay."""
        return self.storage / "nodes" / node

    def namespace(self, box: str) -> str:
        """Name of a box's network namespace."""
        return f"mesh-{self.lab}-{box}"

    def namespace_path(self, box: str) -> Path:
        """Where a box's network namespace is mounted."""
        return netns.FOLDER / self.namespace(box)

    def boxes(self) -> tuple[str, ...]:
        """Boxes that exist in any form: as a directory here or as a namespace of the kernel."""
        found = set(_names(self.runtime / "boxes"))
        prefix = self.namespace("")
        for name in _names(netns.FOLDER):
            box = name.removeprefix(prefix)
            # A node's box is found by its directory only: "mesh-a-b-x-1" may be node b-x-1 of lab a
            # or node x-1 of lab a-b. Other boxes are not ambiguous (see files_of()).
            if name.startswith(prefix) and _FIXED_BOX.fullmatch(box):
                found.add(box)
        return tuple(sorted(found))

    def world_boxes(self) -> tuple[str, ...]:
        """Boxes that exist and are no nodes."""
        return tuple(box for box in self.boxes() if _FIXED_BOX.fullmatch(box))

    def state(self, node: str) -> Path:
        """A node's instance as JSON, written before anything else of it is made."""
        return self.box(node) / "state.json"

    def faults(self, target: str) -> Path:
        """Directory of the faults that are active on a target, one file per verb."""
        return self.runtime / "faults" / target

    def lock(self, node: str) -> Path:
        """Directory to lock while a node is changed."""
        return self.runtime / "locks" / node

    def image(self) -> Path:
        """The Debian 13 tree: MESH_IMAGE, or the one built by the set-up."""
        cache = Path(os.environ.get("MESH_CACHE", DEFAULT_CACHE))
        image = Path(os.environ.get("MESH_IMAGE", cache / "image")).resolve()
        if not (image / "usr/sbin/bird").exists():
            raise LabError(
                f"MESH_IMAGE {image} is no Debian 13 tree with BIRD; build it with `make up`"
            )
        return image

    def openbgpd(self) -> Path | None:
        """The layer over that tree with OpenBGPD; None where the set-up has not made it."""
        cache = Path(os.environ.get("MESH_CACHE", DEFAULT_CACHE))
        layer = (cache / "birds" / "openbgpd").resolve()
        return layer if (layer / "usr/sbin/bgpd").exists() else None


def files_of(lab: str | None = None) -> LabFiles:
    """The lab of that name, of MESH_LAB, or ``lab``; LabError for an invalid name."""
    name = os.environ.get("MESH_LAB", "lab") if lab is None else lab
    if not _NAME.fullmatch(name) or len(name) > 32 or set(name.split("-")) & set(KINDS):
        raise LabError(
            f"lab name {name!r} (MESH_LAB): use at most 32 lower-case letters, digits and single "
            f"hyphens, and not {', '.join(KINDS[:-1])} or {KINDS[-1]} as a part"
        )
    return LabFiles(name)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock a directory for this process; others wait. The lock ends with the process, and with the
    directory."""
    import fcntl  # not on Windows, where this module is imported as well

    while True:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_same(directory, handle):
                yield
                return
        finally:
            os.close(handle)


def _is_same(directory: Path, handle: int) -> bool:
    """Whether the locked directory still exists: its former holder may have removed it."""
    try:
        return os.path.samestat(directory.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _names(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in directory.iterdir()]
    except FileNotFoundError:
        return []
