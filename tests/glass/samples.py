"""Networks, snapshots and answers as a glass has them, for its tests and for benches of its pages.

Two networks: the production stack with its four nodes, and one of sixteen nodes round the world.
All times are seconds of one fixed moment, :data:`NOW`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import combinations
from math import asin, cos, radians, sin, sqrt
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from mesh.glass.answers import (
    Answer,
    Community,
    Hop,
    NodeAnswer,
    Refused,
    Route,
    Routes,
    Served,
    Way,
)
from mesh.glass.network import Aggregate, Link, Network, Node, Region, Service, Upstream
from mesh.glass.snapshot import (
    Cache,
    Channel,
    CheckResult,
    Discarded,
    Generation,
    Session,
    Snapshot,
    Tunnel,
    Versions,
)
from mesh.trust.documents import (
    Alarm,
    Down,
    Health,
    Hearsay,
    Refusal,
    Repair,
    Repairs,
)

T = TypeVar("T")
NOW = 1_790_000_000.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

_FAMILIES: tuple[Literal["ipv4", "ipv6"], ...] = ("ipv4", "ipv6")

_CITIES = {
    "lax": ("Los Angeles", (33.94, -118.41)),
    "ord": ("Chicago", (41.98, -87.90)),
    "mia": ("Miami", (25.79, -80.29)),
    "ewr": ("New York", (40.69, -74.17)),
    "sea": ("Seattle", (47.45, -122.31)),
    "gru": ("São Paulo", (-23.43, -46.47)),
    "lhr": ("London", (51.47, -0.45)),
    "ams": ("Amsterdam", (52.31, 4.76)),
    "fra": ("Frankfurt", (50.03, 8.56)),
    "waw": ("Warsaw", (52.17, 20.97)),
    "jnb": ("Johannesburg", (-26.13, 28.24)),
    "bom": ("Mumbai", (19.09, 72.87)),
    "sin": ("Singapore", (1.36, 103.99)),
    "nrt": ("Tokyo", (35.77, 140.39)),
    "syd": ("Sydney", (-33.95, 151.18)),
    "akl": ("Auckland", (-37.01, 174.78)),
}
_NAMES = {
    "20473:17": "Vultr: learned in Los Angeles",
    "20473:200": "Vultr: public peer",
    "20473:300": "Vultr: private peer",
    "20473:4000": "Vultr: customer",
    "65535:0": "graceful shutdown",
    "65535:666": "blackhole",
}


def _node(number: int, city: str, roles: tuple[str, ...], take: Literal["none", "full"]) -> Node:
    low, high = number * 8 - 7, number * 8
    upstreams = (
        Upstream("vultr4", "ipv4", 64515, "provider", take),
        Upstream("vultr6", "ipv6", 64515, "provider", take),
    )
    return Node(
        id=f"{city}-vultr-1",
        region=city,
        provider="vultr",
        roles=roles,
        asn=4_200_000_000 + number,
        tunnel=(ip_address(f"10.10.10.{number}"), ip_address(f"fd00:10:10::{number:x}")),
        announced=(ip_address(f"192.30.120.{low}"), ip_address(f"2620:71:4000::{high}")),
        services=("dns", "web"),
        upstreams=upstreams,
    )


def _km(one: tuple[float, float], other: tuple[float, float]) -> float:
    (a, b), (c, d) = (map(radians, each) for each in (one, other))
    part = sin((c - a) / 2) ** 2 + cos(a) * cos(c) * sin((d - b) / 2) ** 2
    return 12742 * asin(sqrt(part))


def _links(cities: Collection[str], nearest: int) -> tuple[Link, ...]:
    """Tunnels of each city to so many nearest ones, and to the first city."""
    first = next(iter(cities))
    far = {
        pair: _km(_CITIES[pair[0]][1], _CITIES[pair[1]][1])
        for pair in combinations(sorted(cities), 2)
    }
    wanted = {pair for pair in far if first in pair}
    for city in cities:
        own = sorted((pair for pair in far if city in pair), key=far.__getitem__)
        wanted |= {*own[:nearest]}
    ends = sorted((f"{a}-vultr-1", f"{b}-vultr-1", far[a, b]) for a, b in wanted)
    return tuple(Link((one, other), max(1, round(km / 100))) for one, other, km in ends)


def _network(cities: Collection[str], *, nearest: int, take: Literal["none", "full"]) -> Network:
    roles = {0: ("edge", "reflector", "registry")}
    nodes = tuple(
        _node(number, city, roles.get(number - 1, ("edge",)), take)
        for number, city in enumerate(cities, start=1)
    )
    ids = tuple(node.id for node in nodes)
    return Network(
        asn=27218,
        port=8080,
        public=False,
        regions=tuple(Region(city, *_CITIES[city]) for city in cities),
        nodes=nodes,
        links=_links(cities, nearest),
        services=(
            Service("dns", "dns", _addresses(53), tcp=(53,), udp=(53,)),
            Service("web", "web", _addresses(100), tcp=(80, 443)),
        ),
        aggregates=(
            Aggregate(ip_network("192.30.120.0/23"), ids),
            Aggregate(ip_network("2620:71:4000::/48"), ids),
        ),
        communities=_NAMES,
        validators={"rpki1": "192.0.2.53:3323"},
    )


def _addresses(host: int) -> tuple[IPv4Address | IPv6Address, ...]:
    return ip_address(f"192.30.120.{host}"), ip_address(f"2620:71:4000::{host}")


def production() -> Network:
    """The production stack: four nodes, all of them linked."""
    return _network(("lax", "ord", "mia", "ewr"), nearest=3, take="full")


def sixteen() -> Network:
    """Sixteen nodes round the world, on both sides of the 180th meridian."""
    return _network(tuple(_CITIES), nearest=3, take="full")


def peers(network: Network, node_id: str) -> tuple[str, ...]:
    """The nodes that a node has a tunnel to."""
    ends = (link.ends for link in network.links if node_id in link.ends)
    return tuple(sorted(a if b == node_id else b for a, b in ends))


def _tunnel_session(peer: str, asn: int) -> Session:
    counts = dict.fromkeys(_FAMILIES, Channel(14, 12, 2, 9))
    return Session(
        f"u_{peer.replace('-', '_')}", "tunnel", peer, asn, "Established", NOW - 3 * DAY,
        bfd=True, channels=counts,
    )  # fmt: skip


def _upstream_sessions() -> tuple[Session, ...]:
    v4 = Channel(1_012_345, 1_011_912, 433, 2, limit=1_500_000)
    v6 = Channel(231_004, 230_990, 14, 2, limit=400_000)
    return (
        Session("vultr4", "upstream", "vultr", 64515, "Established", NOW - 9 * DAY,
                channels={"ipv4": v4}),
        Session("vultr6", "upstream", "vultr", 64515, "Established", NOW - 2 * HOUR,
                error="Received: Hold timer expired", channels={"ipv6": v6}),
    )  # fmt: skip


def _ibgp(network: Network, node_id: str) -> tuple[Session, ...]:
    channel = Channel(3, 3, 0, 3)
    return tuple(
        Session(f"mate{6 if family == 'ipv6' else 4}_{peer.replace('-', '_')}", "ibgp", peer,
                network.asn, "Established", NOW - 3 * DAY, channels={family: channel})
        for peer in peers(network, node_id)
        for family in _FAMILIES
    )  # fmt: skip


def health(network: Network, node_id: str) -> Health:
    """A node in service, with nothing wrong."""
    upstreams = network.by_id[node_id].upstreams
    prefixes = [each.prefix for each in network.aggregates]
    return Health(
        in_service=True,
        services={"dns": True, "web": True},
        sessions={each.name: "Established" for each in sessions(network, node_id)},
        blackhole=4,
        bird="",
        announced={one.name: (prefix,) for one, prefix in zip(upstreams, prefixes, strict=False)},
        tunnels={},
        faults={},
        clocks={},
        repairs=Repairs(0),
        held=0,
        families={name: {"ipv4": True, "ipv6": True} for name in ("dns", "web")},
    )


def sessions(network: Network, node_id: str) -> tuple[Session, ...]:
    """A node's sessions, all of them Established."""
    asns = {node.id: node.asn for node in network.nodes}
    tunnels = tuple(_tunnel_session(peer, asns[peer]) for peer in peers(network, node_id))
    return (*tunnels, *_ibgp(network, node_id), *_upstream_sessions())


