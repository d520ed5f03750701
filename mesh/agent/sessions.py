"""BGP sessions as the report has them: states, last errors, and what upstreams hear from BIRD."""

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
"""Seconds for one look: a BIRD that hangs must hold up no report. One that takes in a full table
answers between two of its slices, within a fraction of that."""
UP = "Established"

Announced = dict[str, tuple[IPv4Network | IPv6Network, ...]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look has seen; the fields are those of :class:`mesh.trust.documents.Health`."""

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
        """From now on these are the upstream sessions and the aggregates."""
        self._config = config

    def look(self) -> Seen:
        """One look, over one connection; it takes PATIENCE at most."""
        config = self._config
        try:
            with self._bird.asking(PATIENCE) as ask:
                found = sessions(ask("show protocols"))
                announced = None if config is None else _announced(ask, config, found)
        except BirdError as error:
            # What was seen before is not so now.
            self._since.clear()
            return Seen(printable(str(error).removeprefix("bird: "))[:MAX_ERROR])
        states = {name: one.state for name, one in found.items()}
        return Seen("", states, announced, self._down(found, _names(config)))

    def _down(self, found: Mapping[str, Session], first: Iterable[str]) -> dict[str, Down]:
        """Those that are down; upstream sessions first, where there are too many."""
        down = {name: one for name, one in found.items() if one.state != UP}
        now = datetime.now().astimezone()
        # BIRD tells the time of what was today, and the date of what was before: the later of the
        # two that it has told is the closer one.
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
    """What BIRD exports on each upstream session that is Established. A session of which BIRD does
    not say is left out."""
    if config.upstreams is None:
        return None
    told: Announced = {}
    for upstream in config.upstreams:
        if upstream.name not in found or found[upstream.name].state != UP:
            continue
        version = int(upstream.family[-1])
        prefixes = [prefix for prefix in config.aggregates if prefix.version == version]
        said = {prefix: is_exported(ask, upstream.name, prefix) for prefix in prefixes}
        if None not in said.values():
            told[upstream.name] = tuple(prefix for prefix, yes in said.items() if yes)
    return told


def epoch(since: str, now: datetime) -> int:
    """BIRD's time (``iso short``: 14:03:07.123, or 2026-11-27 for what was some 20 hours ago) as
    seconds since the epoch; a date is its first second. 0 where it is neither. ``now`` is local
    time, as BIRD's is."""
    if match := re.fullmatch(r"(\d{2}):(\d{2}):(\d{2})(?:\.\d+)?", since):
        hour, minute, second = (int(part) for part in match.groups())
        when = now.replace(hour=hour, minute=minute, second=min(second, 59), microsecond=0)
        if when > now + timedelta(seconds=2):
            when -= timedelta(days=1)
        return int(when.timestamp())
    try:
        return int(datetime.strptime(since, "%Y-%m-%d").astimezone().timestamp())
    except ValueError:
        return 0
