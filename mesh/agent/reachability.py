"""Which addresses are reachable over tunnels, and whether a node announces the aggregates."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mesh.agent.config import Config
from mesh.agent.host import Host


@dataclass(frozen=True, slots=True)
class Routes:
    """Host routes of the kernel through a tunnel."""

    addresses: frozenset[str]

    @staticmethod
    def parsed(text: str) -> Routes:
        """From ``ip -json route show``."""
        found = (route for route in json.loads(text or "[]") if _by_tunnel(route))
        return Routes(frozenset(str(route["dst"]).split("/")[0] for route in found))

    @staticmethod
    def shown(host: Host) -> Routes:
        """The current ones. Raises :class:`mesh.agent.host.CommandFailed`."""
        found: set[str] = set()
        for family in ("-4", "-6"):
            # A failed command does not mean that there are no routes.
            shown = host.must("ip", "-json", family, "route", "show", "table", "main")
            found |= Routes.parsed(shown).addresses
        return Routes(frozenset(found))


def in_service(config: Config, up: frozenset[str], routes: Routes, before: bool) -> bool:
    """Whether a node announces the aggregates.

    Yes while a healthy instance of some service is reachable: here, or over a tunnel. A plan
    without services counts reachable peers instead, and a node that has no peers is in service
    there. The floor: if peers are reachable and no instance is, the service is down everywhere, and
    a node that announces continues.
    """
    peers = any(str(peer) in routes.addresses for peer in config.mates)
    if not config.services:
        return peers or not config.mates
    reachable = bool(up) or any(
        str(address) in routes.addresses
        for service in config.services
        for address in service.addresses
    )
    return reachable or (before and peers)


def _by_tunnel(route: dict[str, object]) -> bool:
    """Whether one of a route's next hops is a tunnel: only our host routes have one."""
    hops = route.get("nexthops")
    devices = [hop.get("dev") for hop in hops] if isinstance(hops, list) else [route.get("dev")]
    return any(str(device).startswith("wg-") for device in devices)
