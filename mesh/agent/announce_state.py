"""The announce state: whether a node is in service or drains, and the steps of a drain."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.agent import file_paths
from mesh.agent.host import Host
from mesh.bird.client import Ask
from mesh.bird.questions import constant

SHUTDOWN = 5.0
"""Seconds of graceful shutdown (RFC 8326) before a draining node withdraws."""
LINGER = 2.0
"""Seconds after the withdrawal for which the node still serves packets that are on their way."""


@dataclass(frozen=True, slots=True)
class AnnounceState:
    """The state in BIRD's file: whether this node is in service, and whether it drains, that is,
    marks its announcements for graceful shutdown and serves no peer."""

    in_service: bool = False
    draining: bool = False

    def file(self) -> bytes:
        """The file's content."""
        values = (("IN_SERVICE", self.in_service), ("DRAINING", self.draining))
        return "".join(
            f"define {name} = {'true' if value else 'false'};\n" for name, value in values
        ).encode()


def written_state(host: Host) -> AnnounceState:
    """The state in BIRD's file; out of service if there is no file."""
    text = host.read(file_paths.ANNOUNCE) or b""
    return AnnounceState(b"IN_SERVICE = true;" in text, b"DRAINING = true;" in text)


def running_state(ask: Ask) -> AnnounceState:
    """The state that BIRD runs with; its file may differ."""
    return AnnounceState(constant(ask, "IN_SERVICE"), constant(ask, "DRAINING"))


@dataclass(slots=True)
class DrainSequence:
    """The steps of a node that drains, and when BIRD ran with each (monotonic seconds).

    Announcements are marked for graceful shutdown for SHUTDOWN, then withdrawn. After LINGER
    ``done`` is set and the service addresses are unbound.
    """

    leaving: float | None = None
    gone: float | None = None
    done: bool = False

    @property
    def has_begun(self) -> bool:
        """Whether BIRD has run with the first step."""
        return self.leaving is not None or self.gone is not None

    def state(self, now: float, announcing: bool) -> AnnounceState:
        """The state for BIRD now. A node that does not announce skips graceful shutdown."""
        warned = self.leaving is not None and now - self.leaving >= SHUTDOWN
        return AnnounceState(announcing and not warned, draining=True)

    def record(self, state: AnnounceState, now: float) -> None:
        """BIRD runs with this state."""
        if state.in_service:
            self.leaving = now if self.leaving is None else self.leaving
        else:
            self.gone = now if self.gone is None else self.gone

    def is_over(self, now: float) -> bool:
        """Whether LINGER has passed since the withdrawal."""
        return self.gone is not None and now - self.gone >= LINGER
