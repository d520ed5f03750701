"""What waits on nodes for a log-in, in the words of ``up``: what is taken away, how long there is
still time, and the command that confirms it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.facts import Placement
from mesh.publish.order_log import latest
from mesh.trust.documents import Report, Unconfirmed

SSH = 22


@dataclass(frozen=True, slots=True)
class Waiting:
    """A node that goes back unless somebody logs in within ``left`` seconds."""

    node: str
    change: Unconfirmed
    left: float

    @property
    def words(self) -> str:
        """Which change it is, and what it takes away."""
        return (
            f"{self.node}: generation {self.change.generation} narrows who may log in "
            f"({'; '.join(self.change.lost)}); it is undone unless somebody logs in anew, from "
            f"{', '.join(map(str, self.change.networks))}"
        )

    def command(self, place: Placement | None) -> str:
        """What confirms it, to be run by hand."""
        address = self.node if place is None else place.ipv4 or place.ipv6
        port = next((p for p in self.change.ports), SSH)
        elsewhere = "" if SSH in self.change.ports or port == SSH else f"-p {port} "
        # A connection that is shared with an earlier one shows nothing; and a node that asks for a
        # log-in gets no agent of the operator's (-a).
        return f"ssh -a -o ControlPath=none {elsewhere}{self.change.user}@{address}"


class Waits:
    """Which nodes wait for a log-in to a generation. A node's clock need not be ours: what is left
    is told from its own once, and goes on by this machine's; no node gets more than there is."""

    def __init__(self, generation: int) -> None:
        self._generation = generation
        self._ends: dict[str, float] = {}

    def of(self, reports: Iterable[Report], among: Iterable[str]) -> list[Waiting]:
        """The nodes that wait, by their last words; none whose time has been over for long."""
        words: Mapping[str, Report] = latest(reports)
        found = [self._waiting(words[node]) for node in sorted(among) if node in words]
        return [one for one in found if one is not None]

    def _waiting(self, report: Report) -> Waiting | None:
        change = report.health.unconfirmed
        if change is None or change.generation != self._generation:
            return None
        now = time.monotonic()
        said = report.sequence if report.clock is None else report.clock
        stated = min((change.ends - said) / 10**6, LONGEST)
        left = self._ends.setdefault(report.node, now + stated) - now
        # The node goes back by itself, and tells of it; one that does not is dead.
        return Waiting(report.node, change, left) if left > -GOES_BACK else None


LONGEST = 120.0
"""Seconds for which a node waits for a log-in."""
GOES_BACK = 30.0
"""Seconds that a node gets to go back and to report it."""
