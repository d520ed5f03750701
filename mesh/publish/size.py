"""An upper limit for a generation's size, computed from the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from mesh.facts import Facts
from mesh.plan import Plan, Role
from mesh.publish.generation import Packing, contents, views
from mesh.render import (
    File,
    Seed,
    node_files,
    node_secrets,
    placeholder_facts,
    placeholder_placements,
)
from mesh.spec.secrets import RECEIVER_LIMIT
from mesh.trust.documents import (
    MAX_NETWORK,
    MAX_NUMBER,
    Manifest,
    NodeEntry,
    PackedGeneration,
    RegistryEntry,
    SealedFile,
)
from mesh.trust.encoding import b64, canonical, dump
from mesh.trust.keys import KEY_BYTES
from mesh.trust.sealing import Box
from mesh.trust.signing import SIGNATURE_BYTES, Signed

TAG_BYTES = 16
"""Bytes that sealing adds to a text (RFC 8439, section 2.8)."""
HASH, KEY = "0" * 64, b64(bytes(KEY_BYTES))
PASSWORD = "x" * 80
"""The longest that Linux takes (TCP_MD5SIG_MAXKEYLEN)."""


def at_most(plan: Plan, limit: int) -> int:
    """Bytes of a generation's body, at most. Once ``limit`` is passed, each node that is left
    counts as much as the last one."""
    facts = _longest_facts(plan)
    total = len(dump(_frame(plan, facts)))
    for count, weight in enumerate(_parts(plan, facts), start=1):
        total += weight
        if total > limit:
            return total + weight * (len(facts) - count)
    return total


def _parts(plan: Plan, facts: Mapping[str, Facts]) -> Iterator[int]:
    """What each node's part adds to the body: its own texts, and the places of all of them."""
    places = {
        node_id: replace(place, ipv4=facts[node_id].ipv4, ipv6=facts[node_id].ipv6)
        for node_id, place in placeholder_placements(plan).items()
    }
    packing = Packing()
    for node_id, own in node_files(plan, facts, places).items():
        known = len(packing.texts)
        packing.add(node_id, own, tuple(_sealed(plan, node_id)))
        new = sum(len(canonical(text)) + len(",") for text in packing.texts[known:])
        yield new + len(canonical({node_id: packing.parts[node_id]}))


def _sealed(plan: Plan, node_id: str) -> Iterator[SealedFile]:
    node = plan.node(node_id)
    named = [each.password for each in node.upstreams] + [each.password for each in node.vpc]
    passwords = {name: PASSWORD for name in named if name}
    receivers = dict.fromkeys(plan.receiver_secrets, "x" * RECEIVER_LIMIT)
    for file in node_secrets(plan, node_id, passwords, receivers):
        yield SealedFile(file.path, _box(file), file.mode, file.group)


def _box(file: File) -> Box:
    return Box(KEY, b64(bytes(len(file.content.encode()) + TAG_BYTES)))


def _frame(plan: Plan, facts: Mapping[str, Facts]) -> PackedGeneration:
    """A generation without its parts."""
    registries = [
        f"https://{facts[node.id].ipv4}:{plan.access.registry_port}"
        for node in plan.with_role(Role.REGISTRY)
    ]
    shown = views(plan, Seed(tuple(registries), KEY, HASH, ""), facts)
    manifest = Manifest(
        network="x" * MAX_NETWORK,
        generation=MAX_NUMBER,
        nonce=KEY,
        bundle=HASH,
        registries=tuple(RegistryEntry(url, HASH) for url in registries),
        nodes={node_id: NodeEntry(HASH, KEY, MAX_NUMBER) for node_id in facts},
        views_sha256=HASH,
        contents=contents(plan),
    )
    signed = Signed(dump(manifest).decode("ascii"), b64(bytes(SIGNATURE_BYTES)))
    return PackedGeneration(signed, (), {}, dump(shown).decode("ascii"))


def _longest_facts(plan: Plan) -> dict[str, Facts]:
    """Facts with the longest texts that a node reports: 15 and 39 characters for addresses, 15 for
    an interface."""
    return {
        node.id: replace(
            facts,
            uplink="x" * 15,
            ipv4=_ipv4(node.number),
            ipv6=None if facts.ipv6 is None else IPv6Address(2**128 - 1 - node.number),
        )
        for node, facts in zip(plan.nodes, placeholder_facts(plan).values(), strict=True)
    }


def _ipv4(number: int) -> IPv4Address:
    high, low = divmod(number, 100)
    return IPv4Address(f"200.200.{100 + high % 100}.{100 + low}")
