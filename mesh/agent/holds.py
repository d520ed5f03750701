"""Holds: nothing is repaired or applied on this node while somebody works on it by hand. By the
operator's order, or by a command on the node, which needs no registry.

A hold ends by itself. Health checks, drains and blackholes continue.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from mesh.agent import file_paths
from mesh.agent.host import Host
from mesh.trust.documents import MAX_HOLD, HoldOrder
from mesh.trust.encoding import Malformed, dump, parse
from mesh.trust.signing import Signed

COMMAND = f"{file_paths.STATE}/held.json"
"""The last command on the node."""
ORDER = f"{file_paths.STATE}/hold.json"
"""The operator's order, as the agent stores it."""
_UNITS = {"s": 1, "m": 60, "h": 3600}


class InvalidDuration(ValueError):
    """The text is no duration of a hold."""


def seconds(text: str) -> int:
    """The seconds of a text such as ``30m``, from one second to four hours. Raises
    :class:`InvalidDuration`."""
    match = re.fullmatch(r"(\d{1,5})([smh])", text)
    found = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= found <= MAX_HOLD:
        raise InvalidDuration("is not between 1s and 4h: a number and s, m or h")
    return found


@dataclass(frozen=True, slots=True)
class Command:
    """The last command on the node: on hold ``until`` then, 0 for no hold; orders up to the number
    ``ended`` do not hold it either."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")
    until: int
    ended: int = 0


class Holds:
    """Whether this node is on hold. ``order`` returns the operator's order, None for none."""

    def __init__(
        self,
        host: Host,
        node: str,
        order: Callable[[], HoldOrder | None],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._node, self._order = host, node, order
        self._clock, self._monotonic = clock, monotonic
        self._first_seen: dict[tuple[str, int], float] = {}

    @property
    def until(self) -> int:
        """When the hold ends, in seconds since the epoch; 0 if the node is not on hold."""
        now, command, order = self._clock(), _last_command(self._host), self._order()
        ends = [self._bounded("command", command.until, now)]
        if order is not None and order.number > command.ended:
            ends.append(self._bounded(f"order {order.number}", order.until(self._node), now))
        end = max(ends)
        return end if end > now else 0

    @property
    def active(self) -> bool:
        """Whether nothing is repaired or applied now."""
        return self.until > 0

    def _bounded(self, by: str, until: int, now: float) -> int:
        """``until``, at most MAX_HOLD after it was first seen: with a wrong clock it might be
        days away."""
        if until <= now:
            return 0
        first_seen = self._first_seen.setdefault((by, until), self._monotonic())
        left = first_seen + MAX_HOLD - self._monotonic()
        return 0 if left <= 0 else min(until, int(now + left))


def hold(host: Host, text: str) -> int:
    """Holds this node for that time; when the hold ends. Raises :class:`InvalidDuration`."""
    until = int(time.time()) + seconds(text)
    _write(host, Command(until, _last_command(host).ended))
    return until


def unhold(host: Host) -> None:
    """Ends every hold of this node, the operator's order as well."""
    _write(host, Command(0, _number(host)))


def _last_command(host: Host) -> Command:
    try:
        return parse(Command, host.read(COMMAND) or b'{"until":0}')
    except (Malformed, OSError):
        return Command(0)


def _number(host: Host) -> int:
    """The number of the stored order, which the agent has verified."""
    try:
        return parse(HoldOrder, parse(Signed, host.read(ORDER) or b"").payload).number
    except Malformed:
        return 0


def _write(host: Host, command: Command) -> None:
    host.path(file_paths.STATE).mkdir(parents=True, exist_ok=True, mode=0o700)
    host.write(COMMAND, dump(command), 0o600)
