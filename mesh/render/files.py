"""What rendering yields: files, each with the path that it has on the node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, slots=True)
class File:
    """One file of a node. ``mode`` is octal permission bits; the owner is root.

    ``pieces`` are the content cut where a long piece of it is the same on other nodes; empty where
    it is the same as a whole, or not at all.
    """

    path: str
    content: str
    mode: int = 0o644
    group: str = "root"
    pieces: Annotated[tuple[str, ...], Field(exclude=True)] = field(
        default=(), compare=False, repr=False
    )

    def __post_init__(self) -> None:
        if self.pieces and "".join(self.pieces) != self.content:
            raise ValueError(f"{self.path}: its pieces are not its content")


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """All public files of a node, sorted by path, and the units that are enabled and started, in
    the order in which they start."""

    files: tuple[File, ...]
    units: tuple[str, ...]
