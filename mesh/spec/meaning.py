"""What the keys of a stack file mean together: each check is a function that yields problems.

The checks run on whatever sections could be parsed, so that one typing error does not hide ten
others. A check names the key that a person would edit.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import combinations
from typing import Any

from mesh.limits import MOST_DIRECT
from mesh.spec import abilities, free
from mesh.spec.asns import special
from mesh.spec.distance import kilometres
from mesh.spec.examples import LINK, for_example
from mesh.spec.ids import provider_of, split_id
from mesh.spec.imports import check_imports
from mesh.spec.model import Admin, Host, HostUpstream, Node, Prefixes, Region, Service, Tunnels
from mesh.spec.problems import Problem, shown
from mesh.spec.providers import EXAMPLE, PROVIDERS, Provider
from mesh.spec.steering import check_traffic

Sections = Mapping[str, Any]
Check = Callable[[Sections], Iterator[Problem]]

LONGEST4, LONGEST6 = 24, 48
"""The longest prefixes that the Internet takes (and Vultr accepts)."""

WORLD = {4: 8, 6: 16}
"""A shorter prefix than this is nobody's own network, but a good part of the Internet."""


def mirrored(host: int, prefix: IPv6Network) -> IPv6Address:
    """The IPv6 address of a slot: the IPv4 host number written in decimal digits.

    Host 17 of the IPv4 aggregate is ``2620:71:4000::17``: readable beside its sibling, and
    unique because digits of different numbers differ.
    """
    return prefix[int(str(host), 16)]


def check_asn(sections: Sections) -> Iterator[Problem]:
    """The network's own ASN has to be one that the Internet accepts."""
    asn = sections.get("asn")
    if asn is None:
        return
    reason = special(asn)
    if reason is not None:
        yield Problem("mesh:asn", str(asn), reason, "give the ASN that your RIR assigned to you")


def check_prefixes(sections: Sections) -> Iterator[Problem]:
    """Aggregates are global and short enough to be accepted."""
    prefixes: Prefixes | None = sections.get("prefixes")
    if prefixes is None:
        return
    ranges = (("ipv4", prefixes.ipv4, LONGEST4), ("ipv6", prefixes.ipv6, LONGEST6))
    for family, network, longest in ranges:
        if network is None:
            continue
        key = f"mesh:prefixes.{family}"
        if network.prefixlen > longest:
            yield Problem(
                key, str(network), f"the Internet takes nothing longer than /{longest}",
                f"give an aggregate of /{longest} or shorter",
            )  # fmt: skip
        if not network.is_global or network.is_multicast:
            yield Problem(
                key, str(network), "this range is not global unicast",
                for_example("give the prefix that your RIR assigned to you", "prefixes", family),
            )  # fmt: skip


def check_tunnels(sections: Sections) -> Iterator[Problem]:
    """Tunnel addresses are private and hold every node's number."""
    tunnels: Tunnels | None = sections.get("tunnels")
    if tunnels is None:
        return
    for family, network in (("ipv4", tunnels.ipv4), ("ipv6", tunnels.ipv6)):
        if not network.is_private:
            yield Problem(
                f"mesh:tunnels.{family}", str(network), "tunnel addresses have to be private",
                for_example("use a range of RFC 1918 or RFC 4193", "tunnels", family),
            )  # fmt: skip
    nodes: Mapping[str, Node] = sections.get("nodes") or {}
    for node_id, node in nodes.items():
        narrow = [
            str(network)
            for network, host in (
                (tunnels.ipv4, node.number),
                (tunnels.ipv6, int(str(node.number), 16)),
            )
            if host > network.num_addresses - 3  # the last but one is the exits'
        ]
        if narrow:
            yield Problem(
                f"mesh:nodes.{node_id}.number", str(node.number),
                f"{' and '.join(narrow)} has no address of that number",
                "give a lower free number or widen mesh:tunnels",
            )  # fmt: skip
        if tunnels.port + node.number - 1 > 65535:
            yield Problem(
                "mesh:tunnels.port", str(tunnels.port),
                f"{node_id} has number {node.number}, and its port would be above 65535",
                "give a lower base port",
            )  # fmt: skip
    for name in tunnels.links:
        ends = name.split(":")
        if len(ends) != 2 or ends[0] == ends[1] or not set(ends) <= set(nodes):
            yield Problem(
                f"mesh:tunnels.links.{name}", name, "a link is named by its two nodes",
                f"write it as {LINK}",
            )  # fmt: skip