def snapshot(network: Network, node_id: str, **changes: Any) -> Snapshot:
    """A node in order at :data:`NOW`, with fields of the snapshot changed."""
    others = peers(network, node_id)
    value = Snapshot(
        node=node_id,
        at=NOW - 1,
        agent_started=NOW - 9 * DAY,
        bird_started=NOW - 9 * DAY,
        versions=Versions("2.17.6", "9f2c" * 16, "6.12.57+deb13-amd64"),
        generation=Generation(42, 42, "applied"),
        health=health(network, node_id),
        sessions=sessions(network, node_id),
        tunnels=tuple(
            Tunnel(f"wg-{peer}"[:15], peer, NOW - 31, 812_345_678, 91_234_567) for peer in others
        ),
        checks=(
            CheckResult("dns", "dns port 53", "ipv4", 0.0012, True),
            CheckResult("dns", "dns port 53", "ipv6", 0.0011, True),
            CheckResult("web", "http port 80", "ipv4", 0.0047, True),
            CheckResult("web", "http port 80", "ipv6", 0.0049, True),
        ),
        caches=(Cache("rpki1", True, NOW - 2 * DAY),),
        records={"roas4": 512_345, "roas6": 141_002},
        blackholes=(Discarded(ip_address("192.30.121.7"), NOW + 2 * HOUR, "ticket 4711: flood"),),
        discarded_packets=1_204_551,
        prefixes={str(each.prefix): True for each in network.aggregates},
        registries={"https://192.30.120.1:8443": True},
        certificate=NOW + 60 * DAY,
    )
    return replace(value, **changes)


