"""From plan and members to a signed generation: rendered, sealed, hashed. Opens no connection."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mesh.facts import Facts, Placement
from mesh.plan import Node, Plan
from mesh.publish.order import Member, Order, PublishError
from mesh.render import File, NodeFiles, Seed, node_files, node_secrets, user_data
from mesh.trust import signing
from mesh.trust.documents import (
    Generation,
    Manifest,
    NodeEntry,
    NodeView,
    Part,
    PublicFile,
    RegistryEntry,
    SealedFile,
    Views,
)
from mesh.trust.encoding import b64, dump, sha256
from mesh.trust.keys import signing_public
from mesh.trust.sealing import seal
from mesh.trust.signing import Purpose, Signed


@dataclass(frozen=True, slots=True)
class Made:
    """A generation ready to be sent, its manifest in clear, and the files of each node with facts
    that its parts were made of."""

    generation: Generation
    manifest: Manifest
    files: Mapping[str, NodeFiles]

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, as reports name it."""
        return self.generation.manifest.digest


def make(order: Order, members: Mapping[str, Member], number: int, network: str) -> Made:
    """The generation of that number for these members of that network."""
    facts = {node: member.facts for node, member in members.items()}
    rendered = node_files(order.plan, facts, placements(order))
    parts = {
        node: part(
            node,
            rendered[node],
            tuple(_sealed(file, node, number, facts[node]) for file in _secrets(order, node)),
        )
        for node in sorted(members)
    }
    seed = Seed(
        registries=tuple(url for _, url in sorted(order.registries.items())),
        operator=signing_public(order.operator_key),
        bundle=sha256(order.bundle),
        token="",
    )
    shown = dump(views(order.plan, seed, seen(facts, placements(order)))).decode("ascii")
    manifest = Manifest(
        network=network,
        generation=number,
        nonce=_nonce(),
        bundle=sha256(order.bundle),
        registries=tuple(
            RegistryEntry(url, facts[node].tls_sha256 if node in facts else None)
            for node, url in sorted(order.registries.items())
        ),
        nodes={
            node: NodeEntry(sha256(text.encode()), members[node].identity)
            for node, text in parts.items()
        },
        views_sha256=sha256(shown.encode()),
    )
    return Made(Generation(_signed(order, manifest), parts, shown), manifest, rendered)


def placements(order: Order) -> dict[str, Placement]:
    """Where each server is, by node."""
    return {node: instance.placement for node, instance in order.instances.items()}


def seen(facts: Mapping[str, Facts], places: Mapping[str, Placement]) -> dict[str, Facts]:
    """Facts with the addresses that the world sees: what a node behind a translation knows of
    itself is of no use to others."""
    return {node: replace(one, ipv4=places[node].ipv4) for node, one in facts.items()}


def make_retired(order: Order, last: Manifest, number: int) -> tuple[Signed, Manifest]:
    """The word that the network is taken down: the last manifest, numbered above it."""
    manifest = replace(last, generation=number, nonce=_nonce(), retired=True)
    return _signed(order, manifest), manifest


def _signed(order: Order, manifest: Manifest) -> Signed:
    return signing.signed_document(order.operator_key, Purpose.MANIFEST, manifest)


def _nonce() -> str:
    return b64(secrets.token_bytes(32))


def part(node: str, own: NodeFiles, sealed: tuple[SealedFile, ...]) -> str:
    """A node's part as text, which its hash in the manifest is over."""
    files = tuple(PublicFile(file.path, file.content, file.mode, file.group) for file in own.files)
    return dump(Part(node, files, own.units, sealed)).decode("ascii")


def _secrets(order: Order, node: str) -> tuple[File, ...]:
    try:
        return node_secrets(order.plan, node, order.passwords)
    except KeyError as error:
        raise PublishError(
            f"mesh:bgpPassword-{error.args[0]}: {node} needs it for its upstream session and it "
            f"is not set; pulumi config set --secret mesh:bgpPassword-{error.args[0]}"
        ) from None


def _sealed(file: File, node: str, number: int, facts: Facts) -> SealedFile:
    try:
        box = seal(facts.sealing, node, number, file.path, file.content.encode())
    except ValueError:
        # A point of small order, which no honest node has for a key.
        raise PublishError(
            f"{node}: nothing can be sealed to the key that it reported; replace its server "
            f"(pulumi up --replace '**{node}-instance')"
        ) from None
    return SealedFile(file.path, box, file.mode, file.group)


# --- what the API shows --------------------------------------------------------------------------


def views(plan: Plan, seed: Seed, facts: Mapping[str, Facts]) -> Views:
    """What the API shows of a network, by the facts of its nodes (:func:`seen`)."""
    return Views(
        firewall=_firewall(plan, facts),
        nodes={
            node.id: NodeView(
                region=node.region,
                addresses=_addresses(facts[node.id]),
                description=_description(plan, node, facts[node.id]),
                wireguard=_wireguard(node, facts),
                cloud_init=user_data(plan, node.id, seed),
            )
            for node in plan.nodes
            if node.id in facts
        },
    )


def _addresses(facts: Facts) -> tuple[Any, ...]:
    return (facts.ipv4,) if facts.ipv6 is None else (facts.ipv4, facts.ipv6)


def _firewall(plan: Plan, facts: Mapping[str, Facts]) -> dict[str, Any]:
    return {
        "rules": [
            {
                "name": rule.name,
                "zone": rule.zone,
                "protocol": rule.protocol,
                "ports": list(rule.ports),
                "source": rule.source,
                "roles": [str(role) for role in rule.roles],
            }
            for rule in plan.firewall
        ],
        "sources": {
            "admin": [str(network) for network in plan.access.admin],
            "registry": [str(network) for network in plan.access.registry],
            "mesh": [str(network) for network in plan.tunnels.both()],
            "nodes": sorted(str(a) for one in facts.values() for a in _addresses(one)),
        },
    }


def _description(plan: Plan, node: Node, facts: Facts) -> dict[str, Any]:
    return {
        "provider": node.provider,
        "roles": [str(role) for role in node.roles],
        "asn": plan.asn,
        "router_id": str(node.router_id),
        "addresses": {
            "announced": [str(address) for address in node.announced.both()],
            "tunnel": [str(address) for address in node.tunnel.both()],
            "public": [str(address) for address in _addresses(facts)],
        },
        "sessions": [
            {
                "name": session.name,
                "family": session.family,
                "peer_asn": session.peer_asn,
                "neighbor": str(session.neighbor),
            }
            for session in node.upstreams
        ],
        "services": list(node.services),
    }


def _wireguard(node: Node, facts: Mapping[str, Facts]) -> dict[str, Any]:
    present = [link for link in node.links if link.peer in facts]
    return {
        "public_key": facts[node.id].wireguard,
        "interfaces": [
            {
                "name": link.interface,
                "address": f"{link.local}/64",
                "listen_port": link.port,
                "mtu": link.mtu,
                "peer": {
                    "node": link.peer,
                    "public_key": facts[link.peer].wireguard,
                    "endpoint": f"{facts[link.peer].ipv4}:{link.peer_port}",
                    "allowed_ips": ["0.0.0.0/0", "::/0"],
                },
            }
            for link in present
        ],
    }
