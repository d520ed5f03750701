"""Concurrency limits for unknown clients."""

from __future__ import annotations

from mesh.rates import WIDER, Source, Sources, networks
from mesh.registry.registry import Address


class ConcurrencyLimit:
    """Limits how many of one source, and in all, are active at the same time."""

    def __init__(self, per_source: int, total: int, of: Sources = networks) -> None:
        self._per_source, self._total, self._of = per_source, total, of
        self._now: dict[Source, int] = {}
        self._all = 0

    @property
    def full(self) -> bool:
        """Whether the total is reached."""
        return self._all >= self._total

    def crowded(self, address: Address) -> Source | None:
        """The narrowest source of this address that has reached its limit, or None."""
        for wide, source in enumerate(self._of(address)):
            if self._now.get(source, 0) >= self._per_source * (WIDER if wide else 1):
                return source
        return None

    def enter(self, address: Address) -> bool:
        """Counts one more, unless a limit is reached; the caller calls ``leave`` later."""
        if self.full or self.crowded(address) is not None:
            return False
        for source in self._of(address):
            self._now[source] = self._now.get(source, 0) + 1
        self._all += 1
        return True

    def leave(self, address: Address) -> None:
        """Counts one less."""
        for source in self._of(address):
            left = self._now[source] - 1
            if left:
                self._now[source] = left
            else:
                del self._now[source]
        self._all -= 1
