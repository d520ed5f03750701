"""Limits of connections to a registry, applied at the first packet, before TLS.

Planned nodes, known networks and strangers have places apart, so that however many strangers come,
nodes and operator find theirs. Where a source's own places are all taken, or all that there are,
who comes gets that of the oldest connection on which nothing was signed: of that source, or of who
holds most of them. So an operator whose address nobody knows yet gets in as well, behind whatever
neighbors, and keeps the place as soon as it has signed a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mesh.rates import Bucket, Rate, Source, Sources
from mesh.registry.known_networks import KnownNetworks, Priority, Signer
from mesh.registry.limits import ConcurrencyLimit
from mesh.registry.registry import Address

STRANGERS = 512
PER_STRANGER = 32
"""Connections of strangers: of all, and of one source."""
HANDSHAKES = 200.0
"""New connections of all strangers together, per second: each may cost a millisecond of CPU."""
PER_STRANGER_HANDSHAKES = 4.0
"""The same of one source, after twice as many as it may hold."""
KNOWN = 2048
"""Connections of all known networks."""
PER_KNOWN_HANDSHAKES = 100.0
"""New connections of one known network, per second: others may be behind its address as well."""
MEMBERS = 4096
"""Connections of all planned nodes."""
PER_MEMBER = 128
"""Connections of one planned address, or known network."""
KEPT = 64
"""Connections reserved for one signer."""


@dataclass(eq=False, slots=True)
class Slot:
    """One connection's place. ``cut`` ends the connection at once; ``pool`` is None once another
    connection has the place. ``signer`` is the one that it is reserved for."""

    address: Address
    port: int
    cut: Callable[[], None]
    pool: Pool | None = None
    signer: Signer | None = None


class Connections:
    """The places of one registry. For one thread."""

    def __init__(
        self,
        known: KnownNetworks,
        total: int = STRANGERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.known, self._clock = known, clock
        self._pools = {
            Priority.PLANNED: Pool(PER_MEMBER, MEMBERS, Priority.PLANNED.sources),
            Priority.KNOWN: Pool(PER_MEMBER, KNOWN, Priority.KNOWN.sources),
            Priority.STRANGER: Pool(PER_STRANGER, total, Priority.STRANGER.sources),
        }
        self._handshakes = Bucket(HANDSHAKES, 2 * HANDSHAKES, clock())
        self._own_handshakes = {
            Priority.KNOWN: Rate(PER_KNOWN_HANDSHAKES, 2 * PER_MEMBER, clock=clock),
            Priority.STRANGER: Rate(PER_STRANGER_HANDSHAKES, 2 * PER_STRANGER, clock=clock),
        }
        self._places: dict[tuple[Address, int], Slot] = {}
        self._kept: dict[Signer, dict[Slot, None]] = {}

    def enter(self, address: Address, port: int, cut: Callable[[], None]) -> Slot | None:
        """A place for a new connection, or None where it is refused."""
        standing = self.known.standing(address)
        place = Slot(address, port, cut)
        if not self._may_begin(standing, address) or not self._pools[standing].enter(place):
            return None
        self._places[address, port] = place
        return place

    def leave(self, place: Slot) -> None:
        """Gives a place back; one that has been taken away already is none."""
        if place.pool is not None:
            place.pool.leave(place)
        self._keep_no_more(place)
        if self._places.get((place.address, place.port)) is place:
            del self._places[place.address, place.port]

    def signed(self, signer: Signer, address: Address, port: int) -> None:
        """Records a validly signed request on a connection, whose place is reserved from now on."""
        self.known.signed(signer, address)
        place = self._places.get((address, port))
        if place is None or place.pool is None:
            return
        moved = self._move(place, place.pool, self._pools[self.known.standing(address)])
        if moved or place.signer != signer:
            self._keep(place, place.pool, signer)

    def _move(self, place: Slot, before: Pool, after: Pool) -> bool:
        if after is before:
            return False
        before.leave(place)
        if not after.enter(place):
            before.enter(place)
        return True

    def _keep(self, place: Slot, pool: Pool, signer: Signer) -> None:
        """None is reserved for strangers: stolen tokens could reserve all of them."""
        self._keep_no_more(place)
        if pool is self._pools[Priority.STRANGER]:
            return
        own = self._kept.get(signer, {})
        if len(own) >= KEPT:
            self._keep_no_more(next(iter(own)))
        place.signer = signer
        self._kept.setdefault(signer, {})[place] = None
        pool.keep(place)

    def _keep_no_more(self, place: Slot) -> None:
        """Ends a place's reservation."""
        if place.signer is not None:
            own = self._kept[place.signer]
            del own[place]
            if not own:
                del self._kept[place.signer]
            place.signer = None
            if place.pool is not None:
                place.pool.loosen(place)

    def _may_begin(self, standing: Priority, address: Address) -> bool:
        """Whether a handshake is within its source's budget, and a stranger's within that of
        all."""
        own = self._own_handshakes.get(standing)
        if own is None:
            return True
        if not own.allows(address):
            return False
        if standing is Priority.STRANGER:
            if not self._handshakes.has(self._clock()):
                return False
            self._handshakes.take()
        return True


