"""What registries offer this node under our operator's key and it does not follow, for its report.

Only envelopes with our operator's signature come here, and one of each kind per registry: whoever
holds a registry cannot fill a report, and does not hide what another registry offers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from mesh.trust.documents import MAX_REFUSALS, Refusal

What = Literal["manifest", "drain", "blackhole", "hold"]

LAPSE_SECONDS = 30.0
"""A refusal stands as long as the registry goes on offering the same: a line asks again within
7 s (:data:`mesh.agent.registry_client.PATIENCE`)."""


class Refusals:
    """The refusals that stand now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[tuple[What, str], tuple[Refusal, float]] = {}

    def add(self, url: str, refusal: Refusal) -> None:
        """A registry has offered this, and it is refused."""
        with self._lock:
            self._held[refusal.what, url] = (refusal, self._clock())

    def taken(self, what: What, url: str, number: int) -> None:
        """A registry has offered something of that kind that is followed: what it offered before is
        superseded, and so is what others have offered below that number."""
        with self._lock:
            self._held = {
                (kind, where): held
                for (kind, where), held in self._held.items()
                if kind != what or (where != url and held[0].number >= number)
            }

    @property
    def standing(self) -> tuple[Refusal, ...]:
        """Each once, the highest numbers of each kind first."""
        since = self._clock() - LAPSE_SECONDS
        with self._lock:
            found = {
                refusal.digest: refusal for refusal, when in self._held.values() if when >= since
            }
        ranked = sorted(found.values(), key=lambda one: (-one.number, one.what, one.digest))
        return tuple(ranked[:MAX_REFUSALS])
