"""What a provider's account holds of a network, beside the state of the network's stack.

A driver's description names the classes that can tell: :class:`StrayFinder` for `mesh strays`,
:class:`StackAdoption` for `mesh adopt`. Whatever they refuse is a :class:`mesh.spec.SpecError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Document = dict[str, Any]
"""A stack's state, as `pulumi stack export` writes it."""


class StackState(Protocol):
    """A stack as the command line has it."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that hold for it."""

    def setting(self, key: str) -> str | None:
        """A key of the stack's configuration in the clear; None where it is not set."""

    def state(self) -> Document:
        """The state as it is now."""

    def replace_state(self, document: Document) -> None:
        """Write the state anew; the engine refuses that while an update runs."""


@dataclass(frozen=True, slots=True)
class Stray:
    """One object that bears the network's mark: ``label`` is what the provider's console shows,
    ``where`` its region and address, ``node`` and ``resource`` whose it is by its mark."""

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
    """Account and state of a network, which bears ``identity`` there, None where it has none yet.

    ``strays`` are in the account alone. ``begun`` are so too, and the state says that an update
    began to make them: the next one takes them on. ``missing`` are in the state alone;
    ``elsewhere`` says that nothing of the state is in the account. ``removed`` are ids that are
    gone by now, ``kept`` the reasons why others were to go and stayed.
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
    """The account at a provider that a stack lives in.

    ``provider`` is what the provider calls itself. ``no_identity`` says what it means that a state
    has no identity, ``elsewhere`` what to do where nothing of it is in the account.
    """

    provider: str
    no_identity: str
    elsewhere: str

    def __init__(self, stack: StackState) -> None: ...

    def compare(self) -> Compared:
        """Account and state as they are now."""

    def remove(self, found: Compared, say: Callable[[str], None]) -> Compared:
        """Delete what may go of what was found, and tell what is gone and what stays."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """One object that another resource stands for from now on: the resource's name, what the object
    is, its id at the provider, and the mark that it is to bear."""

    name: str
    what: str
    id: str
    mark: str


@dataclass(frozen=True)
class StateToBe:
    """``document`` is the state afterwards. ``notes`` are what else becomes of the old one's
    resources, ``warnings`` what somebody has to look at."""

    document: Document
    objects: tuple[Adopted, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


class StackAdoption(Protocol):
    """What moves a stack to the present way of making a provider's resources.

    ``provider`` is what the provider calls itself, ``former`` and ``present`` are the two ways.
    """

    provider: str
    former: str
    present: str

    def __init__(self, stack: StackState) -> None: ...

    @staticmethod
    def is_left(document: Document) -> bool:
        """Whether a state has something of the former way."""

    def prepare(self, document: Document) -> StateToBe:
        """The state to be; nothing is changed by that."""

    def mark(self) -> int:
        """Write the marks into the objects, once the state is written; how many there are."""
