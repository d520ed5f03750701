"""Services: their addresses, ports and nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from mesh.services.service import Ports
from mesh.spec import free
from mesh.spec.aggregates import Announced, able, aggregates, announced, prefix_of
from mesh.spec.examples import for_example
from mesh.spec.ids import split_id
from mesh.spec.mirrored import mirrored
from mesh.spec.model import Node, Prefixes, Region, Service
from mesh.spec.ports import listeners
from mesh.spec.problems import Problem
from mesh.spec.section import Sections
from mesh.spec.slots import are_numbers


def check_services(sections: Sections) -> Iterator[Problem]:
    """Service addresses lie inside the aggregates and outside every region's /29."""
    services: Mapping[str, Service] = sections.get("services") or {}
    owners: dict[object, str] = {}
    for name, service in services.items():
        key = f"mesh:services.{name}"
        for address in service.addresses.all():
            where = f"{key}.addresses.ipv{address.version}"
            if address in owners:
                yield Problem(
                    where, str(address), f"service {owners[address]} has it already",
                    _free_service("give an address of its own", address, sections),
                )  # fmt: skip
            owners.setdefault(address, name)
            yield from _check_service_address(where, address, service.nodes, sections)
        if not service.addresses.all():
            cure = for_example("add ipv4, ipv6 or both", "services", name, "addresses", "ipv4")
            yield Problem(f"{key}.addresses", "{}", "the service has no address", cure)
        if service.ports == Ports():
            cure = for_example("list tcp or udp ports", "services", name, "ports")
            yield Problem(f"{key}.ports", "{}", "no port is open", cure)
        yield from _check_ports(f"{key}.ports", service, sections)
        nodes = sections.get("nodes")
        for node_id in service.nodes or ():
            if nodes is not None and node_id not in nodes:
                yield Problem(
                    f"{key}.nodes", node_id, "there is no such node",
                    f"name one of {', '.join(sorted(nodes))}",
                )  # fmt: skip
            elif nodes is not None and not (service.addresses.every4 or nodes[node_id].ipv6):
                yield Problem(
                    f"{key}.nodes", node_id, "the service has IPv6 only, and the node has none",
                    f"remove it, or mesh:nodes.{node_id}.ipv6",
                )  # fmt: skip


def _check_ports(key: str, service: Service, sections: Sections) -> Iterator[Problem]:
    """None is a port of the nodes themselves."""
    for own in listeners(sections):
        for port in getattr(service.open_ports, own.protocol):
            if own.first <= port <= own.last:
                yield Problem(
                    f"{key}.{own.protocol}", str(port),
                    f"{own.what} listens there at nodes, and a service's ports are open to "
                    "everybody at every announced address",
                    "have the service listen at another port",
                )  # fmt: skip


def _check_service_address(
    where: str,
    address: IPv4Address | IPv6Address,
    serving: Collection[str] | None,
    sections: Sections,
) -> Iterator[Problem]:
    prefixes: Prefixes | None = sections.get("prefixes")
    if prefixes is None:
        return
    own = [each for each in aggregates(prefixes) if each.version == address.version]
    if not own:
        family = f"ipv{address.version}"
        cure = "remove it, or add a prefix of yours to mesh:prefixes"
        yield Problem(
            where, str(address), f"the network has no IPv{address.version}",
            for_example(cure, "prefixes", family),
        )  # fmt: skip
        return
    holding = prefix_of(address, announced(prefixes))
    if holding is None:
        which, cure = f"the aggregate {own[0]}", "give an address inside it"
        if len(own) > 1:
            which = f"all aggregates ({', '.join(map(str, own))})"
            cure = "give an address inside one of them"
        yield Problem(
            where, str(address), f"it lies outside {which}",
            _free_service(cure, address, sections),
        )  # fmt: skip
        return
    if any(address == aggregate.network_address for aggregate in own):
        yield Problem(
            where, str(address), "it is the aggregate's first address (subnet-router anycast)",
            _free_service("give another address", address, sections),
        )  # fmt: skip
    yield from _check_announced(where, address, holding, serving, sections)
    for region_id, region in (sections.get("regions") or {}).items():
        if region.block is not None and _in_block(address, region.block, prefixes):
            yield Problem(
                where, str(address),
                f"it is inside {_nodes_block(address, region.block)} of region {region_id}, which "
                "is for nodes",
                _free_service("give an address outside every region's /29", address, sections),
            )  # fmt: skip
        if are_numbers(prefixes) and address in _of_nodes(region, prefixes):
            yield Problem(
                where, str(address), f"it is the address of a node in region {region_id}",
                _free_service("give an address that no slot has", address, sections),
            )  # fmt: skip


