"""The operating systems that a node may run."""

from __future__ import annotations

from enum import StrEnum


class OperatingSystem(StrEnum):
    """What a node runs; the stack file's ``os`` of a node, and a fact of it."""

    DEBIAN = "debian"
    OPENBSD = "openbsd"
