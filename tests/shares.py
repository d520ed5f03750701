"""Shares of the test files, of which each worker collects its own (`--shares`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Share:
    """The share of one of several workers. Files are dealt in turn, as all workers come across
    them: a folder's are spread over all shares."""

    number: int
    shares: int
    dealt: dict[Path, int] = field(default_factory=dict)
    """All files that were asked for, each with its turn."""

    def holds(self, file: Path) -> bool:
        """Whether a file is in it, whenever that is asked."""
        turn = self.dealt.setdefault(file, len(self.dealt))
        return turn % self.shares == self.number
