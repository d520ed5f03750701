"""What rendering yields: files, each with the path that it has on the node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class File:
    """One file of a node. ``mode`` is octal permission bits; the owner is root."""

    path: str
    content: str
    mode: int = 0o644
    group: str = "root"


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """All public files of a node, sorted by path, and the units that are enabled and started, in
    the order in which they start."""

    files: tuple[File, ...]
    units: tuple[str, ...]