def check_admin(sections: Sections) -> Iterator[Problem]:
    """Nobody is locked out by a single key, and the world is let in only when somebody said so."""
    admin: Admin | None = sections.get("admin")
    if admin is None:
        return
    if not admin.ssh:
        cure = for_example("name your own network", "admin", "ssh")
        yield Problem("mesh:admin.ssh", "[]", "nobody could log in", cure)
    for network in admin.ssh:
        if network.prefixlen < WORLD[network.version] and not admin.world:
            yield Problem(
                "mesh:admin.ssh", str(network), "this opens SSH to the world",
                "name your own network, or say `world: true` beside it if you mean it",
            )  # fmt: skip
    yield from _check_keys(admin.keys)


def _check_keys(keys: tuple[str, ...]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, key in enumerate(keys):
        where = f"mesh:admin.keys[{index}]"
        body = _key_body(key)
        if body is None:
            yield Problem(
                where, shown(key), "this is not an SSH public key",
                "paste one line of ~/.ssh/id_ed25519.pub",
            )  # fmt: skip
        elif body in seen:
            yield Problem(where, shown(key), "the same key stands twice", "give a second key")
        else:
            seen.add(body)
    if len(seen) < 2:
        yield Problem(
            "mesh:admin.keys", f"{len(seen)} keys",
            "one lost key would lock everybody out of every node",
            for_example("list at least two SSH public keys", "admin", "keys"), severity="preview",
        )  # fmt: skip


def _key_body(key: str) -> str | None:
    """The base64 body of an OpenSSH public key; None where it is not one (RFC 4253, 6.6)."""
    parts = key.split()
    if len(parts) < 2 or "\n" in key:
        return None
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        return None
    kind = parts[0].encode()
    well_formed = blob.startswith(len(kind).to_bytes(4, "big") + kind) and len(blob) > 32
    return parts[1] if well_formed else None


def check_regions(sections: Sections) -> Iterator[Problem]:
    """Every region has a /29 of its own inside the aggregate, and slots inside that."""
    regions: Mapping[str, Region] | None = sections.get("regions")
    prefixes: Prefixes | None = sections.get("prefixes")
    if regions is None:
        return
    for region_id, region in regions.items():
        key = f"mesh:regions.{region_id}.block"
        if region.block.prefixlen != 29:
            cure = f"give a /29, for example block: {region.block.network_address}/29"
            yield Problem(key, str(region.block), "a region has a /29", cure)
        elif prefixes is not None and not region.block.subnet_of(prefixes.ipv4):
            yield Problem(
                key, str(region.block), f"it lies outside the aggregate {prefixes.ipv4}",
                _free_block("give a free /29 inside it", prefixes, regions),
            )  # fmt: skip
        yield from _check_slots(region_id, region)
    for (one, a), (two, b) in combinations(regions.items(), 2):
        if a.block.overlaps(b.block):
            yield Problem(
                f"mesh:regions.{two}.block", str(b.block),
                f"it overlaps {a.block} of {one}",
                _free_block("give a free /29", prefixes, regions),
            )  # fmt: skip


def _free_block(cure: str, prefixes: Prefixes | None, regions: Mapping[str, Region]) -> str:
    """The cure with a /29 that no region has, where there is one."""
    block = free.block(prefixes, regions.values())
    return cure if block is None else f"{cure}, for example block: {block}"


def _check_slots(region_id: str, region: Region) -> Iterator[Problem]:
    owners: dict[IPv4Address, str] = {}
    unusable = (region.block.network_address, region.block.broadcast_address)
    for slot, address in region.slots.items():
        key = f"mesh:regions.{region_id}.slots.{slot}"
        if address not in region.block or address in unusable:
            yield Problem(
                key, str(address), f"it is not a host address of {region.block}",
                f"give one of {_free(region)}",
            )  # fmt: skip
        if address in owners:
            yield Problem(
                key, str(address), f"two nodes in one slot: it belongs to {owners[address]}",
                f"give one of {_free(region)}",
            )  # fmt: skip
        owners.setdefault(address, slot)


def _free(region: Region) -> str:
    """The host addresses of a /29 that no slot holds, for a cure."""
    taken = set(region.slots.values())
    free = [str(host) for host in region.block.hosts() if host not in taken]
    return ", ".join(free) if free else "another region's (this /29 is full)"


def check_nodes(sections: Sections) -> Iterator[Problem]:
    """Every node has a region, a slot in it, a provider that can announce, a number of its own."""
    nodes: Mapping[str, Node] | None = sections.get("nodes")
    regions: Mapping[str, Region] | None = sections.get("regions")
    if nodes is None:
        return
    numbers: dict[int, str] = {}
    for node_id, node in nodes.items():
        key = f"mesh:nodes.{node_id}"
        if node.number in numbers:
            yield Problem(
                f"{key}.number", str(node.number),
                f"{numbers[node.number]} has it already",
                f"give a number that was never used, for example number: {free.number(nodes)}",
            )  # fmt: skip
        numbers.setdefault(node.number, node_id)
        yield from check_provider(key, node_id, node)
        facts = abilities.provider(node_id, node)
        # A slot of a provider that nobody knows would be no cure.
        if regions is not None and facts is not None:
            yield from _check_place(key, node_id, facts, sections)
            region = regions.get(split_id(node_id)[0])
            if region is not None and node.host is None:
                yield from _check_region_there(node_id, region, facts)
    if regions is not None:
        yield from _check_names_there(regions)
    if nodes and not any(abilities.upstream(node_id, node) for node_id, node in nodes.items()):
        yield Problem(
            "mesh:nodes", ", ".join(sorted(nodes)),
            "none of them announces, so nobody on the Internet would reach this network",
            f"add a node at a provider that takes announcements, for example "
            f"{split_id(min(nodes))[0]}-{EXAMPLE}-1: {{number: {free.number(nodes)}}}",
        )  # fmt: skip


def check_exits(sections: Sections) -> Iterator[Problem]:
    """Where nodes have no upstream, some edge takes out their replies of each family."""
    nodes: Mapping[str, Node] = sections.get("nodes") or {}
    prefixes: Prefixes | None = sections.get("prefixes")
    ends = {node_id: abilities.upstream(node_id, node) for node_id, node in nodes.items()}
    if prefixes is None or not any(ends.values()):
        return  # that nobody announces is said with the nodes
    for family, word in (("ipv4", "IPv4"), ("ipv6", "IPv6")):
        able = {n for n, node in nodes.items() if family == "ipv4" or node.ipv6}
        members = sorted(n for n in able if ends[n] is None)
        edges = [n for n in able if getattr(ends[n], family, None) is not None]
        if getattr(prefixes, family) is not None and members and not edges:
            yield Problem(
                "mesh:nodes", ", ".join(members),
                f"no edge has an upstream for {word}, so no {word} reply of theirs would get out",
                f"add an edge whose provider takes {word} announcements", severity="warning",
            )  # fmt: skip


def check_provider(key: str, node_id: str, node: Node | None = None) -> Iterator[Problem]:
    """The provider in a node's id is known, and can do what is asked of the node."""
    name = provider_of(node_id)
    if node is None or (facts := abilities.provider(node_id, node)) is None:
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
    elif abilities.upstream(node_id, node) is None:
        yield Problem(
            key, "true", "its provider's session is not known",
            for_example(
                "add host.upstream: peerAsn and the neighbors' addresses stand on the provider's "
                "BGP page", "nodes", node_id, "host", "upstream",
            ),
        )  # fmt: skip


def _check_size(key: str, node: Node, facts: Provider) -> Iterator[Problem]:
    if node.plan is not None and node.host is not None:
        yield Problem(
            f"{key}.plan", node.plan, "its server exists already, and has the size that it has",
            "remove the key",
        )  # fmt: skip
    elif node.plan is not None and not re.match(facts.plan_form, node.plan):
        yield Problem(
            f"{key}.plan", node.plan, f"no plan of {facts.name} is called so",
            f"give one of {facts.name}'s own names, such as {facts.options().plan}",  # type: ignore[attr-defined]  # all but existing hosts' have it
        )  # fmt: skip
    if node.bare_metal and facts.bare_metal is None:
        yield Problem(
            f"{key}.bareMetal", "true", f"there is no bare metal of {facts.name} here",
            "remove the key",
        )  # fmt: skip


def _check_region_there(node_id: str, region: Region, facts: Provider) -> Iterator[Problem]:
    """The provider has that place, and how it calls it is known."""
    region_id = split_id(node_id)[0]
    if facts.name in region.at:
        return  # judged with the region itself
    if abilities.place(region_id, region, facts) is None:
        nearest = _nearest(region, facts)
        yield Problem(
            f"mesh:regions.{region_id}.at.{facts.name}", "unset",
            f"{facts.name} has no region that is called {region_id}, and {node_id} is there",
            f"name one of its regions, for example at: {{{facts.name}: {nearest[0]}}}; the nearest "
            f"are {', '.join(nearest)}",
        )  # fmt: skip


def _check_names_there(regions: Mapping[str, Region]) -> Iterator[Problem]:
    """What a stack file says of a provider's names for its regions is true."""
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
                nearest = _nearest(region, facts)
                yield Problem(
                    key, there, f"{name} has no such region",
                    f"name one of its regions, for example {name}: {nearest[0]}; the nearest are "
                    f"{', '.join(nearest)}",
                )  # fmt: skip


def _nearest(region: Region, facts: Provider) -> list[str]:
    """A provider's three regions that are nearest, for a cure."""
    far = {name: kilometres(region.location, there) for name, there in facts.regions.items()}
    return sorted(far, key=lambda name: far[name])[:3]


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
    elif slot not in region.slots:
        full = len(set(region.slots.values())) >= 6
        reason = f"region {region_id} has no slot {slot}"
        first = _free(region).partition(",")[0]
        cure = (
            f"add it to mesh:regions.{region_id}.slots, for example {slot}: {first} (free are "
            f"{_free(region)})"
        )
        if full:
            reason += f", and its {region.block} is full"
            cure = "use a slot that exists, or another region"
        yield Problem(key, node_id, reason, cure)


def _new_region(region_id: str, slot: str, facts: Provider, sections: Sections) -> str:
    """A region as it is written, with a slot; where it is, if the provider knows one of that
    name."""
    block = free.block(sections.get("prefixes"), sections["regions"].values())
    latitude, longitude = facts.regions.get(region_id, (33.94, -118.41))
    if block is None:
        block = IPv4Network("192.30.120.0/29")
    return (
        f"{region_id}: {{name: {region_id.capitalize()}, location: [{latitude}, {longitude}], "
        f"block: {block}, slots: {{{slot}: {block[1]}}}}}"
    )


def check_roles(sections: Sections) -> Iterator[Problem]:
    """Reflectors, registries and absentees are nodes of this stack."""
    nodes: Mapping[str, Node] | None = sections.get("nodes")
    if nodes is None:
        return
    for key in ("reflectors", "registries", "without"):
        names: tuple[str, ...] = sections.get(key) or ()
        for name in names:
            if name not in nodes:
                yield Problem(
                    f"mesh:{key}", name, "there is no such node",
                    f"name one of {', '.join(sorted(nodes))}",
                )  # fmt: skip
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield Problem(f"mesh:{key}", name, "it stands twice", "name it once")
    if len(sections.get("reflectors") or ()) == 1 and len(nodes) > 1:
        lost = "a node that reaches no registry hears of no blackhole"
        if len(nodes) > MOST_DIRECT:
            lost = "no service can move between nodes"
        yield Problem(
            "mesh:reflectors", sections["reflectors"][0],
            f"while the only reflector is away, {lost}",
            _second("name a second one in another region", sections["reflectors"][0], nodes),
            severity="warning",
        )  # fmt: skip
    left_out = set(sections.get("without") or ()) & set(sections.get("registries") or ())
    for name in sorted(left_out):
        yield Problem(
            "mesh:without", name, "a registry cannot be left out of its own generation",
            "name another registry first",
        )  # fmt: skip


def _second(cure: str, first: str, nodes: Mapping[str, Node]) -> str:
    """The cure with a node in another region, where there is one: the first by its number, since
    the engine hands nodes over in another order than the file's."""
    others = (node for node in nodes if split_id(node)[0] != split_id(first)[0])
    other = min(others, key=lambda node: nodes[node].number, default=None)
    return cure if other is None else f"{cure}, for example mesh:reflectors: [{first}, {other}]"


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
                f"it lies inside {region.block} of region {region_id}, whose addresses are nodes'",
                _free_service("give an address outside every region's /29", address, sections),
            )  # fmt: skip


