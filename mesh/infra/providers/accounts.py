"""What a provider's account holds of a network, compared with the state of its stack.

A driver's description names its classes: a :class:`StrayFinder` for `mesh strays`, a
:class:`StackAdoption` for `mesh adopt`. They raise :class:`mesh.spec.SpecError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Document = dict[str, Any]
"""A stack's state, as `pulumi stack export` writes it."""


class StackState(Protocol):
    """The command line's stack."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Its environment variables."""

    def setting(self, key: str) -> str | None:
        """A key of the stack's configuration in the clear; None where it is not set."""

    def state(self) -> Document:
        """The state as it is now."""

    def replace_state(self, document: Document) -> None:
        """Write the state anew; the engine refuses that while an update runs."""


@dataclass(frozen=True, slots=True)
class Stray:
    """One object with the network's mark: ``label`` is what the provider's console shows,
    ``where`` its region and address, ``node`` and ``resource`` are those of its mark."""

    kind: str
    id: str
    label: str
    where: str
    node: str | None
    resource: str | None


@dataclass(frozen=True, slots=True)
class Missing:
    """An object that the state has: its kind, its id at the provider, and its resource's name."""

    kind: str
    id: str
    name: str


@dataclass(frozen=True)
class Compared:
    """Account and state of the network with this ``identity``, None where it has none yet.

    ``strays`` are in the account alone. ``begun`` too, and by the state an update began to make
    them: the next one adopts them. ``missing`` are in the state alone; ``elsewhere`` is whether
    nothing of the state is in the account. ``removed`` are deleted ids, ``kept`` are the reasons
    why others were not deleted.
    """

    identity: str | None
    strays: tuple[Stray, ...] = ()
    begun: tuple[Stray, ...] = ()
    missing: tuple[Missing, ...] = ()
    elsewhere: bool = False
    removed: tuple[str, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()

    @property
    def candidates(self) -> tuple[Stray, ...]:
        """What may be removed."""
        return (*self.strays, *self.begun)

    @property
    def agree(self) -> bool:
        """Whether account and state have the same."""
        left = [one for one in self.candidates if one.id not in self.removed]
        return not left and not self.missing


class StrayFinder(Protocol):
    """The account at a provider with a stack's objects.

    ``provider`` is the provider's name for people. ``no_identity`` is the text for a state without
    an identity, ``elsewhere`` the one for a state of which nothing is in the account.
    """

    provider: str
    no_identity: str
    elsewhere: str

    def __init__(self, stack: StackState) -> None: ...

    def compare(self) -> Compared:
        """Account and state as they are now."""

    def remove(self, found: Compared, progress: Callable[[str], None]) -> Compared:
        """Delete what may be deleted; the result has ``removed`` and ``kept``."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """One object that gets another resource: the resource's name, what the object is, its id at the
    provider, and its new mark."""

    name: str
    what: str
    id: str
    mark: str


@dataclass(frozen=True)
class StateToBe:
    """``document`` is the new state. ``notes`` are about the old one's other resources,
    ``warnings`` about what the operator has to look at."""

    document: Document
    objects: tuple[Adopted, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


class StackAdoption(Protocol):
    """Moves a stack from a provider's former resources to the present ones.

    ``provider`` is the provider's name for people, ``former`` and ``present`` are what makes them.
    """

    provider: str
    former: str
    present: str

    def __init__(self, stack: StackState) -> None: ...

    @staticmethod
    def is_left(document: Document) -> bool:
        """Whether a state has former resources."""

    def prepare(self, document: Document) -> StateToBe:
        """The new state; nothing is changed."""

    def mark(self) -> int:
        """Write the marks into the objects, once the state is written; returns their number."""
