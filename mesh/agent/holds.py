"""Holds: for a while nothing is repaired and nothing applied on this node, for somebody works on it
by hand. By the operator's order, or by a command on the node that asks no registry.

A hold ends by itself. It stops nothing else: checks go on, and so do drains and blackholes.
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

PLACE = f"{file_paths.STATE}/held.json"
"""What the commands on the node have said last."""
ORDER = f"{file_paths.STATE}/hold.json"
"""The operator's order, as the agent keeps it."""
_UNITS = {"s": 1, "m": 60, "h": 3600}


class NoTime(ValueError):
    """What was asked for is no time for which a node can be held."""


def seconds(text: str) -> int:
    """The seconds of a text such as ``30m``: from one second to four hours. :class:`NoTime`."""
    match = re.fullmatch(r"(\d{1,5})([smh])", text)
    found = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= found <= MAX_HOLD:
        raise NoTime("is not between 1s and 4h: a number and s, m or h")
    return found


@dataclass(frozen=True, slots=True)
class Said:
    """The last command on the node: held ``until`` then, 0 for no longer; an order up to the number
    ``ended`` holds it no more."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")
    until: int
    ended: int = 0


class Holds:
    """Whether this node is held. ``order`` is the operator's that counts, None where there is
    none."""

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
        self._heard: dict[tuple[str, int], float] = {}

    @property
    def until(self) -> int:
        """When the hold ends, seconds since the epoch; 0 where the node is not held."""
        now, said, order = self._clock(), _said(self._host), self._order()
        ends = [self._bounded("command", said.until, now)]
        if order is not None and order.number > said.ended:
            ends.append(self._bounded(f"order {order.number}", order.until(self._node), now))
        end = max(ends)
        return end if end > now else 0

    @property
    def active(self) -> bool:
        """Whether nothing is repaired or applied now."""
        return self.until > 0

    def _bounded(self, by: str, until: int, now: float) -> int:
        """By a clock that is wrong, or that is put right meanwhile, it may be for days: it is not
        from when we heard of it."""
        if until <= now:
            return 0
        heard = self._heard.setdefault((by, until), self._monotonic())
        left = heard + MAX_HOLD - self._monotonic()
        return 0 if left <= 0 else min(until, int(now + left))


def hold(host: Host, text: str) -> int:
    """Holds this node for so long from now on; until when. :class:`NoTime`."""
    until = int(time.time()) + seconds(text)
    _write(host, Said(until, _said(host).ended))
    return until


def unhold(host: Host) -> None:
    """Ends every hold of this node, the operator's order as well."""
    _write(host, Said(0, _number(host)))


def _said(host: Host) -> Said:
    try:
        return parse(Said, host.read(PLACE) or b'{"until":0}')
    except (Malformed, OSError):
        return Said(0)


def _number(host: Host) -> int:
    """Of the order that the agent holds. It has verified the order; a wrong number here ends less,
    or nothing."""
    try:
        return parse(HoldOrder, parse(Signed, host.read(ORDER) or b"").payload).number
    except Malformed:
        return 0


def _write(host: Host, said: Said) -> None:
    host.path(file_paths.STATE).mkdir(parents=True, exist_ok=True, mode=0o700)
    host.write(PLACE, dump(said), 0o600)