class Pool:
    """The places of one class of clients."""

    def __init__(self, per_source: int, total: int, of: Sources) -> None:
        self._taken, self._of = ConcurrencyLimit(per_source, total, of), of
        # Those on which nothing was signed, the oldest first, by every source that they count for.
        self._loose: dict[Source, dict[Slot, None]] = {}
        self._crowds = SourceCounts()

    def enter(self, place: Slot) -> bool:
        """Gives it a place, if needed one of another connection; False where none is left."""
        while (source := self._taken.crowded(place.address)) is not None:
            if not self._take_from(source):
                return False
        if self._taken.full and not self._take_from(self._crowds.largest):
            return False
        self._taken.enter(place.address)
        place.pool = self
        self.loosen(place)
        return True

    def loosen(self, place: Slot) -> None:
        """Who comes may take it, and sooner those that were so before."""
        sources = self._of(place.address)
        if place in self._loose.get(sources[0], ()):
            return
        for source in sources:
            self._loose.setdefault(source, {})[place] = None
        self._crowds.add(sources[-1])

    def keep(self, place: Slot) -> None:
        """Reserves it."""
        sources = self._of(place.address)
        if place not in self._loose.get(sources[0], ()):
            return
        for source in sources:
            del self._loose[source][place]
            if not self._loose[source]:
                del self._loose[source]
        self._crowds.remove(sources[-1])

    def leave(self, place: Slot) -> None:
        """Frees it."""
        self.keep(place)
        self._taken.leave(place.address)
        place.pool = None

    def _take_from(self, source: Source | None) -> bool:
        loose = None if source is None else self._loose.get(source)
        if not loose:
            return False
        oldest = next(iter(loose))
        self.leave(oldest)
        oldest.cut()
        return True


class SourceCounts:
    """Sources by how many places they hold, so that the largest is found without a search."""

    def __init__(self) -> None:
        self._size: dict[Source, int] = {}
        self._of_size: dict[int, dict[Source, None]] = {}
        self._most = 0

    @property
    def largest(self) -> Source | None:
        """A source with the most places; None without any."""
        return next(iter(self._of_size[self._most])) if self._most else None

    def add(self, source: Source) -> None:
        """Counts one more for a source."""
        self._resize(source, 1)

    def remove(self, source: Source) -> None:
        """Counts one less for a source."""
        self._resize(source, -1)

    def _resize(self, source: Source, by: int) -> None:
        before = self._size.pop(source, 0)
        after = before + by
        if before:
            del self._of_size[before][source]
            if not self._of_size[before]:
                del self._of_size[before]
        if after:
            self._size[source] = after
            self._of_size.setdefault(after, {})[source] = None
        # Sizes change by one: where nobody has the most any more, somebody has one less, or nobody
        # holds any.
        if after > self._most:
            self._most = after
        elif self._most not in self._of_size:
            self._most -= 1
