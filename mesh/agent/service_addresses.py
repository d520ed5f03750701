"""The service addresses that the node serves: begun, ended, and restored after changes.

How that is done is the system's (:class:`mesh.agent.network.Network`); "bound" below is Debian's
word for it.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.agent import log
from mesh.agent.config import Config
from mesh.agent.host import CommandFailed
from mesh.agent.network import Network
from mesh.agent.repairs import Repairs

INTERFACE = 10.0
"""Seconds between two looks at the interface itself, unless the kernel notifies of a change."""
RETRY = 2.0
"""Seconds until a failed binding is tried again."""


class ServiceAddresses:
    """The service addresses that the agent has bound. ``changed`` is called when they change, or
    why they cannot. One thread at a time may change them."""

    def __init__(self, network: Network, repairs: Repairs, changed: Callable[[], None]) -> None:
        self._network, self._repairs, self._changed = network, repairs, changed
        self._config: Config | None = None
        self.bound: frozenset[str] = frozenset()
        self.missing: frozenset[str] = frozenset()
        """Addresses that somebody else has unbound during a hold."""
        self._askable: frozenset[str] = frozenset()
        self.failure = ""
        """Why the last change of the interface failed."""

    @property
    def present(self) -> frozenset[str]:
        """Bound addresses that are on the interface."""
        return self.bound - self.missing

    @property
    def look_every(self) -> float:
        """Seconds between two looks at the interface."""
        return RETRY if self.failure else INTERFACE

    def watch(self, config: Config) -> frozenset[str]:
        """Uses this configuration from now on. Returns the addresses on the interface."""
        found = self._seen(config.interface)
        earlier = frozenset() if self._config is None else _addresses(self._config)
        self._config = config
        self.bound = found & (_addresses(config) | earlier)
        return found

    def askable(self) -> frozenset[str]:
        """The addresses at which this node's own instances can be asked. A generation of an earlier
        version has them nowhere while they are not served."""
        try:
            self._askable = self._network.addresses(self._network.always) or frozenset()
        except CommandFailed as error:
            log.warning("presence", reason=error)
        return self._askable

    def has_more_askable(self) -> bool:
        """Whether some have become so since :meth:`askable`."""
        own = frozenset() if self._config is None else _local(self._config)
        before = self._askable
        return not own <= before and bool((self.askable() - before) & own)

    def bind(self, wanted: frozenset[str]) -> None:
        """Binds these addresses and unbinds all others, in one go."""
        if self._config is None:
            return
        interface = self._config.interface
        if wanted == self.bound:
            return
        refusal = self._network.serve(interface, wanted - self.bound, self.bound - wanted)
        before, self.bound = self.bound, wanted
        if refusal:
            # Some of it may have succeeded.
            self.bound = before
            self.bound = self._seen(interface) & _addresses(self._config)
        if refusal and refusal != self.failure:
            log.warning("bind", reason=refusal)
        if (self.bound, refusal) != (before, self.failure):
            self._changed()
        self.failure = refusal

    def look(self, wanted: frozenset[str]) -> bool:
        """Compares what is served with the bound addresses: those that others have changed are
        bound or unbound by the next :meth:`bind`, if :mod:`mesh.agent.repairs` allows it. False if
        nothing can be served, or there is no configuration."""
        if self._config is None:
            return False
        interface = self._config.interface
        read = self._network.served(interface)
        if read is None:
            # Its unit brings it back; the addresses are bound again then.
            if self.bound:
                self.bound = frozenset()
                self._changed()
            return False
        actual = read & _addresses(self._config)
        # An address in the wanted state counts as ours, whoever changed it.
        self.bound = (self.bound | (actual & wanted)) - (self.bound - actual - wanted)
        found = [(address, "is missing") for address in self.bound - actual]
        found += [(address, "is bound, and not by the agent") for address in actual - self.bound]
        for address, why in sorted(found):
            what = self._network.named(address, interface)
            # Always, except on hold: traffic to an announced address would be lost.
            if self._repairs.allows(what, why, always=True):
                self._repairs.record(what, why)
                self.bound ^= {address}
        self.missing = self.bound - actual
        return True

    def _seen(self, interface: str) -> frozenset[str]:
        """The bound addresses; those of the last look if they cannot be listed."""
        try:
            return self._network.served(interface) or frozenset()
        except CommandFailed as error:
            log.warning("presence", reason=error)
            return self.bound


def _addresses(config: Config) -> frozenset[str]:
    return frozenset(str(a) for service in config.services for a in service.addresses)


def _local(config: Config) -> frozenset[str]:
    return frozenset(str(a) for each in config.services if each.local for a in each.addresses)
