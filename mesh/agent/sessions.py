"""BGP sessions for the report: states, last errors, and what BIRD announces to upstreams."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network

from mesh.agent.config import Config
from mesh.bird.client import Ask, Bird, BirdError
from mesh.bird.protocols import Session, sessions
from mesh.bird.questions import is_exported
from mesh.foreign import printable
from mesh.trust.documents import MAX_DOWN, MAX_ERROR, Down

PATIENCE = 3.0
"""Seconds for one look: a BIRD that hangs must not delay a report. While it imports a full table it
answers within a fraction of that."""
UP = "Established"

Announced = dict[str, tuple[IPv4Network | IPv6Network, ...]]


@dataclass(frozen=True, slots=True)
class SessionsSnapshot:
    """The sessions at one time; the fields are those of :class:`mesh.trust.documents.Health`."""

    bird: str
    states: dict[str, str] = field(default_factory=dict)
    announced: Announced | None = None
    down: dict[str, Down] = field(default_factory=dict)


class Sessions:
    """Looks at one BIRD's sessions."""

    def __init__(self, bird: Bird) -> None:
        self._bird = bird
        self._config: Config | None = None
        self._since: dict[str, int] = {}

    def watch(self, config: Config) -> None:
        """Uses the upstream sessions and aggregates of this configuration from now on."""
        self._config = config

    def look(self) -> SessionsSnapshot:
        """Queries BIRD over one connection; takes PATIENCE at most."""
        config = self._config
        try:
            with self._bird.asking(PATIENCE) as ask:
                found = sessions(ask("show protocols"))
                announced = None if config is None else _announced(ask, config, found)
        except BirdError as error:
            # The sessions may have changed meanwhile.
            self._since.clear()
            return SessionsSnapshot(printable(str(error).removeprefix("bird: "))[:MAX_ERROR])
        states = {name: one.state for name, one in found.items()}
        return SessionsSnapshot("", states, announced, self._down(found, _names(config)))

    def has_peer(self) -> bool:
        """Whether a session with another node is Established; False if BIRD does not answer."""
        upstreams = frozenset(_names(self._config))
        try:
            states = self._bird.sessions()
        except BirdError:
            return False
        return any(state == UP for name, state in states.items() if name not in upstreams)

    def _down(self, found: Mapping[str, Session], first: Iterable[str]) -> dict[str, Down]:
        """The sessions that are down; upstream sessions first if there are too many."""
        down = {name: one for name, one in found.items() if one.state != UP}
        now = datetime.now().astimezone()
        # BIRD prints a time of today, and a date of earlier days: the later value is more precise.
        self._since = {
            name: max(epoch(one.since, now), self._since.get(name, 0)) for name, one in down.items()
        }
        upstreams = [name for name in first if name in down]
        names = [*upstreams, *(name for name in down if name not in upstreams)]
        return {
            name: Down(printable(down[name].error)[:MAX_ERROR], self._since[name])
            for name in sorted(names[:MAX_DOWN])
        }


def _names(config: Config | None) -> tuple[str, ...]:
    return () if config is None else tuple(each.name for each in config.upstreams or ())


def _announced(ask: Ask, config: Config, found: Mapping[str, Session]) -> Announced | None:
    """The aggregates that BIRD exports on each Established upstream session. A session without an
    answer is left out."""
    if config.upstreams is None:
        return None
    announced: Announced = {}
    for upstream in config.upstreams:
        if upstream.name not in found or found[upstream.name].state != UP:
            continue
        version = int(upstream.family[-1])
        prefixes = [prefix for prefix in config.exports if prefix.version == version]
        exported = {prefix: is_exported(ask, upstream.name, prefix) for prefix in prefixes}
        if None not in exported.values():
            announced[upstream.name] = tuple(prefix for prefix, yes in exported.items() if yes)
    return announced


def epoch(since: str, now: datetime) -> int:
    """BIRD's time (``iso short``: 14:03:07.123, or 2026-11-27 after some 20 hours; both together
    in ``show status``) as seconds since the epoch; a date is its first second. 0 for anything else.
    ``now`` is local time, as BIRD's is."""
    if match := re.fullmatch(r"(\d{2}):(\d{2}):(\d{2})(?:\.\d+)?", since):
        hour, minute, second = (int(part) for part in match.groups())
        when = now.replace(hour=hour, minute=minute, second=min(second, 59), microsecond=0)
        if when > now + timedelta(seconds=2):
            when -= timedelta(days=1)
        return int(when.timestamp())
    try:
        return int(datetime.strptime(since[:19], _FORMS[" " in since]).astimezone().timestamp())
    except (ValueError, OverflowError):
        return 0


_FORMS = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S")