def changed(value: Snapshot, **changes: Any) -> Snapshot:
    """A snapshot with fields of its health changed."""
    return replace(value, health=replace(value.health, **changes))


def drained(network: Network, node_id: str) -> Snapshot:
    """A node that has withdrawn by the operator's order."""
    value = changed(
        snapshot(network, node_id), in_service=False, drain=7, drained=True,
        services={"dns": False, "web": False},
    )  # fmt: skip
    return replace(value, prefixes=dict.fromkeys(value.prefixes, False))


def updating(network: Network, node_id: str) -> Snapshot:
    """A node that has withdrawn by itself before an update."""
    value = changed(
        snapshot(network, node_id), in_service=False, rollout=9, update="draining",
        services={"dns": False, "web": False},
    )  # fmt: skip
    value = replace(value, generation=Generation(41, 42, "pending"))
    return replace(value, prefixes=dict.fromkeys(value.prefixes, False))


def held(network: Network, node_id: str) -> Snapshot:
    """A node on hold, whose generation is behind therefore."""
    value = changed(snapshot(network, node_id), hold=3, held=int(NOW + 40 * MINUTE))
    return replace(value, generation=Generation(41, 42, "pending"))


def troubled(network: Network, node_id: str) -> Snapshot:
    """A node with one tunnel cut, a service down, a repair, an alarm and more."""
    value = snapshot(network, node_id)
    cut = peers(network, node_id)[0]
    down = tuple(
        replace(each, state="Active", since=NOW - 95, error="BFD session down", bfd=False)
        if each.kind == "tunnel" and each.peer == cut else each
        for each in value.sessions
    )  # fmt: skip
    bad = CheckResult("web", "http port 80", "ipv6", 2.0, False, "no answer within 2 s")
    value = replace(value, sessions=down, checks=(*value.checks[:3], bad))
    return changed(
        value,
        services={"dns": True, "web": False},
        families={"dns": {"ipv4": True, "ipv6": True}, "web": {"ipv4": True, "ipv6": False}},
        failures={"web": "http port 80 over IPv6: no answer within 2 s"},
        down={f"u_{cut.replace('-', '_')}": Down("BFD session down", int(NOW - 95))},
        tunnels={f"wg-{cut}"[:15]: "no handshake for 4 minutes"},
        faults={"disk": "No space left on device"},
        clocks={"https://192.30.120.1:8443": 3},
        alarms=(Alarm(cut, "service", "192.30.120.100/32 via 10.10.10.9"),),
        hearsay=(Hearsay(ip_address("192.30.121.9"), cut),),
        refusals=(Refusal("drain", 8, "ab" * 32, "its number is not above 9"),),
        refused={"bogon prefix": 12, "invalid by a ROA": 421},
        repairs=Repairs(
            3, (Repair("/etc/bird/bird.conf", "changed", 2, int(NOW - 240), by="vim (pid 812)"),)
        ),
        withheld={"2620:71:4000::/48": "no healthy instance can be reached over IPv6"},
        warnings={"dns": "the zone example.net expires in 3 days"},
        unconfirmed=None,
    )