def _of_nodes(region: Region, prefixes: Prefixes) -> set[IPv6Address]:
    """The addresses of a region's host numbers."""
    assert prefixes.ipv6 is not None, "slots are numbers where there is IPv6 only"
    numbers = (slot for slot in region.slots.values() if isinstance(slot, int))
    return {mirrored(number, prefixes.ipv6) for number in numbers}


def _check_announced(
    where: str,
    address: IPv4Address | IPv6Address,
    holding: Announced,
    serving: Collection[str] | None,
    sections: Sections,
) -> Iterator[Problem]:
    """Where edges serve an address, one of them announces its prefix: otherwise no client would
    come in where the service runs. Members announce nothing, and serve behind edges."""
    nodes: Mapping[str, Node] | None = sections.get("nodes")
    if nodes is None or holding.by is None:
        return
    places = {*nodes, *(split_id(node_id)[0] for node_id in nodes)}
    if not places.issuperset(holding.by):
        return  # check_announcers names those that there are
    edges = set(able(nodes, sections["prefixes"])[holding.family])
    here = edges & set(nodes if serving is None else serving)
    if here and not any(holding.is_at(node_id) for node_id in here):
        yield Problem(
            where, str(address),
            f"{holding.prefix} is announced by {', '.join(holding.by)}, and {_listed(here)} would "
            "serve the address",
            f"give an address of a prefix that is announced there, or add {_listed(here)} to "
            f"{holding.key}.announcedBy",
        )  # fmt: skip


def _listed(nodes: Collection[str]) -> str:
    return ", ".join(sorted(nodes))


def _free_service(cure: str, address: IPv4Address | IPv6Address, sections: Sections) -> str:
    """The cure with a free service address of that family, where there is one: in IPv6 the one
    with the same host number."""
    prefixes: Prefixes = sections["prefixes"]
    regions: Mapping[str, Region] = sections.get("regions") or {}
    services: Mapping[str, Service] = sections.get("services") or {}
    if prefixes.ipv4 is None and prefixes.ipv6 is not None:
        taken6 = {each for service in services.values() for each in service.addresses.every6}
        free6 = free.service6(prefixes.ipv6, regions.values(), taken6)
        return f'{cure}, for example ipv6: "{free6}"'
    taken = {each for service in services.values() for each in service.addresses.every4}
    found = free.service4(prefixes, regions.values(), taken)
    if found is None or prefixes.ipv4 is None:
        return cure
    if address.version == 4 or prefixes.ipv6 is None:
        return f"{cure}, for example ipv4: {found}"
    host = int(found) - int(prefixes.ipv4.network_address)
    return f'{cure}, for example ipv6: "{mirrored(host, prefixes.ipv6)}"'


def _nodes_block(address: IPv4Address | IPv6Address, block: IPv4Network) -> str:
    return str(block) if address.version == 4 else f"the IPv6 addresses that belong to {block}"


def _in_block(address: IPv4Address | IPv6Address, block: IPv4Network, prefixes: Prefixes) -> bool:
    if isinstance(address, IPv4Address):
        return address in block
    if prefixes.ipv4 is None or prefixes.ipv6 is None or not block.subnet_of(prefixes.ipv4):
        return False
    first = int(prefixes.ipv4.network_address)
    return any(address == mirrored(int(host) - first, prefixes.ipv6) for host in block)
