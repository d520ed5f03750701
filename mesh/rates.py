"""Rate limits for unknown clients.

A client with IPv6 has a whole /64, and many customers have a /48: both are limited, the /48 at
``WIDER`` times the limit of one source.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address
WIDER = 4
Source = tuple[int, int]
"""Length of a prefix, and its bits."""
Sources = Callable[[Address], tuple[Source, ...]]


def networks(address: Address) -> tuple[Source, ...]:
    """The sources of an unknown client, the narrowest first: an IPv4 address, or an IPv6 address's
    /64 and /48."""
    bits = int(address)
    if isinstance(address, IPv4Address):
        return ((32, bits),)
    return ((64, bits >> 64), (48, bits >> 80))


def alone(address: Address) -> tuple[Source, ...]:
    """The source of a planned node: its own address only."""
    return ((address.max_prefixlen, int(address)),)


class Bucket:
    """A token bucket: ``rate`` per second, ``burst`` at once."""

    __slots__ = ("_burst", "_rate", "_seen", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._seen = burst, now

    def has(self, now: float) -> bool:
        """Whether there is a token."""
        self._tokens = min(self._burst, self._tokens + (now - self._seen) * self._rate)
        self._seen = now
        return self._tokens >= 1

    def take(self) -> None:
        """Takes one that is there."""
        self._tokens -= 1


class Rate:
    """Token buckets per source, in a bounded table from which the least recent are dropped."""

    def __init__(
        self,
        rate: float,
        burst: float,
        sources: int = 4096,
        clock: Callable[[], float] = time.monotonic,
        of: Sources = networks,
    ) -> None:
        self._rate, self._burst, self._sources = rate, burst, sources
        self._clock, self._of = clock, of
        self._buckets: OrderedDict[Source, Bucket] = OrderedDict()

    def allows(self, address: Address) -> bool:
        """Takes one token of each source of the address, if all have one."""
        now = self._clock()
        buckets = [self._bucket(one, wide, now) for wide, one in enumerate(self._of(address))]
        while len(self._buckets) > self._sources:
            self._buckets.popitem(last=False)
        granted = all(bucket.has(now) for bucket in buckets)
        if granted:
            for bucket in buckets:
                bucket.take()
        return granted

    def _bucket(self, source: Source, wide: int, now: float) -> Bucket:
        bucket = self._buckets.pop(source, None)
        if bucket is None:
            factor = WIDER if wide else 1
            bucket = Bucket(self._rate * factor, self._burst * factor, now)
        self._buckets[source] = bucket
        return bucket
