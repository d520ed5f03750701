"""What peers say of the way to each other, held against the plan.

BIRD's filters refuse what no plan allows. Two things are left to see here: who said it (a peer that
tells such things is broken, or in other hands), and which ways are taken that only a neighbor
vouches for. Pure: BIRD's words and the plan in, alarms out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from mesh.agent.config import Underlay
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
#     Input filter:   client_in4       (with a node that tells what it serves itself, and no orders)
_CLIENT = re.compile(r"^\s+Input filter:\s+client_in[46]$")
_PROTOCOL = 1002
_UNDERLAY, _MATES = "u_", ("mate4_", "mate6_")
_BLACKHOLE = "(65535,666)"


@dataclass(frozen=True, slots=True)
class Route:
    """A route as BIRD holds it: the session that it came by, the ASNs of its path from the nearest
    on, its next hop and its communities as BIRD prints them, and whether it says that it was
    reflected to whom we have it from (RFC 4456)."""

    prefix: str
    session: str
    path: tuple[int, ...] = ()
    next_hop: str = ""
    communities: str = ""
    reflected: bool = False


def parsed(reply: Reply) -> Iterator[Route]:
    """The BGP routes in what ``show route ... all`` prints; lines that are none are passed over."""
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
    """The plan as this node, ``here``, looks at it: who is who, who owns what, what links cost."""

    here: str
    underlay: Underlay

    @cached_property
    def nodes(self) -> dict[int, str]:
        """Nodes by the ASN that they speak on their tunnels."""
        return {node.asn: node.id for node in self.underlay.nodes}

    @cached_property
    def owners(self) -> dict[str, frozenset[str]]:
        """Who may originate a prefix; several hold the address where members' replies leave."""
        found: dict[str, set[str]] = {}
        for node in self.underlay.nodes:
            for address in node.addresses:
                prefix = f"{address}/{address.max_prefixlen}"
                found.setdefault(prefix, set()).add(node.id)
        return {prefix: frozenset(ids) for prefix, ids in found.items()}

    @cached_property
    def costs(self) -> dict[frozenset[str], int]:
        """What the links of the plan cost, by their two ends."""
        return {frozenset(link.ends): link.cost for link in self.underlay.links}

    @cached_property
    def _mates(self) -> dict[str, str]:
        return {node.id.replace("-", "_"): node.id for node in self.underlay.nodes}

    def mate(self, session: str) -> str | None:
        """Whom a session of the mesh is with; None for other sessions."""
        for prefix in (_UNDERLAY, *_MATES):
            if session.startswith(prefix):
                return self._mates.get(session.removeprefix(prefix))
        return None

    def session(self, mate: str) -> str:
        """Our session with a peer on the tunnel to it."""
        return _UNDERLAY + mate.replace("-", "_")

    def way(self, path: Iterable[int]) -> tuple[str, ...] | None:
        """The nodes of a path; None where an ASN is nobody's."""
        ways = [self.nodes.get(asn) for asn in path]
        return None if None in ways else tuple(way for way in ways if way is not None)

    def cost(self, way: tuple[str, ...]) -> int | None:
        """What a way from here costs by the plan; None where the plan lacks one of its links."""
        links = zip((self.here, *way), way, strict=False)
        costs = [self.costs.get(frozenset(link)) for link in links]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


Charge = tuple[str, str]
"""Against whom, and of what kind."""


def violations(
    refused: Iterable[Route], known: PlannedRouting, clients: Collection[str] = ()
) -> dict[Charge, Alarm]:
    """What peers said that no honest peer says, an example of each kind: a peer has the same
    filters, and hands on nothing that they refuse. A path that is only too long is honest: the way
    around many cut tunnels. ``clients`` are our sessions with clients of ours."""
    found: dict[Charge, Alarm] = {}
    for route in refused:
        if (alarm := _violation(route, known, clients)) is not None:
            found.setdefault((alarm.mate, alarm.kind), alarm)
    return found


