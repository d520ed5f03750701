"""A kind of configuration: which files, who validates them, who applies them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mesh.agent.host import Host
from mesh.agent.stage import Stage
from mesh.agent.units import Units
from mesh.bird.client import Bird


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file, before and after; None where it does not exist."""

    path: str
    old: bytes | None
    new: bytes | None


@dataclass(frozen=True, slots=True)
class ChangedNode:
    """The node that changes are applied to. ``units`` are those of the generation that is applied,
    ``running`` those that ran before."""

    host: Host
    manager: Units
    bird: Bird
    units: tuple[str, ...]
    running: frozenset[str]


Changes = Sequence[FileChange]


def nothing_to_validate(_: Stage, __: Changes) -> None:
    """For files that no validator reads."""


def nothing_to_apply(_: ChangedNode, __: Changes) -> None:
    """For files that are read when they are needed."""


def nothing_to_confirm(_: ChangedNode) -> None:
    """For daemons without an undo timer."""


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that differs from the generation in force. ``what`` names it, always the same;
    ``mend`` repairs it, and raises as ``apply`` does. ``patience`` is how long the difference has
    to last, in seconds: a daemon that is restarted comes back by itself. ``vital``: always
    repaired, without a limit."""

    what: str
    why: str
    mend: Callable[[], None]
    patience: float = 0.0
    vital: bool = False


def nothing_differs(_: ChangedNode, __: Sequence[str]) -> Iterable[Difference]:
    """For files without a live state to compare."""
    return ()


def nothing_to_reread(_: ChangedNode) -> None:
    """For files whose live state is compared, and for those that are read when they are needed."""


@dataclass(frozen=True, slots=True)
class DaemonKind:
    """The files at paths of these ``patterns``. ``validate`` and ``apply`` raise
    :class:`mesh.agent.host.CommandFailed` or :class:`mesh.bird.client.BirdError` with the daemon's
    reason. ``apply_late`` runs once all units are up. ``differences`` compares the live state with
    these files, which are those of the generation in force; ``reread`` makes a daemon read restored
    files. ``first``: it is compared before all others."""

    name: str
    patterns: tuple[str, ...]
    validate: Callable[[Stage, Changes], None] = nothing_to_validate
    apply: Callable[[ChangedNode, Changes], None] = nothing_to_apply
    apply_late: Callable[[ChangedNode, Changes], None] = nothing_to_apply
    confirm: Callable[[ChangedNode], None] = nothing_to_confirm
    differences: Callable[[ChangedNode, Sequence[str]], Iterable[Difference]] = nothing_differs
    reread: Callable[[ChangedNode], None] = nothing_to_reread
    first: bool = False

    def has(self, path: str) -> bool:
        """Whether this is one of its files."""
        return any(fnmatchcase(path, pattern) for pattern in self.patterns)
