"""What rendering yields: files, each with the path that it has on the node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class File:
    """One file of a node. ``mode`` is octal permission bits; the owner is root."""

    path: str
    content: str
    mode: int = 0o644