def answer(data: Mapping[str, T | str], **asked: str) -> Answer[T]:
    """An answer: each node's data, or as text why there is none."""
    nodes: dict[str, NodeAnswer[T]] = {}
    for name, value in data.items():
        if isinstance(value, str):
            nodes[name] = NodeAnswer(ok=False, took_ms=2000.0, why=value)
        else:
            nodes[name] = NodeAnswer(ok=True, took_ms=38.4, data=value)
    return Answer(asked=asked, at=NOW, nodes=nodes)


def all_well(network: Network) -> Answer[Snapshot]:
    """Every node answers, and is in order."""
    return answer({node.id: snapshot(network, node.id) for node in network.nodes})


def eventful(network: Network) -> Answer[Snapshot]:
    """One node in order, one with troubles, one drained, one held or silent, the rest in order."""
    kinds = (snapshot, troubled, drained)
    found: dict[str, Snapshot | str] = {
        node.id: (kinds[at] if at < len(kinds) else snapshot)(network, node.id)
        for at, node in enumerate(network.nodes)
    }
    found[network.nodes[3].id] = "no answer within 2 s"
    if len(network.nodes) > 4:
        found[network.nodes[4].id] = held(network, network.nodes[4].id)
    return answer(found)


def routes(network: Network, node_id: str) -> Routes:
    """What a node says of 8.8.8.8: two paths in use or not, and one that is refused."""
    other = peers(network, node_id)[0]
    best = Route(
        prefix="8.8.8.0/24", table="internet4", session="vultr4", kind="upstream", peer="vultr",
        used=True, why="the only path of this local preference", since=NOW - 3 * DAY,
        path=(64515, 20473, 15169), nodes=("", "", ""), origin=15169, next_hop="169.254.169.254",
        interface="enp1s0", local_pref=100, med=0,
        communities=(Community("20473:300", _NAMES["20473:300"]), Community("64515:44")),
        rov="valid", aspa="unknown",
    )  # fmt: skip
    longer = replace(
        best, used=False, why="a longer path: 5 ASNs, and the one in use has 3", session="transit4",
        peer="transit-b", path=(64510, 3356, 1299, 2914, 15169), nodes=("",) * 5,
        communities=(), next_hop="192.0.2.9", since=NOW - 2 * MINUTE,
    )  # fmt: skip
    refused = replace(
        best, used=False, why="", refused="invalid by a ROA",
        session="rs1v4", peer="rs1", path=(64501, 64666), nodes=("", ""), origin=64666,
        rov="invalid", aspa="not checked", since=NOW - 20, communities=(),
    )  # fmt: skip
    inside = replace(
        best, table="master4", used=False, why="internal: iBGP loses against eBGP", kind="ibgp",
        session=f"mate4_{other.replace('-', '_')}", peer=other, node=other,
        path=(4_200_000_002, 4_200_000_003), nodes=(other, node_id), next_hop="10.10.10.2",
        interface=f"wg-{other}"[:15], rov="not checked", aspa="not checked",
    )  # fmt: skip
    return Routes(routes=(best, longer, refused, inside))


