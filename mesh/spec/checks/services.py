"""Services: their addresses, ports and nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from mesh.spec import free
from mesh.spec.examples import for_example
from mesh.spec.mirrored import mirrored
from mesh.spec.model import Prefixes, Region, Service
from mesh.spec.problems import Problem
from mesh.spec.section import Sections


def check_services(sections: Sections) -> Iterator[Problem]:
    """Service addresses lie inside the aggregates and outside every region's /29."""
    services: Mapping[str, Service] = sections.get("services") or {}
    owners: dict[object, str] = {}
    for name, service in services.items():
        key = f"mesh:services.{name}"
        for family in ("ipv4", "ipv6"):
            address = getattr(service.addresses, family)
            if address is None:
                continue
            where = f"{key}.addresses.{family}"
            if address in owners:
                yield Problem(
                    where, str(address), f"service {owners[address]} has it already",
                    _free_service("give an address of its own", address, sections),
                )  # fmt: skip
            owners.setdefault(address, name)
            yield from _check_service_address(where, address, sections)
        if not service.ports.tcp and not service.ports.udp:
            cure = for_example("list tcp or udp ports", "services", name, "ports")
            yield Problem(f"{key}.ports", "{}", "no port is open", cure)
        nodes = sections.get("nodes")
        for node_id in service.nodes or ():
            if nodes is not None and node_id not in nodes:
                yield Problem(
                    f"{key}.nodes", node_id, "there is no such node",
                    f"name one of {', '.join(sorted(nodes))}",
                )  # fmt: skip


def _check_service_address(
    where: str, address: IPv4Address | IPv6Address, sections: Sections
) -> Iterator[Problem]:
    prefixes: Prefixes | None = sections.get("prefixes")
    if prefixes is None:
        return
    aggregate = prefixes.ipv4 if isinstance(address, IPv4Address) else prefixes.ipv6
    if aggregate is None:
        cure = for_example("add the prefix of yours to mesh:prefixes", "prefixes", "ipv6")
        yield Problem(where, str(address), "the network has no IPv6", cure)
        return
    if address not in aggregate:
        yield Problem(
            where, str(address), f"it lies outside the aggregate {aggregate}",
            _free_service("give an address inside it", address, sections),
        )  # fmt: skip
        return
    if address == aggregate.network_address:
        yield Problem(
            where, str(address), "it is the aggregate's first address (subnet-router anycast)",
            _free_service("give another address", address, sections),
        )  # fmt: skip
    for region_id, region in (sections.get("regions") or {}).items():
        if _in_block(address, region.block, prefixes):
            yield Problem(
                where, str(address),
                f"it is inside {region.block} of region {region_id}, which is for nodes",
                _free_service("give an address outside every region's /29", address, sections),
            )  # fmt: skip


def _free_service(cure: str, address: IPv4Address | IPv6Address, sections: Sections) -> str:
    """The cure with a free service address of that family, where there is one: in IPv6 the one
    with the same host number."""
    prefixes: Prefixes = sections["prefixes"]
    regions: Mapping[str, Region] = sections.get("regions") or {}
    services: Mapping[str, Service] = sections.get("services") or {}
    taken = {service.addresses.ipv4 for service in services.values()}
    found = free.service4(prefixes, regions.values(), taken)
    if found is None:
        return cure
    if address.version == 4 or prefixes.ipv6 is None:
        return f"{cure}, for example ipv4: {found}"
    host = int(found) - int(prefixes.ipv4.network_address)
    return f'{cure}, for example ipv6: "{mirrored(host, prefixes.ipv6)}"'


def _in_block(address: IPv4Address | IPv6Address, block: IPv4Network, prefixes: Prefixes) -> bool:
    if isinstance(address, IPv4Address):
        return address in block
    if prefixes.ipv6 is None or not block.subnet_of(prefixes.ipv4):
        return False
    first = int(prefixes.ipv4.network_address)
    return any(address == mirrored(int(host) - first, prefixes.ipv6) for host in block)
