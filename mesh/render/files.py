"""Rendered files, each with its path on the node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, slots=True)
class File:
    """One file of a node. ``mode`` is octal permission bits; the owner is root.

    ``pieces`` is the content, split so that long pieces are shared with other nodes; empty where
    nothing or all of it is shared.
    """

    path: str
    content: str
    mode: int = 0o644
    group: str = "root"
    pieces: Annotated[tuple[str, ...], Field(exclude=True)] = field(
        default=(), compare=False, repr=False
    )

    def __post_init__(self) -> None:
        if self.pieces and not self._is_split():
            raise ValueError(f"{self.path}: its pieces are not its content")

    def _is_split(self) -> bool:
        """Compared in place: the content of one node of a large network is most of a megabyte."""
        at = 0
        for piece in self.pieces:
            if not self.content.startswith(piece, at):
                return False
            at += len(piece)
        return at == len(self.content)


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """All public files of a node, sorted by path, and the units that are enabled and started, in
    the order in which they start."""

    files: tuple[File, ...]
    units: tuple[str, ...]
