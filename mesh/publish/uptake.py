"""How far nodes are with one generation, and what an operator has to know of it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mesh.publish.generation import SignedGeneration
from mesh.publish.hold import held_until
from mesh.publish.order import Order
from mesh.publish.order_log import latest
from mesh.publish.outcomes import outcomes
from mesh.publish.progress import ProgressLines
from mesh.publish.recent import is_recent
from mesh.publish.refused import refusal_text, refusing
from mesh.publish.unconfirmed import AwaitedLogin, AwaitedLogins
from mesh.trust.documents import Refusal, Report


@dataclass(frozen=True, slots=True)
class Uptake:
    """The awaited nodes by what they report: ``failed`` with why they rolled back, ``held`` with
    the end of their hold, which is not waited for. Those that refuse the generation or wait for a
    log-in are among ``waiting``."""

    applied: tuple[str, ...]
    failed: Mapping[str, str]
    held: Mapping[str, str]
    waiting: tuple[str, ...]
    refused: Mapping[str, Refusal]
    unconfirmed: Sequence[AwaitedLogin]


class Uptakes:
    """Reads the nodes' reports on one generation, and shows what an operator has to know."""

    def __init__(self, order: Order, made: SignedGeneration, progress: ProgressLines) -> None:
        self._order, self._made, self._progress = order, made, progress
        self._logins = AwaitedLogins(made.manifest.generation)

    def of(self, reports: Sequence[Report], awaited: Collection[str]) -> Uptake:
        """Where the awaited nodes are, by all reports."""
        made = self._made
        outcome = outcomes(list(reports), made.manifest, made.digest)
        applied = tuple(node for node in awaited if outcome.get(node, ("", ""))[0] == "applied")
        failed = {n: outcome[n][1] for n in awaited if outcome.get(n, ("", ""))[0] == "failed"}
        missing = [node for node in awaited if node not in applied and node not in failed]
        unconfirmed = self._logins.of(reports, missing)
        held = _held(reports, set(missing) - {one.node for one in unconfirmed})
        return Uptake(
            applied,
            failed,
            held,
            tuple(node for node in missing if node not in held),
            {n: r for n, r in refusing(reports, made.digest).items() if n in missing},
            unconfirmed,
        )

    def show(self, uptake: Uptake) -> None:
        """Shows the nodes that are held, that refuse the generation, or that wait for a log-in."""
        number = self._made.manifest.generation
        for node, until in uptake.held.items():
            self._progress(
                f"{node}: is held until {until}, and applies generation {number} then "
                f"(mesh unhold {node})"
            )
        for node, refusal in uptake.refused.items():
            self._progress(refusal_text(node, refusal))
        if uptake.unconfirmed:
            self._ask_for_logins(uptake.unconfirmed)

    def _ask_for_logins(self, waiting: Sequence[AwaitedLogin]) -> None:
        """Shows how to confirm a change, and the time left."""
        for one in waiting:
            instance = self._order.instances.get(one.node)
            self._progress(one.text)
            self._progress(f"  {one.command(None if instance is None else instance.placement)}")
        least = max(0.0, min(one.left for one in waiting))
        nodes = ", ".join(one.node for one in waiting)
        self._progress.counting(f"waiting for a log-in to {nodes}", f"{least:.0f} s left")


def _held(reports: Sequence[Report], missing: Collection[str]) -> dict[str, str]:
    """The nodes that report that they are held, and until when: they apply the generation when the
    hold ends."""
    now = time.time()
    return {
        node: until
        for node, report in sorted(latest(reports).items())
        if node in missing and is_recent(report, now) and (until := held_until(report, now))
    }