def routes_everywhere(network: Network) -> Answer[Routes]:
    """All nodes' routes to 8.8.8.8, but for one that is away and one that has none."""
    found: dict[str, Routes | str] = {node.id: routes(network, node.id) for node in network.nodes}
    found[network.nodes[1].id] = Routes(routes=(), notes=("This node has no table internet4.",))
    found[network.nodes[3].id] = "no answer within 2 s"
    return answer(found, **{"for": "8.8.8.8", "node": "all"})


def refused(network: Network, node_id: str) -> Answer[Refused]:
    """The refused routes of a node."""
    bad = replace(routes(network, node_id).routes[2], prefix="203.0.113.0/24")
    more = tuple(
        replace(bad, prefix=f"198.51.{n}.0/24", refused="a bogon prefix") for n in range(100, 130)
    )
    data = Refused(
        counts={"invalid by a ROA": 421, "a bogon prefix": 30}, routes=(bad, *more),
        cut="the first 31 of 451",
    )  # fmt: skip
    return answer({node_id: data}, node=node_id)


def served(network: Network, name: str) -> Answer[Served]:
    """Who serves a service: all but the second node, which takes it from the first."""
    first, second = network.nodes[0].id, network.nodes[1].id
    found: dict[str, Served | str] = {
        node.id: Served(serves={"ipv4": True, "ipv6": True}, taken_from={"ipv4": "", "ipv6": ""})
        for node in network.nodes
    }
    found[second] = Served(
        serves={"ipv4": False, "ipv6": False}, taken_from={"ipv4": first, "ipv6": ""}
    )
    found[network.nodes[3].id] = "no answer within 2 s"
    return answer(found, service=name)


def way(network: Network) -> Answer[Way]:
    """The way from the first node to the last: through the second, and not as planned."""
    first, second, last = network.nodes[0].id, network.nodes[1].id, network.nodes[-1].id
    value = Way(
        planned=(Hop(node=first, cost=0), Hop(node=last, cost=39)),
        in_use=(Hop(node=first, cost=0), Hop(node=second, cost=28), Hop(node=last, cost=12)),
        why=f"the tunnel {first} to {last} is down",
    )
    return answer({first: value}, **{"from": first, "to": last})


def poisoned(value: T, text: str, keep: Collection[str] = ()) -> T:
    """A value with ``text`` in each field, and each key, that holds free text. Fields that are
    named in ``keep``, and those with a fixed set of values, stay."""
    return _poisoned(value, type(value), text, keep)  # type: ignore[no-any-return]


def _poisoned(value: Any, kind: Any, text: str, keep: Collection[str]) -> Any:
    if _is_fixed(kind):
        return value
    if isinstance(value, str):
        return text
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        changes = {
            each.name: _poisoned(getattr(value, each.name), hints[each.name], text, keep)
            for each in dataclasses.fields(value)
            if each.name not in keep
        }
        return replace(value, **changes)
    if isinstance(value, tuple):
        return tuple(_poisoned(each, None, text, keep) for each in value)
    if isinstance(value, dict):
        return _poisoned_dict(value, text, keep)
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _poisoned_dict(value: dict[Any, Any], text: str, keep: Collection[str]) -> dict[Any, Any]:
    fixed = {"ipv4", "ipv6"}
    return {
        key if key in fixed or not isinstance(key, str) else text + str(at): _poisoned(
            each, None, text, keep
        )
        for at, (key, each) in enumerate(value.items())
    }


def _is_fixed(kind: Any) -> bool:
    """Whether a type is a fixed set of values, or that and None."""
    if get_origin(kind) is Literal:
        return True
    return any(get_origin(each) is Literal for each in get_args(kind))
