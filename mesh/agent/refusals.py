"""Manifests and orders of our operator that registries offer and this node refuses, for its report.

Only envelopes with our operator's signature are reported, one of each kind per registry: a
compromised registry cannot fill a report, or hide what another one offers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from mesh.trust.documents import MAX_REFUSALS, Refusal

What = Literal["manifest", "drain", "blackhole", "hold", "rollout"]

LAPSE_SECONDS = 30.0
"""Seconds after which a refusal is over unless the registry offers the same again: a client asks
again within 7 s (:data:`mesh.agent.registry_client.PATIENCE`)."""


class Refusals:
    """The current refusals."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[tuple[What, str], tuple[Refusal, float]] = {}

    def add(self, url: str, refusal: Refusal) -> None:
        """Adds the refusal of what a registry has offered."""
        with self._lock:
            self._held[refusal.what, url] = (refusal, self._clock())

    def taken(self, what: What, url: str, number: int) -> None:
        """Something of that kind was accepted from a registry: removes the refusal of what it
        offered before, and of what others have offered below that number."""
        with self._lock:
            self._held = {
                (kind, where): held
                for (kind, where), held in self._held.items()
                if kind != what or (where != url and held[0].number >= number)
            }

    @property
    def standing(self) -> tuple[Refusal, ...]:
        """The current refusals, each once, the highest numbers first."""
        since = self._clock() - LAPSE_SECONDS
        with self._lock:
            found = {
                refusal.digest: refusal for refusal, when in self._held.values() if when >= since
            }
        ranked = sorted(found.values(), key=lambda one: (-one.number, one.what, one.digest))
        return tuple(ranked[:MAX_REFUSALS])
