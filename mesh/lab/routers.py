"""Configurations of the lab's providers, transits and VPC routers: BIRD's, and OpenBGPD's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Network, ip_address, ip_network
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mesh.lab.errors import LabError
from mesh.lab.underlay import (
    PRIVATE_ASNS,
    Neighbor,
    Router,
    Transit,
    Uplink,
    Upstream,
    World,
    ends,
    eui64,
)
from mesh.lab.wiring import TRANSIT_LINK_LOCAL, UPSTREAM_LINK_LOCAL
from mesh.plan.model import Network, UpstreamSession, VpcSession
from mesh.spec.providers import PROVIDERS, Communities

LONGEST = {4: 24, 6: 48}
"""The longest prefix that providers and the Internet take, by IP version."""

INTERNET = tuple(
    map(ip_network, ("192.0.2.0/24", "198.18.0.0/15", "2001:db8:fffe::/48", "2001:2::/48"))
)
"""The rest of the Internet: documentation and benchmark prefixes (RFC 5737, 3849, 2544, 5180)."""

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,
)


def transit_config(world: World, transit: Transit) -> str:
    """bird.conf of a region's transit AS."""
    peers = []
    for box, kilometres in transit.distances:
        other = world.transit(box)
        peers.append(
            {
                "name": symbol("t", other.region),
                "asn": other.asn,
                "address": other.exchange6,
                "kilometres": kilometres,
                # Hot potato: the nearest city that has a route.
                "preference": 50_000 - kilometres,
                # One side connects, so that connections do not collide.
                "passive": other.asn < transit.asn,
            }
        )
    customers = [
        {"name": symbol("u", upstream.provider), "asn": upstream.asn, "port": upstream.port}
        for upstream in world.upstreams
        if upstream.transit == transit.box
    ]
    customers += [
        {"name": symbol("u", each.box), "asn": each.asn, "port": each.port}
        for each in world.neighbors
        if each.transit == transit.box
    ]
    return _templates.get_template("transit.conf.j2").render(
        transit=transit,
        peers=peers,
        customers=customers,
        internet4=[net for net in INTERNET if net.version == 4],
        internet6=[net for net in INTERNET if net.version == 6],
        transit_link_local=TRANSIT_LINK_LOCAL,
        upstream_link_local=UPSTREAM_LINK_LOCAL,
    )


def upstream_config(world: World, upstream: Upstream, passwords: Mapping[str, str] | None) -> str:
    """bird.conf of a provider's router; ``passwords`` by the names in the sessions. Without
    passwords it has no sessions with nodes."""
    nodes = [world.node(node) for node in upstream.nodes]
    bait = ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1", *map(str, world.tunnels.both())]
    for aggregate in world.owned:
        bait += map(str, aggregate.subnets(prefixlen_diff=1))
    return _templates.get_template("upstream.conf.j2").render(
        upstream=upstream,
        asn=world.asn,
        router_id=_router_id(world, upstream),
        nodes=nodes,
        transit=world.transit(upstream.transit),
        actions=_actions(upstream),
        sessions=[
            _session(uplink, session, passwords)
            for uplink in nodes
            for session in uplink.sessions
            if passwords is not None
        ],
        strict_bind=any(session.label for uplink in nodes for session in uplink.sessions),
        account=[(prefix, LONGEST[prefix.version]) for prefix in _account(world, nodes)],
        bait4=[net for net in bait if ":" not in net],
        bait6=[net for net in bait if ":" in net],
        sources=[source for node in nodes for source in node.sources],
        private_asns=PRIVATE_ASNS,
        transit_link_local=TRANSIT_LINK_LOCAL,
        upstream_link_local=UPSTREAM_LINK_LOCAL,
    )


def _account(world: World, nodes: Iterable[Uplink]) -> list[Network]:
    """What the nodes of a provider's router announce."""
    return list(dict.fromkeys(prefix for node in nodes for prefix in world.taken(node)))


def _actions(upstream: Upstream) -> Communities | None:
    """The action communities of a provider that has any."""
    known = PROVIDERS.get(upstream.provider)
    return None if known is None else known.communities


def vpc_config(
    world: World, upstream: Upstream, router: Router, passwords: Mapping[str, str] | None
) -> str:
    """bird.conf of a BGP speaker of a VPC; ``passwords`` by the names in the sessions. Without
    passwords it has no sessions with nodes."""
    sessions = []
    for uplink in map(world.node, upstream.nodes):
        for session, address in zip(uplink.vpc, uplink.routers, strict=True):
            if passwords is not None and address == router.ipv4:
                sessions.append(
                    {
                        "name": session_name(uplink.node, "ipv4"),
                        "neighbor": uplink.main,
                        "multihop": session.multihop,
                        "bfd": session.bfd,
                        "password": _password(session, passwords),
                    }
                )
    return _templates.get_template("vpc.conf.j2").render(
        router=router,
        upstream=upstream,
        vpc=upstream.vpc,
        asn=world.asn,
        aggregates=[prefix for prefix in world.owned if prefix.version == 4],
        sessions=sessions,
        bfd=any(session["bfd"] for session in sessions),
    )


LINK_LOCAL = IPv6Network("fe80::/64")


SPEAKER, SPEAKERS_BIRD, SPEAKER_PORT = "127.0.0.1", "127.0.0.2", 1179
"""Where OpenBGPD and BIRD of one router have their session."""


