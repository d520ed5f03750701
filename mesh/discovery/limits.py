"""Bounds on what strangers may ask for."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_network

from mesh.discovery.registry import Address


class Rate:
    """Token buckets per source: ``rate`` per second, ``burst`` at once. An IPv6 source is its
    /64, since a host has all of that. The table is bounded; who was seen longest ago goes."""

    def __init__(
        self,
        rate: float,
        burst: float,
        sources: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._burst, self._sources, self._clock = rate, burst, sources, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: Address) -> bool:
        """Takes one token of this source, if there is one."""
        source, now = _source(address), self._clock()
        tokens, seen = self._buckets.pop(source, (self._burst, now))
        tokens = min(self._burst, tokens + (now - seen) * self._rate)
        granted = tokens >= 1
        self._buckets[source] = (tokens - 1 if granted else tokens, now)
        if len(self._buckets) > self._sources:
            self._buckets.popitem(last=False)
        return granted


class Waiting:
    """How many requests of one source, and of all, may wait at the same time."""

    def __init__(self, per_source: int, total: int) -> None:
        self._per_source, self._total = per_source, total
        self._now: dict[str, int] = {}

    def enter(self, address: Address) -> bool:
        """Takes a place; the caller leaves it again."""
        source = _source(address)
        if self._now.get(source, 0) >= self._per_source or sum(self._now.values()) >= self._total:
            return False
        self._now[source] = self._now.get(source, 0) + 1
        return True

    def leave(self, address: Address) -> None:
        """Gives the place back."""
        source = _source(address)
        left = self._now[source] - 1
        if left:
            self._now[source] = left
        else:
            del self._now[source]


def _source(address: Address) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network(f"{address}/64", strict=False))
    return str(address)
