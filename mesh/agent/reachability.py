"""Which addresses are reachable over tunnels, and whether a node announces the aggregates."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from mesh.agent.config import Config
from mesh.agent.network import Network


@dataclass(frozen=True, slots=True)
class Routes:
    """Host routes of the kernel through a tunnel. ``hears`` returns whether an iBGP session is
    Established: without one the node cannot know of other nodes' instances."""

    addresses: frozenset[str]
    hears: Callable[[], bool] = lambda: True

    @staticmethod
    def shown(network: Network, hears: Callable[[], bool]) -> Routes:
        """The current ones. Raises :class:`mesh.agent.host.CommandFailed`."""
        return Routes(network.tunnel_routes(), hears)

    def has_peer(self, config: Config) -> bool:
        """Whether the tunnel address of some peer is reachable."""
        return any(str(peer) in self.addresses for peer in config.mates)


def in_service(
    config: Config, here: frozenset[str], routes: Routes, before: bool, settled: bool
) -> bool:
    """Whether a node announces the aggregates. ``here`` are the service addresses that it holds.

    Yes while in each address family a healthy instance of some service is reachable: here, or over
    a tunnel. A plan without services counts reachable peers instead, and a node that has no peers
    is in service there. The floor: if peers are reachable and no instance is, the service is down
    everywhere, and a node that announces continues; but not where its route reflectors are down,
    since another node may have an instance then. It continues as well, and others begin once they
    have ``settled``, where one family has an instance and the other has none: the aggregates of
    both come and go together, and to withdraw both would take away the one that works.
    """
    peers = routes.has_peer(config)
    served = _served(config, here | routes.addresses)
    if not served:
        return peers or not config.mates
    if all(served.values()):
        return True
    if not any(served.values()):
        return before and peers and routes.hears()
    return (before or settled) and (peers or not config.mates)


def _served(config: Config, reachable: frozenset[str]) -> dict[int, bool]:
    """By IP version, whether some service's address is reachable."""
    addresses = [address for service in config.services for address in service.addresses]
    return {
        version: any(str(a) in reachable for a in addresses if a.version == version)
        for version in {address.version for address in addresses}
    }


def withheld(
    config: Config,
    here: frozenset[str],
    routes: Routes,
    before: Collection[IPv4Network | IPv6Network],
    settled: bool,
) -> dict[IPv4Network | IPv6Network, str]:
    """The prefixes, of those that come and go each by itself, for which a node is not in service,
    with reasons.

    A node is in service for a prefix while every service in it has an instance: here, or over a
    tunnel. ``here`` are the service addresses that it holds. The floor: a service without any
    instance, while peers are reachable, is down everywhere, and withholds nothing that is announced
    (``before``), if the node could know of an instance; nor does it, once a node has ``settled``,
    where another service of the prefix has one. A prefix without services waits for nothing.
    """
    peers = routes.has_peer(config)
    found: dict[IPv4Network | IPv6Network, str] = {}
    for each in config.announced or ():
        missing = [
            name
            for name, addresses in each.services.items()
            if not any(str(a) in here or str(a) in routes.addresses for a in addresses)
        ]
        some = len(missing) < len(each.services)
        kept = peers and (each.prefix in before or (some and settled))
        if missing and not (kept and (some or routes.hears())):
            found[each.prefix] = f"service {', '.join(missing)}: no instance here or reachable"
    return found