def _free_service(cure: str, address: IPv4Address | IPv6Address, sections: Sections) -> str:
    """The cure with an address of that family that no service and no region has, where there is
    one: in IPv6 the one that mirrors it."""
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


def check_overlaps(sections: Sections) -> Iterator[Problem]:
    """Tunnels and aggregates never share an address."""
    prefixes: Prefixes | None = sections.get("prefixes")
    tunnels: Tunnels | None = sections.get("tunnels")
    if prefixes is None or tunnels is None:
        return
    pairs: Iterable[tuple[str, IPv4Network | IPv6Network, IPv4Network | IPv6Network | None]] = (
        ("ipv4", tunnels.ipv4, prefixes.ipv4),
        ("ipv6", tunnels.ipv6, prefixes.ipv6),
    )
    for family, mine, other in pairs:
        if other is not None and mine.overlaps(ip_network(str(other))):
            yield Problem(
                f"mesh:tunnels.{family}", str(mine), f"it overlaps the aggregate {other}",
                "use a private range",
            )  # fmt: skip


# IANA "Special-Purpose Address Registries": nobody out there can send to these. Documentation's are
# taken: the lab lives in them.
NOWHERE = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
            "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3",
        ),
    )
)  # fmt: skip
GLOBAL6 = IPv6Network("2000::/3")


