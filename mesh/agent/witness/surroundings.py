"""What a node that examines others knows of them beside its configuration: the ways through its
tunnels, who has which registry, and the gateway of its uplink."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from mesh.agent.config import Config
from mesh.agent.daemons import wireguard
from mesh.agent.host import Host
from mesh.agent.iproute import IpRoute
from mesh.agent.network import Uplink
from mesh.agent.witness.echoes import Way, mtu
from mesh.agent.witness.examination import Gateway, Port, Surroundings, Tunnel


def surroundings(host: Host, config: Config, registries: Iterable[str], own: bool) -> Surroundings:
    """The present ones. ``registries`` are URLs; ``own``: the gateway is wanted as well."""
    tunnels = dict(_tunnels(config))
    ports = {port.host: port for port in map(_port, registries) if port is not None}
    places = {node: _endpoint(host, one.way.interface) for node, one in tunnels.items()}
    return Surroundings(
        tunnels,
        {node: ports[place] for node, place in places.items() if place in ports},
        _gateway(host) if own else None,
    )


def _tunnels(config: Config) -> Iterator[tuple[str, Tunnel]]:
    """The tunnels that are there, by the node at their other end."""
    nodes = () if config.underlay is None else config.underlay.nodes
    owners = {address: node.id for node in nodes for address in node.addresses}
    for mate, interface in zip(config.mates, config.tunnels or (), strict=False):
        with suppress(OSError, KeyError):
            yield owners[mate], Tunnel(Way(interface), mtu(interface))


def _endpoint(host: Host, interface: str) -> str:
    """The main address of the node at the other end of a tunnel, where its registry listens."""
    path = f"/etc/wireguard/{interface}.conf"
    content = host.read(path) or b""
    return next(iter(wireguard.endpoints(path, content.decode("utf-8", "replace"))), "")


def _port(url: str) -> Port | None:
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.hostname is not None and parts.port is not None:
            return Port(parts.hostname, parts.port)
    return None


def _gateway(host: Host) -> Gateway | None:
    found = IpRoute(host).uplink(6)
    mac = b"" if found is None else _mac(host, found)
    if found is None or not mac:
        return None
    return Gateway(Way(found.interface, mac), ip_address(found.address))


def _mac(host: Host, found: Uplink) -> bytes:
    """The gateway's address on the uplink; empty where it has none, or none that is known yet."""
    if found.gateway is None:
        return b""
    place = (found.gateway, "dev", found.interface)
    # The kernel asks for it, unless it has lately: packets that are handed to an interface do not
    # make it ask.
    host.run("ip", "-6", "neighbor", "replace", *place, "use")
    shown = host.run("ip", "-json", "-6", "neighbor", "show", *place)
    with suppress(ValueError, KeyError, IndexError):
        return bytes.fromhex(str(json.loads(shown.out)[0]["lladdr"]).replace(":", ""))
    return b""
