"""Networks of any size, and snapshots of their nodes with a value for each metric."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from mesh.glass.network import Aggregate, Network, Node, Service, Upstream
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
from mesh.trust.documents import Alarm, Health, Hearsay, Refusal, Repair, Repairs

NOW = 1_790_000_000.5
FIRST = "lax-vultr-1"


def network(size: int = 4) -> Network:
    """Edges with a session of each family, all of which announce all and serve all."""
    names = [FIRST, *(f"n{number:02}-vultr-1" for number in range(2, size + 1))]
    upstreams = (
        Upstream("vultr4", "ipv4", 64515, "provider", "none"),
        Upstream("vultr6", "ipv6", 64515, "provider", "none"),
    )
    nodes = tuple(
        Node(
            id=name, region=name[:3], provider="vultr", roles=("edge",), asn=4_200_000_000 + number,
            tunnel=(ip_address(f"fd00:10:10::{number:x}"),), announced=(), services=("web", "dns"),
            upstreams=upstreams,
        )
        for number, name in enumerate(names, start=1)
    )  # fmt: skip
    prefixes = ("192.30.120.0/23", "2620:71:4000::/48")
    return Network(
        asn=27218, port=8080, public=False, regions=(), nodes=nodes, links=(),
        services=(Service("web", "web", (), tcp=(80,)), Service("dns", "dns", (), udp=(53,))),
        aggregates=tuple(Aggregate(ip_network(prefix), tuple(names)) for prefix in prefixes),
        communities={}, validators={},
    )  # fmt: skip


def health() -> Health:
    """A node's state with something in each field."""
    return Health(
        in_service=True,
        services={"web": True, "dns": False},
        sessions={},
        drain=3, blackhole=5, hold=1, rollout=12, update="waiting",
        tls_mismatches=("https://203.0.113.2:8443",),
        alarms=(Alarm("n02-vultr-1", "owner", "192.0.2.0/24"),),
        ways=(("n02-vultr-1", "n03-vultr-1"),),
        hearsay=(Hearsay(ip_address("192.30.120.9"), "n02-vultr-1"),),
        refused={"a bogon prefix": 7, "a path of more than 100 ASNs": 1},
        bird="",
        tunnels={"wg-n02-vultr-1": "is not there"},
        refusals=(Refusal("drain", 4, "0" * 64, "its signature is not valid"),),
        faults={"disk": "No space left on device"},
        clocks={"https://203.0.113.2:8443": -3},
        repairs=Repairs(9, (Repair("/etc/bird/bird.conf", "changed", 5, int(NOW), stopped=True),)),
        held=0,
        withheld={"192.30.120.0/23": "no healthy instance"},
        families={"web": {"ipv4": True, "ipv6": False}},
        warnings={"web": "its certificate ends in 9 days", "web at n02-vultr-1": "no answer"},
    )  # fmt: skip


def snapshot(size: int = 4, *, at: float = NOW) -> Snapshot:
    """The first node of :func:`network`: a tunnel and two iBGP sessions with each other node."""
    peers = [node.id for node in network(size).nodes[1:]]
    both = Channel(40, 38, 2, 20, limit=112), Channel(41, 41, 0, 21, limit=112)
    sessions = [
        Session(
            f"u_{peer}", "tunnel", peer, 4_200_000_002, "Established", NOW - 3600, bfd=True,
            channels={"ipv4": both[0], "ipv6": both[1]},
        )
        for peer in peers
    ]  # fmt: skip
    sessions += [
        Session(
            f"mate{number}_{peer}", "ibgp", peer, 27218, "Established", NOW - 3600,
            channels={"ipv4": both[0]} if number == 4 else {"ipv6": both[1]},
        )
        for peer in peers
        for number in (4, 6)
    ]  # fmt: skip
    full = Channel(1_000_000, 990_000, 10_000, 1, limit=1_000_000, at_limit=True)
    sessions += [
        Session(
            "vultr4", "upstream", "vultr", 64515, "Established", NOW - 60, channels={"ipv4": full}
        ),
        Session("vultr6", "upstream", "vultr", 64515, "Active", NOW - 9, "Connection refused"),
    ]
    return Snapshot(
        node=FIRST,
        at=at,
        agent_started=NOW - 7200,
        bird_started=NOW - 7300,
        versions=Versions("2.17.6", "ab" * 32, "6.12.57+deb13-amd64"),
        generation=Generation(7, 8, "failed", "BIRD refused it", rollbacks=1),
        health=health(),
        sessions=tuple(sessions),
        tunnels=tuple(Tunnel(f"wg-{peer}", peer, NOW - 50, 10**12, 10**11) for peer in peers),
        checks=(
            CheckResult("web", "http port 80", "ipv4", 0.0031, True),
            CheckResult("dns", "exec check", None, 1.0, False, "no answer within 1 s"),
        ),
        caches=(Cache("rtr_lax", True, NOW - 100), Cache("rtr_ewr", False, NOW - 5, "refused")),
        records={"roas4": 500_000, "roas6": 120_000},
        blackholes=(Discarded(ip_address("192.30.120.9"), NOW + 600, "under attack"),),
        discarded_packets=12345,
        prefixes={"192.30.120.0/23": True, "2620:71:4000::/48": False},
        registries={"https://203.0.113.1:8443": True, "https://203.0.113.2:8443": False},
        certificate=NOW + 86400 * 300,
    )


def healthy(node: str = FIRST, size: int = 4) -> Snapshot:
    """A node of :func:`network` where all is well."""
    full = snapshot(size)
    peers = [each.id for each in network(size).nodes if each.id != node]
    few = Channel(40, 40, 0, 20, limit=112)
    sessions = [
        Session(f"u_{peer}", "tunnel", peer, 4_200_000_002, "Established", 1, bfd=True,
                channels={"ipv4": few, "ipv6": few})
        for peer in peers
    ]  # fmt: skip
    sessions += [Session(f"mate6_{peer}", "ibgp", peer, 27218, "Established", 1) for peer in peers]
    table = Channel(500_000, 490_000, 10_000, 1, limit=1_000_000)
    sessions += [
        Session("vultr4", "upstream", "vultr", 64515, "Established", 1, channels={"ipv4": table}),
        Session("vultr6", "upstream", "vultr", 64515, "Established", 1, channels={"ipv6": table}),
    ]
    well = Health(
        in_service=True, services={"web": True, "dns": True}, sessions={}, drain=3, blackhole=5,
        hold=1, bird="", tunnels={}, faults={}, clocks={}, repairs=Repairs(0), held=0,
        refused={"a bogon prefix": 7}, rollout=1, update="",
    )  # fmt: skip
    return replace(
        full,
        node=node,
        generation=Generation(8, 8, "applied"),
        health=well,
        sessions=tuple(sessions),
        checks=tuple(replace(check, good=True, why="") for check in full.checks),
        caches=tuple(replace(each, up=True) for each in full.caches),
        blackholes=(),
        prefixes=dict.fromkeys(full.prefixes, True),
        registries=dict.fromkeys(full.registries, True),
    )
