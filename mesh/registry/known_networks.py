"""Which limits apply to a client, decided by its address."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from mesh.rates import Source, Sources, alone, networks
from mesh.registry.registry import Address

LIFETIME = 600.0
"""Seconds for which a network is known after a signed request from it."""
PER_SIGNER = 4
"""Networks of one signer that become known within that time: a stolen key or token is one signer,
from any number of addresses."""
NETWORKS = 1024
"""Networks of all signers that are known at the same time."""

Signer = tuple[str, str]
"""Kind and id of a signer."""


class Priority(Enum):
    """The class of a client's address. It grants no rights, only reserved capacity."""

    PLANNED = "planned"
    """The address of a planned node, limited by itself."""
    KNOWN = "known"
    """In a network that may log in to nodes, or that a signed request came from recently: the
    operator may be anywhere, and a node may use other addresses than its planned ones."""
    STRANGER = "stranger"

    @property
    def sources(self) -> Sources:
        """How addresses of this class are counted."""
        return alone if self is Priority.PLANNED else networks


class KnownNetworks:
    """Knows the class of every address."""

    def __init__(
        self,
        planned: Callable[[], frozenset[Address]],
        admins: Callable[[], Iterable[IPv4Network | IPv6Network]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._planned, self._admins, self._clock = planned, admins, clock
        # The time of the last signed request and the first signer; the oldest comes first.
        self._signed: OrderedDict[Source, tuple[float, Signer]] = OrderedDict()
        self._of: dict[Signer, set[Source]] = {}

    def standing(self, address: Address) -> Priority:
        """The class of this address now."""
        if address in self._planned():
            return Priority.PLANNED
        seen = self._signed.get(networks(address)[0])
        if seen is not None and self._clock() - seen[0] <= LIFETIME:
            return Priority.KNOWN
        if any(address in network for network in self._admins()):
            return Priority.KNOWN
        return Priority.STRANGER

    def signed(self, signer: Signer, address: Address) -> None:
        """Records a request with a valid signature from that address."""
        if address in self._planned():
            return
        network, now = networks(address)[0], self._clock()
        held = self._signed.get(network)
        if held is None or now - held[0] > LIFETIME:
            if self._has_enough(signer, now):
                return
            self._forget(network)
            held = (now, signer)
            self._of.setdefault(signer, set()).add(network)
        # It counts for its first signer only.
        self._signed[network] = (now, held[1])
        self._signed.move_to_end(network)
        if len(self._signed) > NETWORKS:
            self._forget(next(iter(self._signed)))

    def _has_enough(self, signer: Signer, now: float) -> bool:
        own = self._of.get(signer, set())
        for network in [one for one in own if now - self._signed[one][0] > LIFETIME]:
            self._forget(network)
        return len(own) >= PER_SIGNER

    def _forget(self, network: Source) -> None:
        held = self._signed.pop(network, None)
        if held is not None:
            own = self._of[held[1]]
            own.discard(network)
            if not own:
                del self._of[held[1]]
