"""Compares the routes of peers with the plan.

BIRD's import policy rejects routes that violate the plan. This module finds the peers that announce
them (broken, or compromised), and the paths in use through other nodes. Pure: BIRD's replies and
the plan in, alarms out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from mesh.agent.config import Underlay
from mesh.bird.protocols import IBGP
from mesh.bird.reply import Reply
from mesh.trust.documents import Alarm

K = TypeVar("K", bound=Hashable)

# Lines of BIRD 2.0, 2.17 and 3.1 (no prefix is repeated for further routes of a net):
#   10.10.10.2/32        unicast [u_mia_vultr_1 16:14:56.177] * (100) [AS4200000002i]
#   	BGP.as_path: 4200000003 4200000002           3.1: bgp_path
_ROUTE = re.compile(r"^(?P<net>[0-9a-f][0-9a-f.:]*/\d+)?\s+\w+ \[(?P<session>\w+) [^\]]*\]")
_ATTRIBUTE = re.compile(
    r"^\s+(?:BGP\.|bgp_)(?P<name>as_path|path|next_hop|community|cluster_list): ?(?P<text>.*)"
)
#     Receive limit:  112 [HIT]
_HIT = re.compile(r"^\s+Receive limit:\s+(?P<number>\d+) \[HIT\]")
#     Input filter:   client_in4       (a client announces its own services, and no orders)
_CLIENT = re.compile(r"^\s+Input filter:\s+client_in[46]$")
_PROTOCOL = 1002
_UNDERLAY = "u_"
_BLACKHOLE = "(65535,666)"


@dataclass(frozen=True, slots=True)
class Route:
    """A route in BIRD: its session, the ASNs of its path from the nearest on, its next hop and its
    communities as BIRD prints them, and whether it was reflected (RFC 4456)."""

    prefix: str
    session: str
    path: tuple[int, ...] = ()
    next_hop: str = ""
    communities: str = ""
    reflected: bool = False


def parsed(reply: Reply) -> Iterator[Route]:
    """The BGP routes in the reply to ``show route ... all``; other lines are ignored."""
    prefix, session, found = "", "", dict[str, str]()
    for _, line in reply.lines:
        if head := _ROUTE.match(line):
            if session:
                yield _route(prefix, session, found)
            prefix, session, found = head["net"] or prefix, head["session"], {}
        elif attribute := _ATTRIBUTE.match(line):
            found[attribute["name"].removeprefix("as_")] = attribute["text"].strip()
    if session:
        yield _route(prefix, session, found)


def _route(prefix: str, session: str, found: Mapping[str, str]) -> Route:
    path = tuple(int(asn) for asn in re.findall(r"\d+", found.get("path", "")))
    hop = found.get("next_hop", "").split()
    return Route(
        prefix,
        session,
        path,
        hop[0] if hop else "",
        found.get("community", ""),
        "cluster_list" in found,
    )


@dataclass(frozen=True)
class PlannedRouting:
    """The plan as seen from the node ``here``: nodes, owners of prefixes, costs of links."""

    here: str
    underlay: Underlay

    @cached_property
    def nodes(self) -> dict[int, str]:
        """Nodes by their underlay ASN."""
        return {node.asn: node.id for node in self.underlay.nodes}

    @cached_property
    def owners(self) -> dict[str, frozenset[str]]:
        """Nodes that may originate a prefix; several own the exit address."""
        found: dict[str, set[str]] = {}
        for node in self.underlay.nodes:
            for address in node.addresses:
                prefix = f"{address}/{address.max_prefixlen}"
                found.setdefault(prefix, set()).add(node.id)
        return {prefix: frozenset(ids) for prefix, ids in found.items()}

    @cached_property
    def costs(self) -> dict[frozenset[str], int]:
        """Costs of the plan's links, by their two ends."""
        return {frozenset(link.ends): link.cost for link in self.underlay.links}

    @cached_property
    def _peers(self) -> dict[str, str]:
        return {node.id.replace("-", "_"): node.id for node in self.underlay.nodes}

    def peer(self, session: str) -> str | None:
        """The peer of a session of the mesh; None for other sessions."""
        for prefix in (_UNDERLAY, *IBGP):
            if session.startswith(prefix):
                return self._peers.get(session.removeprefix(prefix))
        return None

    def session(self, peer: str) -> str:
        """Our underlay session with a peer."""
        return _UNDERLAY + peer.replace("-", "_")

    def nodes_of(self, path: Iterable[int]) -> tuple[str, ...] | None:
        """The nodes of an AS path; None if an ASN is not in the plan."""
        nodes = [self.nodes.get(asn) for asn in path]
        return None if None in nodes else tuple(node for node in nodes if node is not None)

    def cost(self, path: tuple[str, ...]) -> int | None:
        """The cost of a path from here; None if one of its links is not in the plan."""
        links = zip((self.here, *path), path, strict=False)
        costs = [self.costs.get(frozenset(link)) for link in links]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


AlarmKey = tuple[str, str]
"""The peer and the kind of an alarm."""


