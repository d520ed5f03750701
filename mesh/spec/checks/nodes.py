"""Nodes: their numbers, regions, slots and providers, and where replies leave."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network

from mesh.spec import capabilities, free
from mesh.spec.checks.regions import check_names_there, free_hosts, nearest_regions
from mesh.spec.examples import for_example
from mesh.spec.ids import interface, provider_of, split_id
from mesh.spec.model import Node, Prefixes, Region
from mesh.spec.problems import Problem
from mesh.spec.providers import EXAMPLE, PROVIDERS, Provider
from mesh.spec.section import Sections
from mesh.spec.slots import are_numbers
from mesh.spec.steering import edges


def check_nodes(sections: Sections) -> Iterator[Problem]:
    """Every node has a region, a slot in it, a provider that can announce, a number of its own."""
    nodes: Mapping[str, Node] | None = sections.get("nodes")
    regions: Mapping[str, Region] | None = sections.get("regions")
    if nodes is None:
        return
    numbers: dict[int, str] = {}
    interfaces: dict[str, str] = {}
    for node_id, node in nodes.items():
        key = f"mesh:nodes.{node_id}"
        if node.number in numbers:
            yield Problem(
                f"{key}.number", str(node.number),
                f"{numbers[node.number]} has it already",
                f"give a number that was never used, for example number: {free.number(nodes)}",
            )  # fmt: skip
        numbers.setdefault(node.number, node_id)
        if (named := interface(node_id)) in interfaces:
            yield Problem(
                key, node_id, f"its tunnels would be {named}, as those of {interfaces[named]} are",
                "give one of the two another number at its end",
            )  # fmt: skip
        interfaces.setdefault(named, node_id)
        yield from check_provider(key, node_id, node)
        facts = capabilities.provider(node_id, node)
        # With an unknown provider, adding a slot would not help.
        if regions is not None and facts is not None:
            yield from _check_place(key, node_id, facts, sections)
            region = regions.get(split_id(node_id)[0])
            if region is not None and node.host is None:
                yield from _check_region_there(node_id, region, facts)
    if regions is not None:
        yield from check_names_there(regions)
    if nodes and not any(capabilities.upstreams(node_id, node) for node_id, node in nodes.items()):
        yield Problem(
            "mesh:nodes", ", ".join(sorted(nodes)),
            "none of them announces, so the Internet would not reach this network",
            _new_edge(nodes, sections.get("prefixes")),
        )  # fmt: skip


def _new_edge(nodes: Mapping[str, Node], prefixes: Prefixes | None) -> str:
    """How a network whose nodes have no upstream gets one: by the session of a host, where there is
    a host."""
    hosts = [
        node_id
        for node_id, node in nodes.items()
        if node.host is not None and node.announce is not False
    ]
    if hosts:
        neighbor = 'ipv6: "2001:db8::1"' if are_numbers(prefixes) else "ipv4: 192.0.2.1"
        return (
            f"add the session of {min(hosts)} as its provider's panel shows it to "
            f"mesh:nodes.{min(hosts)}.host, for example upstream: {{peerAsn: 53667, {neighbor}}}"
        )
    return (
        f"add a node at a provider that takes announcements, for example "
        f"{split_id(min(nodes))[0]}-{EXAMPLE}-1: {{number: {free.number(nodes)}}}"
    )


def check_ipv6_alone(sections: Sections) -> Iterator[Problem]:
    """In a network with IPv6 only, every node has IPv6, and every edge a session for it."""
    nodes: Mapping[str, Node] = sections.get("nodes") or {}
    prefixes: Prefixes | None = sections.get("prefixes")
    if prefixes is None or not are_numbers(prefixes):
        return
    able = {edge.node for edge in edges(nodes, prefixes)}
    for node_id, node in nodes.items():
        key = f"mesh:nodes.{node_id}"
        if not node.ipv6:
            yield Problem(
                f"{key}.ipv6", "false", "the network has IPv6 only, and the node would serve "
                "nothing", "remove the key",
            )  # fmt: skip
        elif node_id not in able and capabilities.upstreams(node_id, node):
            short_form = node.host is not None and node.host.upstream is not None
            yield Problem(
                f"{key}.host.upstream.ipv6" if short_form else f"{key}.upstreams", "unset",
                "the network has IPv6 only, and the session is for IPv4",
                "add the neighbor's IPv6 address, or set the node's announce: false",
            )  # fmt: skip


def check_exits(sections: Sections) -> Iterator[Problem]:
    """Where there are members, some edge has an upstream for each family of their replies."""
    nodes: Mapping[str, Node] = sections.get("nodes") or {}
    prefixes: Prefixes | None = sections.get("prefixes")
    ends = {node_id: capabilities.upstreams(node_id, node) for node_id, node in nodes.items()}
    if prefixes is None or not any(ends.values()):
        return  # check_nodes reports that no node announces
    for family, label in (("ipv4", "IPv4"), ("ipv6", "IPv6")):
        able = {n for n, node in nodes.items() if family == "ipv4" or node.ipv6}
        members = sorted(n for n in able if not ends[n])
        edges = [n for n in able if any(getattr(end, family) is not None for end in ends[n])]
        if getattr(prefixes, family) is not None and members and not edges:
            yield Problem(
                "mesh:nodes", ", ".join(members),
                f"no edge has an upstream for {label}, so their {label} replies could not leave",
                f"add an edge whose provider takes {label} announcements", severity="warning",
            )  # fmt: skip


def check_provider(key: str, node_id: str, node: Node | None = None) -> Iterator[Problem]:
    """The provider in a node's id is known, and supports the node's keys."""
    name = provider_of(node_id)
    if node is None or (facts := capabilities.provider(node_id, node)) is None:
        if name not in PROVIDERS:
            yield Problem(
                key, name, "the provider is unknown",
                for_example(
                    f"use {' or '.join(sorted(PROVIDERS))}, or give the node a `host:` if its "
                    "server exists already", "nodes", node_id, "host",
                ),
            )  # fmt: skip
        return
    yield from _check_announce(f"{key}.announce", node_id, node, facts)
    yield from _check_size(key, node, facts)


def _check_announce(key: str, node_id: str, node: Node, facts: Provider) -> Iterator[Problem]:
    if not node.announce:
        return
    if not facts.announces:
        yield Problem(
            key, "true", facts.refusal,
            "remove the key: the node serves inside the mesh, and its replies leave at an edge; "
            "to announce there, add a node at a provider that takes announcements",
        )  # fmt: skip
    elif not capabilities.upstreams(node_id, node):
        yield Problem(
            key, "true", "its provider's session is not known",
            for_example(
                "add host.upstream: the provider's BGP page has peerAsn and the neighbors' "
                "addresses", "nodes", node_id, "host", "upstream",
            ),
        )  # fmt: skip


def _check_size(key: str, node: Node, facts: Provider) -> Iterator[Problem]:
    if node.plan is not None and node.host is not None:
        yield Problem(
            f"{key}.plan", node.plan, "its server exists already, with a size of its own",
            "remove the key",
        )  # fmt: skip
    elif node.plan is not None and not re.match(facts.plan_form, node.plan):
        yield Problem(
            f"{key}.plan", node.plan, f"{facts.name} has no plan of this form",
            f"give one of {facts.name}'s own names, such as {facts.options().plan}",  # type: ignore[attr-defined]  # all but existing hosts' have it
        )  # fmt: skip
    if node.bare_metal and facts.bare_metal is None:
        yield Problem(
            f"{key}.bareMetal", "true", f"there is no bare metal of {facts.name} here",
            "remove the key",
        )  # fmt: skip


def _check_region_there(node_id: str, region: Region, facts: Provider) -> Iterator[Problem]:
    """The provider has the node's region, and its name for it is known."""
    region_id = split_id(node_id)[0]
    if facts.name in region.at:
        return  # checked with the region
    if capabilities.provider_region(region_id, region, facts) is None:
        nearest = nearest_regions(region, facts)
        yield Problem(
            f"mesh:regions.{region_id}.at.{facts.name}", "unset",
            f"{facts.name} has no region that is called {region_id}, and {node_id} is there",
            f"name one of its regions, for example at: {{{facts.name}: {nearest[0]}}}; the nearest "
            f"are {', '.join(nearest)}",
        )  # fmt: skip


