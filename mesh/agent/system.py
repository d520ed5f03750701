"""What the agent does differently on each operating system, as one value.

:mod:`mesh.agent.systems` has the systems. Nothing else of the agent asks which one it runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from mesh.operating_systems import OperatingSystem

if TYPE_CHECKING:
    from mesh.agent.access import Access
    from mesh.agent.bundle_trial import TrialWatch
    from mesh.agent.daemons import DaemonKind
    from mesh.agent.host import Host
    from mesh.agent.logins import LoginLog
    from mesh.agent.network import Network
    from mesh.agent.undo_timer import UndoTimer
    from mesh.agent.units import Units
    from mesh.bird.client import Bird

Task = Literal["contents", "outside", "snapshot", "witness"]
"""Work of the agent that not every system has, by the name of its thread."""


class Supervisor(Protocol):
    """Who starts the agent again when it has ended or hangs, as the agent sees them."""

    def started(self) -> None:
        """The agent runs."""
        ...

    def beat(self) -> None:
        """The agent does not hang."""
        ...

    def works(self) -> bool:
        """The agent works: the node's withdrawal, if one is on its way, is cancelled. Whether that
        is done; otherwise it is tried again."""
        ...

    def stopping(self) -> None:
        """The agent is about to end."""
        ...


class Hints(Protocol):
    """Notifications of the kernel that something has changed on the node."""

    firewall: str
    """The process that last changed our tables; empty if unknown."""

    def wait(self, seconds: float) -> bool:
        """Waits; whether something has changed within that many seconds."""
        ...

    def forget(self) -> None:
        """Discards the notifications so far, which are about our own changes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The operating system of one node. ``kinds`` are in the order in which changes are applied;
    ``without`` is work that is not done on it."""

    os: OperatingSystem
    host: Host
    bird: Bird
    units: Units
    network: Network
    kinds: tuple[DaemonKind, ...]
    supervisor: Supervisor
    hints: Callable[[], AbstractContextManager[Hints]]
    release: Callable[[], str]
    """The version of the system."""
    access: Access
    logins: LoginLog
    undo_timer: UndoTimer
    install: Callable[[Sequence[str]], None]
    """Installs the packages that these units need. Raises CommandFailed."""
    trial_watch: TrialWatch
    bundle_units: tuple[str, ...]
    """The units beside the agent's that run the bundle, where they run."""
    without: frozenset[Task] = frozenset()

    def kind_of(self, path: str) -> DaemonKind | None:
        """The kind of this file; None if no daemon of ours reads it."""
        return next((kind for kind in self.kinds if kind.has(path)), None)