def speaks_openbgpd(session: UpstreamSession) -> bool:
    """Whether OpenBGPD can have a session of a router: it has no BFD outside OpenBSD, and takes no
    routes with BIRD's next hop on a session of link-local addresses."""
    return not session.bfd and not session.neighbor.is_link_local


def neighbor_config(
    world: World,
    neighbor: Neighbor,
    passwords: Mapping[str, str] | None,
    *,
    openbgpd: bool = False,
) -> str:
    """bird.conf of the router of a session of ``upstreams``; ``passwords`` by the names in the
    sessions. Without passwords it has no sessions with the node; with ``openbgpd`` the router's
    OpenBGPD has those that it can have."""
    theirs = [each for each in neighbor.sessions if openbgpd and speaks_openbgpd(each)]
    own = [each for each in neighbor.sessions if each not in theirs]
    return _neighbor_config(
        "neighbor.conf.j2",
        world,
        neighbor,
        sessions=_neighbor_sessions(neighbor, own, passwords),
        at_openbgpd=_neighbor_sessions(neighbor, theirs, passwords),
        openbgpd=bool(theirs),
        from_node='proto ~ "n_*"' + (' || proto = "openbgpd"' if theirs else ""),
        router_id=_neighbor_id(0xF0000000, neighbor),
    )


def bgpd_config(
    world: World, neighbor: Neighbor, passwords: Mapping[str, str] | None, socket: Path
) -> str:
    """bgpd.conf of the router of a session of ``upstreams``, as :func:`neighbor_config`."""
    return _neighbor_config(
        "bgpd.conf.j2",
        world,
        neighbor,
        sessions=_neighbor_sessions(
            neighbor, filter(speaks_openbgpd, neighbor.sessions), passwords
        ),
        socket=socket,
        router_id=_neighbor_id(0xE0000000, neighbor),
    )


def _neighbor_id(network: int, neighbor: Neighbor) -> object:
    """A router id from a /4 that has no box's address."""
    return ip_address(network | int(neighbor.port[2:], 16) & 0x0FFFFFFF)


def _neighbor_sessions(
    neighbor: Neighbor, sessions: Iterable[UpstreamSession], passwords: Mapping[str, str] | None
) -> list[dict[str, object]]:
    return [
        {
            "name": session_name(neighbor.node, session.family, session.label),
            "family": session.family,
            "local": session.neighbor,
            "neighbor": eui64(LINK_LOCAL, neighbor.node_mac) if own is None else own.ip,
            "gtsm": session.gtsm,
            "bfd": session.bfd,
            "route_server": session.role == "routeServer",
            "blackhole": session.blackhole,
            "password": _password(session, passwords),
        }
        for session in sessions
        for own, _ in [ends(session)]
        if passwords is not None
    ]


def _neighbor_config(
    template: str,
    world: World,
    neighbor: Neighbor,
    sessions: list[dict[str, object]],
    **values: object,
) -> str:
    return _templates.get_template(template).render(
        neighbor=neighbor,
        asn=world.asn,
        sessions=sessions,
        bfd=any(session["bfd"] for session in sessions),
        account=[
            (prefix, LONGEST[prefix.version]) for prefix in world.taken(world.node(neighbor.node))
        ],
        transit=world.transit(neighbor.transit),
        private_asns=PRIVATE_ASNS,
        transit_link_local=TRANSIT_LINK_LOCAL,
        upstream_link_local=UPSTREAM_LINK_LOCAL,
        speaker=SPEAKER,
        bird=SPEAKERS_BIRD,
        port=SPEAKER_PORT,
        **values,
    )


def symbol(kind: str, name: str) -> str:
    """A valid name in BIRD's language."""
    return f"{kind}_{name.replace('-', '_')}"


def session_name(node: str, family: str, label: str = "") -> str:
    """Name of a node's session at its upstream; ``label`` is its name in ``upstreams``."""
    return symbol("n", f"{node}_{label}_{family}" if label else f"{node}_{family}")


def _session(
    uplink: Uplink, session: UpstreamSession, passwords: Mapping[str, str]
) -> dict[str, object]:
    main = uplink.ipv4 if session.family == "ipv4" else uplink.ipv6
    neighbor = session.source or main
    if neighbor is None:
        raise LabError(f"node {uplink.node} has an IPv6 session ({session.name}) and no IPv6")
    return {
        "name": session_name(uplink.node, session.family, session.label),
        "family": session.family,
        "local": session.neighbor,
        "local_asn": session.peer_asn,
        "neighbor": neighbor,
        "multihop": session.multihop or 1,
        "gtsm": session.gtsm,
        "bfd": session.bfd,
        "password": _password(session, passwords),
    }


def _password(session: UpstreamSession | VpcSession, passwords: Mapping[str, str]) -> str | None:
    if session.password is None:
        return None
    password = passwords.get(session.password)
    if not password:
        raise LabError(
            f"mesh:bgpPassword-{session.password} is missing or empty: the provider's router "
            "needs it for its sessions; set it with `pulumi config set --secret`"
        )
    if '"' in password or "\n" in password:
        raise LabError(
            f"mesh:bgpPassword-{session.password} holds a double quote or a line break, which "
            "BIRD cannot take; choose another one"
        )
    return password


def _router_id(world: World, upstream: Upstream) -> object:
    """A router id from 240.0.0.0/4, which is no box's address."""
    number = int(upstream.network6.network_address) >> 64 & 0xFFFFFFFF
    return ip_address(0xF0000000 | number & 0x0FFFFFFF)
