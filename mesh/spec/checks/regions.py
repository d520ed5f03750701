"""Regions: their blocks, their slots, and what providers call them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from mesh.spec import free
from mesh.spec.distance import kilometres
from mesh.spec.model import Prefixes, Region
from mesh.spec.problems import Problem
from mesh.spec.providers import EXAMPLE, PROVIDERS, Provider
from mesh.spec.section import Sections
from mesh.spec.slots import are_numbers


def check_regions(sections: Sections) -> Iterator[Problem]:
    """Every region has a /29 of its own inside the aggregate, and slots inside that; in a network
    with IPv6 only, host numbers of its own."""
    regions: Mapping[str, Region] | None = sections.get("regions")
    prefixes: Prefixes | None = sections.get("prefixes")
    if regions is None:
        return
    if are_numbers(prefixes):
        yield from _check_numbers(regions)
        return
    for region_id, region in regions.items():
        key = f"mesh:regions.{region_id}.block"
        if region.block is None:
            if prefixes is not None and prefixes.ipv4 is not None:
                cure = _free_block("add it", prefixes, regions)
                yield Problem(key, "unset", "the key is missing", cure)
            continue
        if region.block.prefixlen != 29:
            cure = f"give a /29, for example block: {region.block.network_address}/29"
            yield Problem(key, str(region.block), "a region has a /29", cure)
        elif (
            prefixes is not None
            and prefixes.ipv4 is not None
            and not region.block.subnet_of(prefixes.ipv4)
        ):
            yield Problem(
                key, str(region.block), f"it lies outside the aggregate {prefixes.ipv4}",
                _free_block("give a free /29 inside it", prefixes, regions),
            )  # fmt: skip
        yield from _check_slots(region_id, region, region.block)
    blocks = {name: region.block for name, region in regions.items() if region.block is not None}
    for (one, a), (two, b) in combinations(blocks.items(), 2):
        if a.overlaps(b):
            yield Problem(
                f"mesh:regions.{two}.block", str(b),
                f"it overlaps {a} of {one}",
                _free_block("give a free /29", prefixes, regions),
            )  # fmt: skip


def _free_block(cure: str, prefixes: Prefixes | None, regions: Mapping[str, Region]) -> str:
    """The cure with a free /29 as an example, where there is one."""
    block = free.block(prefixes, regions.values())
    return cure if block is None else f"{cure}, for example block: {block}"


def _check_numbers(regions: Mapping[str, Region]) -> Iterator[Problem]:
    """Every slot has a host number that no other one of the network has."""
    free_number = f"give a free host number, for example {free.host_number(regions.values())}"
    owners: dict[int, str] = {}
    for region_id, region in regions.items():
        key = f"mesh:regions.{region_id}"
        if region.block is not None:
            yield Problem(
                f"{key}.block", str(region.block), "the network has no IPv4 prefix", "remove it"
            )
        if not region.slots:
            yield Problem(
                f"{key}.slots", "{}", "the region has no slot, and no place in the network",
                f"name the slots of its nodes, for example slots: {{{EXAMPLE}-1: "
                f"{free.host_number(regions.values())}}}",
            )  # fmt: skip
        for slot, number in region.slots.items():
            where = f"{key}.slots.{slot}"
            if not isinstance(number, int):
                yield Problem(
                    where, str(number), "the network has no IPv4 prefix, so a slot is a host "
                    "number", free_number,
                )  # fmt: skip
                continue
            if number in owners:
                yield Problem(
                    where, str(number),
                    f"two nodes have one host number: it belongs to {owners[number]}", free_number,
                )  # fmt: skip
            owners.setdefault(number, f"{region_id}-{slot}")


def _check_slots(region_id: str, region: Region, block: IPv4Network) -> Iterator[Problem]:
    owners: dict[IPv4Address | int, str] = {}
    unusable = (block.network_address, block.broadcast_address)
    for slot, address in region.slots.items():
        key = f"mesh:regions.{region_id}.slots.{slot}"
        if isinstance(address, int) or address not in block or address in unusable:
            yield Problem(
                key, str(address), f"it is not a host address of {block}",
                f"give one of {free_hosts(region)}",
            )  # fmt: skip
        if address in owners:
            yield Problem(
                key, str(address), f"two nodes in one slot: it belongs to {owners[address]}",
                f"give one of {free_hosts(region)}",
            )  # fmt: skip
        owners.setdefault(address, slot)


def free_hosts(region: Region) -> str:
    """The host addresses of a /29 that no slot holds, for a cure."""
    if region.block is None:
        return "a /29"
    taken = set(region.slots.values())
    free = [str(host) for host in region.block.hosts() if host not in taken]
    return ", ".join(free) if free else "another region's (this /29 is full)"


def check_names_there(regions: Mapping[str, Region]) -> Iterator[Problem]:
    """Each ``at`` of a region names a provider and a region that this provider has."""
    for region_id, region in regions.items():
        for name, there in region.at.items():
            key = f"mesh:regions.{region_id}.at.{name}"
            facts = PROVIDERS.get(name)
            if facts is None:
                yield Problem(
                    key, there, f"there is no provider {name}",
                    f"use one of {', '.join(sorted(PROVIDERS))}",
                )  # fmt: skip
            elif there not in facts.regions:
                nearest = nearest_regions(region, facts)
                yield Problem(
                    key, there, f"{name} has no such region",
                    f"name one of its regions, for example {name}: {nearest[0]}; the nearest are "
                    f"{', '.join(nearest)}",
                )  # fmt: skip


def nearest_regions(region: Region, facts: Provider) -> list[str]:
    """A provider's three nearest regions, for a cure."""
    far = {name: kilometres(region.location, there) for name, there in facts.regions.items()}
    return sorted(far, key=lambda name: far[name])[:3]
