"""Manifests and orders that registries offer: verified, and stored or refused.

Orders are applied at once: they wait for no generation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from mesh.agent import log
from mesh.agent.announce import Announcer
from mesh.agent.blackholes import Blackholes
from mesh.agent.refusals import Refusals, What
from mesh.agent.seed import Seed
from mesh.agent.state import Forged, Rejected, State, stated_number, verified, verified_order
from mesh.agent.witness.witness import Witness
from mesh.trust.documents import MAX_REFUSAL_REASON, Refusal
from mesh.trust.orders import BLACKHOLE, DRAIN, ROLLOUT, OrderKind
from mesh.trust.signing import Signed

COMPLAINTS = 60.0
"""Seconds until the log repeats that a registry offers what is refused."""


class Offers:
    """Accepts offers of registries. ``higher`` is called after a higher manifest and after a
    rollout order, which may release this node, ``changed`` when the report changes."""

    def __init__(
        self,
        seed: Seed,
        state: State,
        announcer: Announcer,
        blackholes: Blackholes,
        witness: Witness,
        refusals: Refusals,
        higher: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._seed, self._state = seed, state
        self._announcer, self._blackholes, self._refusals = announcer, blackholes, refusals
        self._witness = witness
        self._higher, self._changed = higher, changed
        self._lock = threading.Lock()
        self._logged: dict[tuple[str, str], float] = {}
        """When a refusal was logged last, by kind and registry (monotonic seconds)."""

    def manifest(self, envelope: Signed, url: str) -> int | None:
        """A manifest from a registry. The highest valid one counts, from any registry. Returns its
        number; None if our operator has not signed it."""
        try:
            known = verified(self._seed.operator, envelope)
        except Rejected as error:
            self._refuse("manifest", envelope, url, error)
            return None
        with self._lock:
            try:
                if self._state.accept(known):
                    log.info("manifest", generation=known.number, url=url)
                    # Orders received before the first manifest.
                    self.obey()
                    self._higher()
                self._refusals.taken("manifest", url, known.number)
            except Rejected as error:
                self._refuse("manifest", envelope, url, error)
        return known.number

    def order(self, kind: OrderKind[Any], envelope: Signed, url: str) -> int | None:
        """An order from a registry. Returns its number; None if our operator has not signed it."""
        try:
            ordered = verified_order(self._seed.operator, kind, envelope)
        except Rejected as error:
            self._refuse(kind.key, envelope, url, error)
            return None
        with self._lock:
            try:
                if self._state.accept_order(ordered):
                    log.info(f"{kind.key}-order", number=ordered.number, url=url)
                    self.obey()
                    if kind is ROLLOUT:
                        self._higher()
                self._refusals.taken(kind.key, url, ordered.number)
            except Rejected as error:
                self._refuse(kind.key, envelope, url, error)
        self._changed()
        return ordered.number

    def obey(self) -> None:
        """Applies the highest orders."""
        drain = self._state.obeyed_order(DRAIN)
        if drain is not None:
            self._announcer.drain(self._seed.node in drain.nodes)
        blackhole = self._state.obeyed_order(BLACKHOLE)
        if blackhole is not None:
            self._blackholes.obey(blackhole)
        highest = self._state.highest
        # Nobody waits any more for what is seen during an earlier rollout.
        self._witness.obey(None if highest is None else self._state.rollout_of(highest))

    def _refuse(self, what: What, envelope: Signed, url: str, reason: Rejected) -> None:
        """Reports the refusal if our operator has signed the envelope. Logs it at most once a
        minute: a registry may repeat it for ever."""
        number = stated_number(envelope)
        if not isinstance(reason, Forged):
            stated = f"{reason}; offered by {url}"[:MAX_REFUSAL_REASON]
            # Earlier versions could not read a report with a refused order of these kinds.
            if what != "hold" and what != "rollout":
                self._refusals.add(url, Refusal(what, number, envelope.digest, stated))
            self._changed()
        now = time.monotonic()
        if now - self._logged.get((what, url), -COMPLAINTS) >= COMPLAINTS:
            self._logged[what, url] = now
            event = "manifest" if what == "manifest" else f"{what}-order"
            log.warning(f"{event}-refused", number=number, url=url, reason=reason)