def check_hosts(sections: Sections) -> Iterator[Problem]:
    """An existing host is one that the world can reach, that we can tell from others, and whose
    session can come up."""
    nodes: Mapping[str, Node] = sections.get("nodes") or {}
    owners: dict[object, str] = {}
    for node_id, node in nodes.items():
        if node.host is None:
            continue
        key = f"mesh:nodes.{node_id}.host"
        for family in ("ipv4", "ipv6"):
            address = getattr(node.host, family)
            if address is None:
                continue
            yield from _check_host_address(f"{key}.{family}", address, sections)
            if address in owners:
                yield Problem(
                    f"{key}.{family}", str(address), f"it is {owners[address]}'s already",
                    "a host is one node",
                )  # fmt: skip
            owners.setdefault(address, node_id)
        yield from _check_host_keys(f"{key}.ssh", node.host)
        if node.host.upstream is not None:
            yield from _check_host_session(f"{key}.upstream", node, sections)


def _check_host_address(
    key: str, address: IPv4Address | IPv6Address, sections: Sections
) -> Iterator[Problem]:
    reachable = (
        address in GLOBAL6
        if isinstance(address, IPv6Address)
        else not any(address in network for network in NOWHERE)
    )
    if not reachable:
        yield Problem(
            key, str(address), "nobody on the Internet can send to it",
            "give the public address that the provider's panel shows",
        )  # fmt: skip
    prefixes: Prefixes | None = sections.get("prefixes")
    own = () if prefixes is None else (prefixes.ipv4, prefixes.ipv6)
    if any(network is not None and address in network for network in own):
        yield Problem(
            key, str(address), "it lies inside the aggregate, which is there once the mesh is",
            "give the address that its provider gave it",
        )  # fmt: skip


