"""Who asks, at which address, and what of it is answered.

Whole answers are for the mesh: at loopback (where SSH's forwards arrive) and at tunnel addresses,
and while the glass is not public at the node's own announced addresses, which the firewall opens to
the mesh alone. What arrives at an announced or service's address of a public glass is answered in
part, whatever its source: who is in a VPC looks like the mesh.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address

from mesh.foreign import printable
from mesh.glass.network import Address, Network, Node
from mesh.glass.questions import Unanswerable, mistake
from mesh.rates import Rate, alone, networks

RATE, BURST = 5.0, 20.0
"""Requests of one source: per second, and at once."""
PEER_RATE, PEER_BURST = 50.0, 200.0
"""Those of a node of the mesh that asks this node alone: each page of another node is one."""
_HOST = re.compile(
    r"^(?:\[(?P<six>[0-9a-fA-F:.]{2,45})\]|(?P<name>[0-9A-Za-z.-]{1,253}))(?::\d{1,5})?$"
)
LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class Access:
    """Who may ask the glass of ``here``, a node of the network."""

    network: Network
    here: Node

    def listens(self) -> tuple[str, ...]:
        """The addresses at which it listens."""
        addresses = [*self.here.tunnel, *self.here.announced]
        if self.network.public:
            addresses += self._served()
        return tuple(dict.fromkeys((*LOOPBACK, *map(str, addresses))))

    def is_inside(self, local: Address) -> bool:
        """Whether this address is the mesh's alone, public or not."""
        return str(local) in LOOPBACK or local in self.here.tunnel

    def is_reduced(self, local: Address) -> bool:
        """Whether what arrives at this address is answered in part."""
        return self.network.public and not self.is_inside(local)

    def is_stranger(self, source: Address, local: Address) -> bool:
        """Whether who asks there is none of the mesh, and would get a whole answer."""
        return not (
            self.is_reduced(local) or source.is_loopback or source in self._mesh or source == local
        )

    def is_peer(self, source: Address) -> bool:
        """Whether who asks is a node of the mesh, by its tunnel address."""
        return source in self._tunnels

    def check_host(self, host: str, reduced: bool) -> None:
        """The Host of a request is this node: a page of another site that makes its own name lead
        here (DNS rebinding) names that site. The public's answers are no secret, and the name of a
        public glass is the operator's. Any port goes: SSH's forwards have their own."""
        found = _HOST.match(host)
        name = "" if found is None else (found["six"] or found["name"]).lower()
        if found is None:
            raise mistake("Host", host, "is no name of a host", "the node's address", 400)
        if not reduced and name not in self._hosts and not self._is_own(name):
            cure = "localhost, or the id or an address of this node"
            raise mistake("Host", host, "is not this node", cure, 421)

    def _is_own(self, name: str) -> bool:
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return str(address) in self.listens()

    def _served(self) -> Iterator[Address]:
        for service in self.network.services:
            if service.name in self.here.services:
                yield from service.addresses

    @cached_property
    def _hosts(self) -> frozenset[str]:
        return frozenset(("localhost", "ip6-localhost", self.here.id.lower()))

    @cached_property
    def _tunnels(self) -> frozenset[Address]:
        return frozenset(address for node in self.network.nodes for address in node.tunnel)

    @cached_property
    def _mesh(self) -> frozenset[Address]:
        return frozenset(self.network.by_address)


class Rates:
    """How often each source may ask. ``is_peer``: nodes of the mesh, whose addresses are near each
    other, are counted one by one."""

    def __init__(self, is_peer: Callable[[Address], bool]) -> None:
        self._lock = threading.Lock()
        self._all = Rate(RATE, BURST, of=lambda each: (alone if is_peer(each) else networks)(each))
        self._peers = Rate(PEER_RATE, PEER_BURST, of=alone)

    def check(self, source: Address, for_a_page: bool) -> None:
        """Counts one request, for a page of another node or of its own; :class:`Unanswerable` where
        there are too many."""
        with self._lock:
            allowed = (self._peers if for_a_page else self._all).allows(source)
        if not allowed:
            raise too_many(source)


def too_many(source: Address) -> Unanswerable:
    """The answer to a source that asks too often."""
    return mistake(
        "source", printable(str(source)), "asks too often",
        f"{RATE:g} requests a second, {BURST:g} at once", 429,
    )  # fmt: skip
