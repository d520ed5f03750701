"""The announce state: whether a node is in service or drains, and the steps of a drain."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from mesh.agent import file_paths
from mesh.agent.host import Host
from mesh.bird.client import Ask
from mesh.bird.constants import in_service
from mesh.bird.questions import constant

SHUTDOWN = 5.0
"""Seconds of graceful shutdown (RFC 8326) before a draining node withdraws."""
LINGER = 2.0
"""Seconds after the withdrawal for which the node still serves packets that are on their way, where
the configuration has none."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class AnnounceState:
    """The state in BIRD's file: whether this node is in service, and whether it drains, that is,
    marks its announcements for graceful shutdown and serves no peer. ``prefixes`` are those that
    come and go each by itself, and whether it is in service for each."""

    in_service: bool = False
    draining: bool = False
    prefixes: tuple[tuple[Network, bool], ...] = ()

    @property
    def serving(self) -> frozenset[Network]:
        """The prefixes for which it is in service."""
        return frozenset(prefix for prefix, serves in self.prefixes if serves)

    def constants(self) -> dict[str, bool]:
        """BIRD's constants."""
        own = {"IN_SERVICE": self.in_service, "DRAINING": self.draining}
        return own | {in_service(prefix): serves for prefix, serves in self.prefixes}

    def file(self) -> bytes:
        """The file's content."""
        return _lines(self.constants())


def written_state(host: Host, prefixes: Iterable[Network] = ()) -> AnnounceState:
    """The state in BIRD's file; out of service if there is no file. A prefix that it does not name,
    as in that of an earlier generation, is announced with the node."""
    found = _written(host)
    serves = found.get("IN_SERVICE", False)
    return AnnounceState(
        serves,
        found.get("DRAINING", False),
        tuple((prefix, found.get(in_service(prefix), serves)) for prefix in prefixes),
    )


def running_state(ask: Ask, prefixes: Iterable[Network] = ()) -> AnnounceState:
    """The state that BIRD runs with; its file may differ."""
    return AnnounceState(
        constant(ask, "IN_SERVICE"),
        constant(ask, "DRAINING"),
        tuple((prefix, constant(ask, in_service(prefix))) for prefix in prefixes),
    )


def write_state(host: Host, state: AnnounceState) -> None:
    """Writes BIRD's file. Constants that only another generation reads stay in it: BIRD refuses a
    configuration that names one which is missing."""
    with _WRITING:
        others = {
            name: value and state.in_service
            for name, value in _written(host).items()
            if name not in state.constants()
        }
        _write(host, state.constants() | others)


def written_names(host: Host) -> tuple[str, ...]:
    """The constants in BIRD's file by which something is announced."""
    return tuple(name for name in _written(host) if name.startswith("IN_SERVICE"))


def declare(host: Host, out_of_service: bytes, known: Iterable[Network]) -> None:
    """Adds to BIRD's file the constants that a generation reads, before BIRD is asked about that
    generation: those in its ``out_of_service`` file. For a ``known`` prefix, which the one before
    announces with all others, the node stays in service. What only an earlier generation has read
    counts for nothing."""
    with _WRITING:
        written = _written(host)
        in_force = _read(host.read(file_paths.OUT_OF_SERVICE) or b"")
        stale = _read(out_of_service).keys() - in_force.keys() - AnnounceState().constants().keys()
        found = {name: value for name, value in written.items() if name not in stale}
        serves = found.get("IN_SERVICE", False)
        stays = {in_service(prefix) for prefix in known}
        new = {name: serves and name in stays for name in _read(out_of_service)}
        base = AnnounceState(serves, found.get("DRAINING", False)).constants()
        _write(host, base | new | found)


_WRITING = threading.Lock()
_CONSTANT = re.compile(rb"^define (\w+) = (true|false);$", re.MULTILINE)


def _written(host: Host) -> dict[str, bool]:
    return _read(host.read(file_paths.ANNOUNCE) or b"")


def _write(host: Host, constants: Mapping[str, bool]) -> None:
    """Writes BIRD's file where it differs: at a start of the agent it mostly does not."""
    content = _lines(constants)
    if host.read(file_paths.ANNOUNCE) != content:
        host.write(file_paths.ANNOUNCE, content, 0o644)


def _read(text: bytes) -> dict[str, bool]:
    """The constants in a file."""
    return {name.decode(): value == b"true" for name, value in _CONSTANT.findall(text)}


def _lines(constants: Mapping[str, bool]) -> bytes:
    return "".join(
        f"define {name} = {'true' if value else 'false'};\n" for name, value in constants.items()
    ).encode()


@dataclass(slots=True)
class DrainSequence:
    """The steps of a node that drains, and when BIRD ran with each (monotonic seconds).

    Announcements are marked for graceful shutdown for SHUTDOWN, then withdrawn. After lingering
    ``done`` is set and the service addresses are unbound.
    """

    leaving: float | None = None
    gone: float | None = None
    done: bool = False

    @property
    def has_begun(self) -> bool:
        """Whether BIRD has run with the first step."""
        return self.leaving is not None or self.gone is not None

    def state(
        self, now: float, announcing: bool, prefixes: Iterable[tuple[Network, bool]] = ()
    ) -> AnnounceState:
        """The state for BIRD now. A node that does not announce skips graceful shutdown;
        ``prefixes`` are announced as they are, until the withdrawal."""
        warned = self.leaving is not None and now - self.leaving >= SHUTDOWN
        stays = announcing and not warned
        kept = tuple((prefix, serves and stays) for prefix, serves in prefixes)
        return AnnounceState(stays, draining=True, prefixes=kept)

    def record(self, state: AnnounceState, now: float) -> None:
        """BIRD runs with this state."""
        if state.in_service:
            self.leaving = now if self.leaving is None else self.leaving
        else:
            self.gone = now if self.gone is None else self.gone

    def is_over(self, now: float, linger: float | None = None) -> bool:
        """Whether ``linger`` seconds have passed since the withdrawal."""
        return self.gone is not None and now - self.gone >= _seconds(linger)


def longest(linger: float | None) -> float:
    """Seconds that a drain takes at most, beside BIRD's own time."""
    return SHUTDOWN + _seconds(linger)


def _seconds(linger: float | None) -> float:
    return LINGER if linger is None else linger
