"""Reads the snapshot that the agent of this node writes, and says what is wrong with its time."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from pydantic import ValidationError

from mesh.glass.snapshot import Snapshot
from mesh.trust.encoding import adapter

MAX_BYTES = 4 << 20
STALE = 10.0
"""Seconds after which a snapshot is called old; the agent writes one every two."""
FUTURE = 5.0
"""Seconds by which clocks of nodes may differ."""


class NoSnapshot(Exception):
    """Why there is no snapshot."""


class SnapshotFile:
    """The agent's file, which is parsed when it has changed."""

    def __init__(self, path: Path, node: str) -> None:
        self._path, self._node = path, node
        self._lock = threading.Lock()
        self._known: tuple[tuple[int, int, int], Snapshot] | None = None

    def read(self) -> Snapshot:
        """The snapshot of now. Raises :class:`NoSnapshot`."""
        with self._lock:
            try:
                return self._read()
            except FileNotFoundError:
                raise NoSnapshot("the agent has written no snapshot yet") from None
            except OSError as error:
                raise NoSnapshot(f"the snapshot: {error.strerror or error}") from None
            except ValidationError as error:
                where = ".".join(str(part) for part in error.errors()[0]["loc"])
                raise NoSnapshot(f"the snapshot is none of this version: {where}"[:200]) from None

    def _read(self) -> Snapshot:
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._known is None or self._known[0] != version:
                content = file.read(MAX_BYTES + 1)
                if len(content) > MAX_BYTES:
                    raise NoSnapshot(f"the snapshot has more than {MAX_BYTES >> 20} MiB")
                snapshot = adapter(Snapshot).validate_json(content)
                if snapshot.node != self._node:
                    raise NoSnapshot(f"the snapshot is of another node: {snapshot.node}")
                self._known = (version, snapshot)
        return self._known[1]


def doubt(snapshot: Snapshot, now: float) -> str:
    """Why a snapshot may not be what is: it is old, or of the future. Empty where it is neither."""
    age = now - snapshot.at
    if age > STALE:
        return f"its snapshot is {age:.0f} s old"
    return f"its snapshot is {-age:.0f} s ahead of this node's clock" if age < -FUTURE else ""