def _violation(route: Route, known: PlannedRouting, clients: Collection[str]) -> Alarm | None:
    mate = known.mate(route.session)
    if mate is None:
        return None
    if not route.session.startswith(_UNDERLAY):
        if _BLACKHOLE in route.communities:
            # Of reflectors it depends on what the operator has signed (`orders`); a client that is
            # honest tells of none at all.
            return Alarm(mate, "order", route.prefix) if route.session in clients else None
        hop = f", served at {route.next_hop}" if route.next_hop else ""
        return Alarm(mate, "service", f"{route.prefix}{hop}"[:200])
    if route.prefix not in known.owners:
        return Alarm(mate, "prefix", route.prefix)
    way = known.way(route.path)
    said = " ".join(way or map(str, route.path[:16]))
    if way is None or known.cost(way) is None:
        return Alarm(mate, "link", f"{route.prefix} by {said}"[:200])
    if way[-1:] and way[-1] not in known.owners[route.prefix]:
        return Alarm(mate, "owner", f"{route.prefix} by {said}"[:200])
    return None


Order = tuple[str, str]
"""Who tells that something is to be discarded, and which prefix."""


def orders(
    routes: Iterable[Route], known: PlannedRouting, clients: Collection[str] = ()
) -> frozenset[Order]:
    """The orders that reflectors tell of, and who is to answer for each: those who tell it as their
    own; where nobody does, those who pass it on (who invents one may call it passed on)."""
    own: dict[str, set[str]] = {}
    passed: dict[str, set[str]] = {}
    for route in routes:
        mate = known.mate(route.session)
        if mate is None or route.session.startswith(_UNDERLAY) or route.session in clients:
            continue
        if _BLACKHOLE in route.communities:
            (passed if route.reflected else own).setdefault(route.prefix, set()).add(mate)
    return frozenset((mate, prefix) for prefix, told in (passed | own).items() for mate in told)


def clients(reply: Reply) -> frozenset[str]:
    """Our sessions with nodes that tell no orders, in what ``show protocols all`` prints: clients
    of ours, and where we are no reflector, others that are none."""
    found: set[str] = set()
    session = ""
    for code, line in reply.lines:
        if code == _PROTOCOL and line[:1].strip():
            session = line.split()[0]
        elif _CLIENT.match(line):
            found.add(session)
    return frozenset(found)


def floods(reply: Reply, known: PlannedRouting) -> dict[Charge, Alarm]:
    """Peers that have said more than BIRD listens to, in what ``show protocols all`` prints: a
    channel stays blocked until its session is a new one."""
    found: dict[Charge, Alarm] = {}
    session = ""
    for code, line in reply.lines:
        if code == _PROTOCOL and line[:1].strip():
            session = line.split()[0]
        mate = known.mate(session)
        if mate is not None and (limit := _HIT.match(line)):
            told = f"over {limit['number']} routes in {session}"
            found[mate, "flood"] = Alarm(mate, "flood", told)
    return found


@dataclass(frozen=True, slots=True)
class TransitPath:
    """A way that leads to its last node through others. ``odd``: our own session with that node is
    up, on a tunnel that is nearer by the plan."""

    nodes: tuple[str, ...]
    odd: bool


def transit_paths(
    best: Iterable[Route], known: PlannedRouting, up: Collection[str]
) -> dict[str, TransitPath]:
    """Of the routes in use those that lead through others, by prefix; ``up`` are our sessions that
    are established."""
    found: dict[str, TransitPath] = {}
    for route in best:
        nodes, owners = known.way(route.path), known.owners.get(route.prefix, frozenset())
        # The address where replies leave is each edge's, so that its route says nothing of one.
        if not route.session.startswith(_UNDERLAY) or not nodes or owners != {nodes[-1]}:
            continue
        if len(nodes) > 1:
            direct, around = known.cost(nodes[-1:]), known.cost(nodes)
            nearer = direct is not None and (around is None or direct < around)
            found[route.prefix] = TransitPath(nodes, nearer and known.session(nodes[-1]) in up)
    return found


class Lasting(Generic[K]):
    """What stays: seen for ``after`` seconds, and never away for more than ``gap`` of them."""

    def __init__(self, after: float, gap: float = 0.0) -> None:
        self._after, self._gap = after, gap
        self._seen: dict[K, tuple[float, float]] = {}

    def since(self, key: K) -> float:
        """When something was seen first, of what is not forgotten."""
        return self._seen[key][0]

    def forget_all_but(self, found: Collection[K]) -> None:
        """What is not seen now was not seen at all."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in found}

    def has(self, found: Collection[K], now: float) -> frozenset[K]:
        """Those that stay; ``now`` is monotonic seconds."""
        kept = {k: s for k, s in self._seen.items() if k in found or now - s[1] <= self._gap}
        kept |= {key: (kept[key][0] if key in kept else now, now) for key in found}
        self._seen = kept
        return frozenset(key for key, (first, last) in kept.items() if last - first >= self._after)
