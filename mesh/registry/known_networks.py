"""Whose connections and requests are bounded by what: decided here, and nowhere else, by where a
caller comes from."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from mesh.registry.limits import Source, Sources, alone, networks
from mesh.registry.registry import Address

LIFETIME = 600.0
"""Seconds for which a network is known after a signed request from it."""
PER_SIGNER = 4
"""Networks of one signer's that become known within that time: who has stolen a node's key or a
token is one signer, from however many addresses."""
NETWORKS = 1024
"""Networks of all signers that are known at once."""

Signer = tuple[str, str]
"""Kind and id of who has signed."""


class Priority(Enum):
    """What an address is to a registry. It says nothing about who may do what; it only has places
    that others can't take."""

    PLANNED = "planned"
    """A planned node's, and bounded by itself, whoever its neighbors are."""
    KNOWN = "known"
    """Of a network that may log in to nodes, or that a signed request came from lately: the
    operator may be anywhere, and a node behind other addresses than its planned ones."""
    STRANGER = "stranger"

    @property
    def sources(self) -> Sources:
        """What the addresses of that standing count for."""
        return alone if self is Priority.PLANNED else networks


class KnownNetworks:
    """The standing of every address."""

    def __init__(
        self,
        planned: Callable[[], frozenset[Address]],
        admins: Callable[[], Iterable[IPv4Network | IPv6Network]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._planned, self._admins, self._clock = planned, admins, clock
        # When somebody signed there last, and who did first; the longest ago comes first.
        self._signed: OrderedDict[Source, tuple[float, Signer]] = OrderedDict()
        self._of: dict[Signer, set[Source]] = {}

    def standing(self, address: Address) -> Priority:
        """What this address is now."""
        if address in self._planned():
            return Priority.PLANNED
        seen = self._signed.get(networks(address)[0])
        if seen is not None and self._clock() - seen[0] <= LIFETIME:
            return Priority.KNOWN
        if any(address in network for network in self._admins()):
            return Priority.KNOWN
        return Priority.STRANGER

    def signed(self, signer: Signer, address: Address) -> None:
        """A request with a valid signature of this signer's came from there."""
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
        # It stays his who has signed first: another who signs there uses up nothing of his own.
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
