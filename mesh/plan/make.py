"""The plan of a network: a pure function of its spec."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from types import MappingProxyType

from mesh.plan import firewall, links, sessions
from mesh.plan.aggregates import EXIT, aggregates
from mesh.plan.alerting import monitoring
from mesh.plan.model import (
    Access,
    AddressPair,
    Bfd,
    Glass,
    Node,
    Plan,
    PlannedService,
    PrefixPair,
    Region,
    Role,
    ServiceAddresses,
    TunnelAddresses,
    TunnelRanges,
    Validator,
)
from mesh.services.checks import Check
from mesh.services.checks.dns import DnsCheck
from mesh.services.checks.http import HttpCheck
from mesh.services.content import Content
from mesh.services.service import Ports
from mesh.spec import Spec, capabilities
from mesh.spec.glass import glass_of
from mesh.spec.ids import provider_of, split_id
from mesh.spec.mirrored import mirrored
from mesh.spec.model import Region as GivenRegion
from mesh.spec.model import Service
from mesh.spec.ports import RTR
from mesh.spec.slots import host_number
from mesh.spec.vrps import VrpServer


def make(spec: Spec, contents: Mapping[str, Content] = MappingProxyType({})) -> Plan:
    """The plan of a spec that has been checked (:func:`mesh.spec.load`), so that nothing fails.
    ``contents`` are what services serve, by the service's name."""
    tunnels = {node_id: _tunnel(spec, node_id) for node_id in spec.nodes}
    neighbors = links.neighbors(spec)
    bfd = links.own_bfd(spec)
    services = tuple(_service(spec, name, contents.get(name)) for name in sorted(spec.services))
    serves = _serves(spec, services)
    glass = _glass(spec)
    interior = sessions.interior(spec, tunnels)
    return Plan(
        stack=spec.stack,
        twin=spec.twin,
        asn=spec.asn,
        prefixes=PrefixPair(spec.prefixes.ipv4, spec.prefixes.ipv6),
        tunnels=TunnelRanges(spec.tunnels.ipv4, spec.tunnels.ipv6),
        port=spec.tunnels.port,
        # Direct, or over one other node when a tunnel is cut; a hub adds one more. A short limit
        # prevents path hunting.
        path_limit=3 if links.is_full_mesh(spec) else 4,
        ixp_lans=tuple(sorted(spec.routing.ixp_lans, key=lambda lan: (lan.version, lan))),
        rpki=tuple(_validator(server) for server in _validators(spec, tunnels)),
        validates=spec.rpki.local,
        exits=TunnelAddresses(spec.tunnels.ipv4[EXIT], spec.tunnels.ipv6[EXIT]),
        regions=tuple(_region(spec, region_id) for region_id in sorted(spec.regions)),
        nodes=tuple(
            _node(spec, node_id, interior, neighbors[node_id], bfd, serves[node_id])
            for node_id in sorted(spec.nodes)
        ),
        services=services,
        access=Access(
            admin=spec.admin.ssh,
            registry=spec.registry.sources,
            registry_port=spec.registry.port,
            ssh_keys=spec.admin.keys,
        ),
        firewall=firewall.rules(
            spec,
            services,
            glass,
            has_vpc=any(sessions.vpc(spec, node_id) for node_id in spec.nodes),
        ),
        whoami=spec.whoami,
        waves=spec.waves,
        linger=spec.drain.linger,
        without=tuple(sorted(spec.without)),
        aggregates=aggregates(spec),
        glass=glass,
        monitoring=None if spec.monitoring is None else monitoring(spec.monitoring),
    )


def _glass(spec: Spec) -> Glass | None:
    given = glass_of(spec.sections)
    return None if given is None else Glass(given.port, given.public)


def _validators(spec: Spec, tunnels: dict[str, TunnelAddresses]) -> list[VrpServer]:
    """The validators of the stack file, then the network's own, each once."""
    own = sorted(spec.reflectors, key=lambda node_id: spec.nodes[node_id].number)
    local = [VrpServer(str(tunnels[node_id].ipv4), RTR) for node_id in own]
    return list(dict.fromkeys([*spec.rpki.servers, *(local if spec.rpki.local else [])]))


def _validator(server: VrpServer) -> Validator:
    """A validator named by its address, so that adding one renames no other."""
    name = re.sub(r"[^0-9a-z]", "_", f"rtr_{server.host}_{server.port}".lower())
    return Validator(name, ip_address(server.host), server.port)


def _tunnel(spec: Spec, node_id: str) -> TunnelAddresses:
    number = spec.nodes[node_id].number
    return TunnelAddresses(spec.tunnels.ipv4[number], spec.tunnels.ipv6[int(str(number), 16)])


