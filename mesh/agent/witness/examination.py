"""What a node asks to examine another one during a rollout, or itself.

Each question has a name, which the report has in ``seen`` while it is answered:

``tunnel ipv4``, ``tunnel ipv6``
    The tunnel address answers through the tunnel between both nodes, to a packet of its full MTU.
``announced ipv4``, ``announced ipv6``
    The announced address answers, by whichever way this node's routes lead there.
``transit ipv4``, ``transit ipv6``
    The node passes a packet on to a third node's announced address, as it does for a client that
    has come in at it.
``detour ipv4``, ``detour ipv6``
    The same to a third node's tunnel address: that carries the sessions of two nodes whose own
    tunnel is cut.
``registry``
    A new connection to the registry of the node opens.
``uplink ipv6``
    Of the node itself: a packet for a third node's announced address, which it hands to its
    gateway, comes back from there, since this node announces that address, and is passed on. Some
    providers do not send packets back; then it is never seen. In IPv4 the kernel itself drops what
    comes in from its own address (``accept_local``).

How a member's replies leave at an edge is not asked: nobody outside would answer, and a node of
ours drops what comes to its uplink from an announced address.

A third node may change at the same time, or leave, so several are asked, and one that answers is
enough. Pure: configuration and surroundings in, questions out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from mesh.agent.config import Config, Underlay
from mesh.agent.witness.echoes import LEAST, Address, Echo, Way

THIRDS = 3
"""How many third nodes are asked through one node."""
VERSIONS = (4, 6)


@dataclass(frozen=True, slots=True)
class Port:
    """A TCP port that a connection is opened to."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked to know whether ``name`` works at ``node``."""

    node: str
    name: str
    asked: Echo | Port


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The way through a tunnel, and its MTU."""

    way: Way
    mtu: int


@dataclass(frozen=True, slots=True)
class Gateway:
    """The way to the IPv6 gateway, and this node's main address."""

    way: Way
    address: Address


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a node knows of its neighbors beside its configuration: tunnels and registries by node,
    and its own gateway."""

    tunnels: Mapping[str, Tunnel] = field(default_factory=dict)
    registries: Mapping[str, Port] = field(default_factory=dict)
    gateway: Gateway | None = None


@dataclass(frozen=True, slots=True)
class Addresses:
    """A node's own addresses, by version."""

    tunnel: Mapping[int, Address]
    announced: Mapping[int, Address]


def questions(config: Config, around: Surroundings, node: str) -> tuple[Question, ...]:
    """What this node asks about one node; nothing about a node that is not in its plan."""
    if config.underlay is None:
        return ()
    known = addresses(config.underlay)
    if node not in known or config.node not in known:
        return ()
    others = [known[third] for third in thirds(config.underlay, config.node, node)]
    if node == config.node:
        return tuple(_own(node, others, around))
    port = around.registries.get(node)
    return (
        *_direct(node, known[config.node], known[node], around.tunnels.get(node)),
        *_through(node, known[config.node], others, around.tunnels.get(node)),
        *([] if port is None else [Question(node, "registry", port)]),
    )


def _direct(
    node: str, own: Addresses, theirs: Addresses, tunnel: Tunnel | None
) -> Iterator[Question]:
    for version, source in own.tunnel.items():
        if tunnel is not None and version in theirs.tunnel:
            echo = Echo(source, theirs.tunnel[version], tunnel.mtu, tunnel.way)
            yield Question(node, f"tunnel ipv{version}", echo)
        if version in theirs.announced:
            echo = Echo(source, theirs.announced[version])
            yield Question(node, f"announced ipv{version}", echo)


def _through(
    node: str, own: Addresses, others: list[Addresses], tunnel: Tunnel | None
) -> Iterator[Question]:
    if tunnel is None:
        return
    for version, source in own.tunnel.items():
        for name, targets in (
            ("transit", [other.announced.get(version) for other in others]),
            ("detour", [other.tunnel.get(version) for other in others]),
        ):
            for target in targets:
                if target is not None:
                    echo = Echo(source, target, LEAST, tunnel.way)
                    yield Question(node, f"{name} ipv{version}", echo)


def _own(node: str, others: list[Addresses], around: Surroundings) -> Iterator[Question]:
    if (gateway := around.gateway) is None:
        return
    for other in others:
        if 6 in other.announced:
            echo = Echo(gateway.address, other.announced[6], LEAST, gateway.way)
            yield Question(node, "uplink ipv6", echo)


def addresses(underlay: Underlay) -> dict[str, Addresses]:
    """The own addresses of each node. Of a family the first one is the tunnel's, the next one is
    announced; what several nodes hold is an exit of members' replies."""
    held = Counter(address for node in underlay.nodes for address in node.addresses)
    found: dict[str, Addresses] = {}
    for node in underlay.nodes:
        own = {
            version: [a for a in node.addresses if a.version == version and held[a] == 1]
            for version in VERSIONS
        }
        found[node.id] = Addresses(
            {version: some[0] for version, some in own.items() if some},
            {version: some[1] for version, some in own.items() if len(some) > 1},
        )
    return found


def thirds(underlay: Underlay, here: str, node: str) -> list[str]:
    """The nodes that are asked through ``node``: some of its neighbors, always the same ones."""
    neighbors = {end for link in underlay.links if node in link.ends for end in link.ends}
    chosen = sorted(
        neighbors - {here, node}, key=lambda one: sha256(f"{here} {node} {one}".encode()).digest()
    )
    return chosen[:THIRDS]