def violations(
    refused: Iterable[Route], known: PlannedRouting, clients: Collection[str] = ()
) -> dict[AlarmKey, Alarm]:
    """Rejected routes that violate the plan, one alarm per peer and kind: a peer has the same
    import policy, and announces nothing that it rejects. A path that is only too long is no
    violation: it leads around broken tunnels. ``clients`` are our sessions with clients."""
    found: dict[AlarmKey, Alarm] = {}
    for route in refused:
        if (alarm := _violation(route, known, clients)) is not None:
            found.setdefault((alarm.mate, alarm.kind), alarm)
    return found


def _violation(route: Route, known: PlannedRouting, clients: Collection[str]) -> Alarm | None:
    peer = known.peer(route.session)
    if peer is None:
        return None
    if not route.session.startswith(_UNDERLAY):
        if _BLACKHOLE in route.communities:
            # A reflector's order is compared with the operator's (`orders`); a client announces no
            # orders.
            return Alarm(peer, "order", route.prefix) if route.session in clients else None
        hop = f", served at {route.next_hop}" if route.next_hop else ""
        return Alarm(peer, "service", f"{route.prefix}{hop}"[:200])
    if route.prefix not in known.owners:
        return Alarm(peer, "prefix", route.prefix)
    nodes = known.nodes_of(route.path)
    path = " ".join(nodes or map(str, route.path[:16]))
    if nodes is None or known.cost(nodes) is None:
        return Alarm(peer, "link", f"{route.prefix} by {path}"[:200])
    if nodes[-1:] and nodes[-1] not in known.owners[route.prefix]:
        return Alarm(peer, "owner", f"{route.prefix} by {path}"[:200])
    return None


Order = tuple[str, str]
"""A blackhole: the peer that announces it, and the prefix."""


def orders(
    routes: Iterable[Route], known: PlannedRouting, clients: Collection[str] = ()
) -> frozenset[Order]:
    """The blackholes that reflectors announce. The peers that originate one answer for it; without
    an originator those that reflect it, since a forged one may be marked as reflected."""
    own: dict[str, set[str]] = {}
    passed: dict[str, set[str]] = {}
    for route in routes:
        peer = known.peer(route.session)
        if peer is None or route.session.startswith(_UNDERLAY) or route.session in clients:
            continue
        if _BLACKHOLE in route.communities:
            (passed if route.reflected else own).setdefault(route.prefix, set()).add(peer)
    return frozenset((peer, prefix) for prefix, peers in (passed | own).items() for peer in peers)


def clients(reply: Reply) -> frozenset[str]:
    """Our sessions with nodes that are no reflectors, in the reply to ``show protocols all``."""
    found: set[str] = set()
    session = ""
    for code, line in reply.lines:
        if code == _PROTOCOL and line[:1].strip():
            session = line.split()[0]
        elif _CLIENT.match(line):
            found.add(session)
    return frozenset(found)


def floods(reply: Reply, known: PlannedRouting) -> dict[AlarmKey, Alarm]:
    """Peers above their receive limit, in the reply to ``show protocols all``: a channel stays
    blocked until its session restarts."""
    found: dict[AlarmKey, Alarm] = {}
    session = ""
    for code, line in reply.lines:
        if code == _PROTOCOL and line[:1].strip():
            session = line.split()[0]
        peer = known.peer(session)
        if peer is not None and (limit := _HIT.match(line)):
            excess = f"over {limit['number']} routes in {session}"
            found[peer, "flood"] = Alarm(peer, "flood", excess)
    return found


@dataclass(frozen=True, slots=True)
class TransitPath:
    """A path to its last node through others. ``odd``: our own session with that node is up, on a
    tunnel of lower cost."""

    nodes: tuple[str, ...]
    odd: bool


def transit_paths(
    best: Iterable[Route], known: PlannedRouting, up: Collection[str]
) -> dict[str, TransitPath]:
    """The best routes that lead through other nodes, by prefix; ``up`` are our Established
    sessions."""
    found: dict[str, TransitPath] = {}
    for route in best:
        nodes, owners = known.nodes_of(route.path), known.owners.get(route.prefix, frozenset())
        # The exit address is every edge's, so its route shows no path to one of them.
        if not route.session.startswith(_UNDERLAY) or not nodes or owners != {nodes[-1]}:
            continue
        if len(nodes) > 1:
            direct, around = known.cost(nodes[-1:]), known.cost(nodes)
            nearer = direct is not None and (around is None or direct < around)
            found[route.prefix] = TransitPath(nodes, nearer and known.session(nodes[-1]) in up)
    return found


class Lasting(Generic[K]):
    """Keys that are seen for ``after`` seconds, without an interruption of over ``gap`` seconds."""

    def __init__(self, after: float, gap: float = 0.0) -> None:
        self._after, self._gap = after, gap
        self._seen: dict[K, tuple[float, float]] = {}

    def since(self, key: K) -> float:
        """When a remembered key was first seen."""
        return self._seen[key][0]

    def forget_all_but(self, found: Collection[K]) -> None:
        """Forgets the keys that are not in ``found``."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in found}

    def has(self, found: Collection[K], now: float) -> frozenset[K]:
        """Records ``found``; the keys that last. ``now`` is monotonic seconds."""
        kept = {k: s for k, s in self._seen.items() if k in found or now - s[1] <= self._gap}
        kept |= {key: (kept[key][0] if key in kept else now, now) for key in found}
        self._seen = kept
        return frozenset(key for key, (first, last) in kept.items() if last - first >= self._after)
