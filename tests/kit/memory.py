"""Where there is room for what tests write and nobody keeps: a disk makes each commit of a
registry wait. `python -m tests.kit.memory` prints the folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

SHARED = Path("/dev/shm")
ROOM = 1 << 30
"""Bytes that have to be free; containers often have 64 MiB in all."""


def folder() -> Path:
    """Memory, where it has room and runs programs, as some that tests write are; else the usual
    folder of temporary files."""
    return SHARED if os.access(SHARED, os.W_OK) and _fits(SHARED) else Path(tempfile.gettempdir())


def _fits(place: Path) -> bool:
    there = os.statvfs(place)
    return not there.f_flag & os.ST_NOEXEC and there.f_bavail * there.f_frsize > ROOM


if __name__ == "__main__":
    print(folder())