def _check_place(key: str, node_id: str, facts: Provider, sections: Sections) -> Iterator[Problem]:
    regions: Mapping[str, Region] = sections["regions"]
    region_id, slot = split_id(node_id)
    region = regions.get(region_id)
    if region is None:
        yield Problem(
            key, node_id, f"there is no region {region_id}",
            f"use one of {', '.join(sorted(regions))}, or add it to mesh:regions, for example "
            f"{_new_region(region_id, slot, facts, sections)}",
        )  # fmt: skip
    elif slot not in region.slots and are_numbers(sections.get("prefixes")):
        number = free.host_number(regions.values())
        yield Problem(
            key, node_id, f"region {region_id} has no slot {slot}",
            f"add it to mesh:regions.{region_id}.slots, for example {slot}: {number}",
        )  # fmt: skip
    elif slot not in region.slots:
        full = len(set(region.slots.values())) >= 6
        reason = f"region {region_id} has no slot {slot}"
        first = free_hosts(region).partition(",")[0]
        cure = (
            f"add it to mesh:regions.{region_id}.slots, for example {slot}: {first} (free are "
            f"{free_hosts(region)})"
        )
        if full:
            reason += f", and its {region.block} is full"
            cure = "use a slot that exists, or another region"
        yield Problem(key, node_id, reason, cure)


def _new_region(region_id: str, slot: str, facts: Provider, sections: Sections) -> str:
    """A region in YAML, with a slot; with its location where the provider has a region of that
    name."""
    prefixes, regions = sections.get("prefixes"), sections["regions"].values()
    latitude, longitude = facts.regions.get(region_id, (33.94, -118.41))
    block = free.block(prefixes, regions) or IPv4Network("192.30.120.0/29")
    place = f"block: {block}, slots: {{{slot}: {block[1]}}}"
    if are_numbers(prefixes):
        place = f"slots: {{{slot}: {free.host_number(regions)}}}"
    return (
        f"{region_id}: {{name: {region_id.capitalize()}, location: [{latitude}, {longitude}], "
        f"{place}}}"
    )