def _region(spec: Spec, region_id: str) -> Region:
    region = spec.regions[region_id]
    return Region(
        id=region_id,
        name=region.name,
        index=_index(spec, region),
        block=region.block,
        location=region.location,
    )


def _index(spec: Spec, region: GivenRegion) -> int:
    if region.block is None:
        return min(host_number(slot, spec.prefixes) for slot in region.slots.values()) - 1
    return host_number(region.block[0], spec.prefixes) // region.block.num_addresses


def _node(
    spec: Spec,
    node_id: str,
    interior: sessions.Interior,
    neighbors: tuple[str, ...],
    bfd: dict[frozenset[str], Bfd],
    services: tuple[str, ...],
) -> Node:
    region_id, slot_name = split_id(node_id)
    given = spec.nodes[node_id]
    provider = capabilities.provider(node_id, given)
    assert provider is not None, "the spec has been checked"
    existing = given.host is not None
    place = capabilities.provider_region(region_id, spec.regions[region_id], provider)
    slot = spec.regions[region_id].slots[slot_name]
    host = host_number(slot, spec.prefixes)
    has_ipv6 = given.ipv6 and spec.prefixes.ipv6 is not None
    announced6 = mirrored(host, spec.prefixes.ipv6) if has_ipv6 and spec.prefixes.ipv6 else None
    return Node(
        id=node_id,
        region=region_id,
        provider=provider_of(node_id),
        place="" if existing or place is None else place,
        size="" if existing else given.plan or getattr(spec.providers, provider.name).plan,
        bare_metal=given.bare_metal,
        existing=existing,
        translated=provider.translates and not existing,
        slot=host,
        number=given.number,
        roles=_roles(spec, node_id),
        ipv6=has_ipv6,
        announced=AddressPair(None if isinstance(slot, int) else slot, announced6),
        tunnel=interior.tunnels[node_id],
        router_id=interior.tunnels[node_id].ipv4,
        underlay_asn=links.underlay_asn(given.number),
        links=tuple(links.link(spec, node_id, peer, bfd) for peer in neighbors),
        reflectors=interior.with_reflectors(node_id),
        upstreams=sessions.upstreams(spec, node_id, has_ipv6),
        vpc=sessions.vpc(spec, node_id),
        services=services,
        direct=interior.direct(node_id),
        os=given.os,
    )


def _roles(spec: Spec, node_id: str) -> tuple[Role, ...]:
    announces = capabilities.upstreams(node_id, spec.nodes[node_id])
    roles = [Role.EDGE if announces else Role.MEMBER]
    if node_id in spec.reflectors:
        roles.append(Role.REFLECTOR)
    if node_id in spec.registries:
        roles.append(Role.REGISTRY)
    if spec.monitoring is not None and node_id in spec.monitoring.nodes:
        roles.append(Role.MONITOR)
    return tuple(roles)


def _service(spec: Spec, name: str, content: Content | None) -> PlannedService:
    service = spec.services[name]
    able = [n for n, node in spec.nodes.items() if service.addresses.every4 or node.ipv6]
    ports = service.open_ports
    return PlannedService(
        name=name,
        kind=service.kind,
        unit=service.unit,
        addresses=ServiceAddresses.of(service.addresses.all()),
        ports=Ports(tuple(sorted(ports.tcp)), tuple(sorted(ports.udp))),
        checks=_checks(service, content),
        nodes=tuple(sorted(n for n in able if service.nodes is None or n in service.nodes)),
        names=tuple(sorted(set(service.names or ()))),
        content=content,
    )


def _checks(service: Service, content: Content | None) -> tuple[Check, ...]:
    """The checks of a service, or those of its kind; NSD as nodes set it up says its node."""
    if service.kind == "dns":
        zones = () if content is None else content.zones
        first = DnsCheck(name=zones[0].name if zones else ".")
        return tuple(
            replace(each, nsid=True) if isinstance(each, DnsCheck) and each.nsid is None else each
            for each in service.checks or (first,)
        )
    return service.checks or (HttpCheck(port=80, path="/whoami"),)


def _serves(spec: Spec, services: tuple[PlannedService, ...]) -> dict[str, tuple[str, ...]]:
    """Names of the services of each node."""
    serves: dict[str, list[str]] = {node_id: [] for node_id in spec.nodes}
    for service in services:
        for node_id in service.nodes:
            serves[node_id].append(service.name)
    return {node_id: tuple(names) for node_id, names in serves.items()}