def _check_host_keys(key: str, host: Host) -> Iterator[Problem]:
    ssh = host.ssh
    for number, text in enumerate(ssh.host_keys):
        if _key_body(text) is None:
            yield Problem(
                f"{key}.hostKeys[{number}]", shown(text), "it is not a host's public key",
                f"copy a line of `{scan(host)}`, without the address",
            )  # fmt: skip
    if not ssh.host_keys and not ssh.trust_first:
        yield Problem(
            f"{key}.hostKeys", "[]",
            "whoever answers in the host's place would be believed, and given its node",
            f"`{scan(host)}` shows its key: compare it with the provider's console, and write it, "
            f"for example ssh: {{hostKeys: [ssh-ed25519 AAAA…]}}; or set trustFirst: true, which "
            "takes the first key that is shown and no other one ever after",
        )  # fmt: skip
    if ssh.host_keys and ssh.trust_first:
        yield Problem(
            f"{key}.trustFirst", "true", "hostKeys says already which key is believed",
            "remove one of the two",
        )  # fmt: skip


def scan(host: Host) -> str:
    """The command that shows a host's key."""
    port = "" if host.ssh.port == 22 else f" -p {host.ssh.port}"
    return f"ssh-keyscan -t ed25519{port} {host.ipv4}"


def _check_host_session(key: str, node: Node, sections: Sections) -> Iterator[Problem]:
    host = node.host
    assert host is not None and host.upstream is not None, "the caller has looked"
    if host.upstream.ipv4 is None and host.upstream.ipv6 is None:
        yield Problem(
            key, f"peerAsn {host.upstream.peer_asn}", "a session needs a neighbor",
            for_example(
                "add ipv4, ipv6 or both: the provider's BGP page names them",
                "nodes", "*", "host", "upstream", "ipv4",
            ),
        )  # fmt: skip
    if host.upstream.peer_asn == sections.get("asn"):
        yield Problem(
            f"{key}.peerAsn", str(host.upstream.peer_asn), "it is this network's own ASN",
            "give the provider's",
        )  # fmt: skip
    if host.upstream.ipv6 is not None and node.ipv6 and host.ipv6 is None:
        yield Problem(
            f"{key}.ipv6", str(host.upstream.ipv6),
            "the host has no IPv6 address that such a session could start from",
            "add host.ipv6, or remove this neighbor",
        )  # fmt: skip
    if host.upstream.blackhole is not None:
        yield from _check_blackhole(f"{key}.blackhole", host.upstream)


