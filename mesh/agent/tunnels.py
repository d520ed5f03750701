"""The WireGuard interfaces of this node: those that are missing or have no handshake, and bytes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mesh.agent.config import Config
from mesh.agent.host import Host
from mesh.foreign import printable
from mesh.trust.documents import MAX_ERROR, MAX_TUNNELS
from mesh.trust.encoding import moment

LOOK = 10.0
"""Seconds between two looks: each starts a process."""
PATIENCE = 3.0
"""Seconds for one look."""
STALE = 200
"""Seconds without a handshake after which a tunnel is down: with traffic, as BFD's, keys are
renewed every 120 s, and expire after 180 s (WireGuard's REKEY_AFTER_TIME, REJECT_AFTER_TIME)."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The latest handshake on an interface (seconds since the epoch, 0 for never), and bytes since
    it is there."""

    handshake: int
    received: int
    sent: int


class Tunnels:
    """Watches one node's tunnels."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._wanted: tuple[str, ...] | None = None
        self._problems: dict[str, str] | None = None
        self.traffic: Mapping[str, Traffic] = {}
        """By interface, as last seen; empty if unknown."""
        self._looked = -LOOK

    def watch(self, config: Config) -> None:
        """Uses the interfaces of this configuration from now on."""
        self._wanted, self._looked = config.tunnels, -LOOK

    def problems(self) -> dict[str, str] | None:
        """What is wrong, by interface; None if unknown."""
        now = time.monotonic()
        if self._wanted is not None and now - self._looked >= LOOK:
            self._looked = now
            self._problems = self._look(self._wanted)
        return self._problems

    def _look(self, wanted: Sequence[str]) -> dict[str, str] | None:
        # Each by itself: `dump` has both, and the private keys.
        done = self._host.run("wg", "show", "all", "latest-handshakes", timeout=PATIENCE)
        bytes_ = self._host.run("wg", "show", "all", "transfer", timeout=PATIENCE)
        latest = handshakes(done.out) if done.code == 0 else {}
        moved = transfers(bytes_.out) if bytes_.code == 0 else {}
        self.traffic = {
            name: Traffic(when, *moved.get(name, (0, 0))) for name, when in latest.items()
        }
        return judged(wanted, latest, time.time()) if done.code == 0 else None


def handshakes(text: str) -> dict[str, int]:
    """The latest handshake of each interface (seconds since the epoch, 0 for never) from
    ``wg show all latest-handshakes``: interface, peer's key and time, separated by tabs."""
    rows = [line.split("\t") for line in text.splitlines()]
    return {row[0]: int(row[2]) for row in rows if len(row) == 3 and row[2].isdigit()}


def transfers(text: str) -> dict[str, tuple[int, int]]:
    """Bytes received and sent on each interface, from ``wg show all transfer``: interface, peer's
    key and both numbers, separated by tabs."""
    rows = [line.split("\t") for line in text.splitlines()]
    return {
        row[0]: (int(row[2]), int(row[3]))
        for row in rows
        if len(row) == 4 and row[2].isdigit() and row[3].isdigit()
    }


def judged(wanted: Sequence[str], latest: Mapping[str, int], now: float) -> dict[str, str]:
    """What is wrong with the wanted interfaces; ``now`` is seconds since the epoch. The text does
    not change while the problem lasts."""
    found: dict[str, str] = {}
    for name in wanted[:MAX_TUNNELS]:
        when = latest.get(name)
        if when is None:
            found[name] = "the interface is missing"
        elif when == 0:
            found[name] = "no handshake yet"
        elif now - when > STALE:
            found[name] = f"no handshake since {moment(when)}"
    return {printable(name): reason[:MAX_ERROR] for name, reason in found.items()}
