"""Changes that a log-in has to confirm, as ``up`` shows them: what they take away, the time left,
and the command that confirms them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.facts import Placement
from mesh.publish.order_log import latest
from mesh.trust.documents import Report, Unconfirmed

SSH = 22


@dataclass(frozen=True, slots=True)
class AwaitedLogin:
    """A node that rolls back unless somebody logs in within ``left`` seconds."""

    node: str
    change: Unconfirmed
    left: float

    @property
    def text(self) -> str:
        """The change, and what it takes away."""
        return (
            f"{self.node}: generation {self.change.generation} narrows who may log in "
            f"({'; '.join(self.change.lost)}); it is undone unless somebody logs in anew, from "
            f"{', '.join(map(str, self.change.networks))}"
        )

    def command(self, place: Placement | None) -> str:
        """The command that confirms it, to be run by hand."""
        address = self.node if place is None else place.ipv4 or place.ipv6
        port = next((p for p in self.change.ports), SSH)
        elsewhere = "" if SSH in self.change.ports or port == SSH else f"-p {port} "
        # A connection shared with an earlier one proves nothing. No agent is forwarded (-a): the
        # node may be compromised.
        return f"ssh -a -o ControlPath=none {elsewhere}{self.change.user}@{address}"


class AwaitedLogins:
    """The nodes that wait for a log-in to a generation. The time left is computed once by the
    node's clock, then counted by this machine's, and never more than ``LONGEST``."""

    def __init__(self, generation: int) -> None:
        self._generation = generation
        self._ends: dict[str, float] = {}

    def of(self, reports: Iterable[Report], among: Iterable[str]) -> list[AwaitedLogin]:
        """The nodes that wait, by their last reports, but for those long overdue."""
        last: Mapping[str, Report] = latest(reports)
        found = [self._awaited(last[node]) for node in sorted(among) if node in last]
        return [one for one in found if one is not None]

    def _awaited(self, report: Report) -> AwaitedLogin | None:
        change = report.health.unconfirmed
        if change is None or change.generation != self._generation:
            return None
        now = time.monotonic()
        reported = report.sequence if report.clock is None else report.clock
        stated = min((change.ends - reported) / 10**6, LONGEST)
        left = self._ends.setdefault(report.node, now + stated) - now
        # The node rolls back by itself and reports it; one that does not is dead.
        return AwaitedLogin(report.node, change, left) if left > -ROLLBACK else None


LONGEST = 120.0
"""Seconds for which a node waits for a log-in."""
ROLLBACK = 30.0
"""Seconds that a node gets to roll back and to report it."""