def _check_blackhole(key: str, session: HostUpstream) -> Iterator[Problem]:
    """Sent to whom it means nothing, it would announce what is attacked instead of ending it."""
    assert session.blackhole is not None, "the caller has looked"
    numbers = abilities.community(session.blackhole)
    own = f"{session.peer_asn}:666"
    largest = 0xFFFF if len(numbers) == 2 else 0xFFFFFFFF
    if max(numbers) > largest:
        yield Problem(
            key, session.blackhole,
            f"is no community: its numbers go up to {largest}",
            f"the provider's BGP page names it, {own} or 65535:666 at most",
        )  # fmt: skip
    elif numbers != (65535, 666) and numbers[0] != session.peer_asn:
        yield Problem(
            key, session.blackhole,
            f"is not of AS{session.peer_asn}, which would pass it on or ignore it, and carry the "
            f"attack here all the same",
            f"give the provider's own, {own} at most, or 65535:666 (RFC 7999)",
        )  # fmt: skip


def check_protect(sections: Sections) -> Iterator[Problem]:
    """Protection that is off is said at every look at the stack file."""
    if sections.get("protect") is False:
        yield Problem(
            "mesh:protect", "false",
            "neither addresses nor the operator's key are protected: a node that leaves the stack "
            "file by mistake, or `pulumi destroy`, gives them up for good",
            "remove it (pulumi config rm mesh:protect); a network is ended by `mesh destroy`, "
            "which wants no key of the stack file",
            "warning",
        )  # fmt: skip


CHECKS: tuple[Check, ...] = (
    check_asn,
    check_prefixes,
    check_tunnels,
    check_overlaps,
    check_admin,
    check_regions,
    check_nodes,
    check_exits,
    check_hosts,
    check_roles,
    check_services,
    check_imports,
    check_traffic,
    check_protect,
)
"""Every check, in the order in which a person would read the stack file."""

OF_VALUES_ALONE: tuple[Check, ...] = (check_asn, check_prefixes, check_overlaps)
"""The checks whose verdict stays, whatever is added to a map or set beside what is there."""
