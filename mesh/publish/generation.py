"""Makes a signed generation of plan and members: rendered, sealed, hashed. No I/O."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mesh.facts import Facts, Placement
from mesh.plan import Node, Plan
from mesh.publish.order import Member, Order, PublishError
from mesh.render import (
    File,
    NodeFiles,
    Seed,
    node_files,
    node_secrets,
    tunnel_mtu,
    user_data,
)
from mesh.spec import PASSWORD_PREFIX, RECEIVER_PREFIX
from mesh.trust import signing
from mesh.trust.documents import (
    ContentEntry,
    Manifest,
    NodeEntry,
    NodeView,
    PackedGeneration,
    Part,
    PublicFile,
    RegistryEntry,
    SealedFile,
    Views,
)
from mesh.trust.encoding import b64, canonical, dump, sha256
from mesh.trust.keys import signing_public
from mesh.trust.sealing import seal
from mesh.trust.signing import Purpose, Signed

_CUT = "\0"
"""Placeholder for a file's content while the JSON around it is made; occurs nowhere else."""
_CUT_IN_JSON = canonical(_CUT).decode("ascii")[1:-1]


@dataclass(frozen=True, slots=True)
class SignedGeneration:
    """A generation ready to be sent, its manifest in clear, and the files that its parts contain,
    by node."""

    generation: PackedGeneration
    manifest: Manifest
    files: Mapping[str, NodeFiles]

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, as in reports."""
        return self.generation.manifest.digest


def make(
    order: Order,
    members: Mapping[str, Member],
    number: int,
    network: str,
    *,
    waves: bool = False,
) -> SignedGeneration:
    """The generation with this number for these members; with ``waves``, those that have one in
    force wait for their release."""
    facts = {node: member.facts for node, member in members.items()}
    rendered = node_files(order.plan, facts, placements(order))
    packing = Packing()
    for node in sorted(members):
        secret = _secrets(order, node)
        sealed = tuple(_sealed(file, node, number, facts[node]) for file in secret)
        packing.add(node, rendered[node], sealed)
    seed = Seed(
        registries=tuple(url for _, url in sorted(order.registries.items())),
        operator=signing_public(order.operator_key),
        bundle=sha256(order.bundle),
        token="",
    )
    shown = dump(views(order.plan, seed, public_facts(facts, placements(order)))).decode("ascii")
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
            node: NodeEntry(packing.digest(node), members[node].identity) for node in packing.parts
        },
        views_sha256=sha256(shown.encode()),
        contents=contents(order.plan),
        waves=waves,
    )
    return SignedGeneration(packing.packed(_signed(order, manifest), shown), manifest, rendered)


def restored(
    order: Order,
    held: PackedGeneration,
    manifest: Manifest,
    number: int,
    made: SignedGeneration,
    bundle: str,
) -> SignedGeneration:
    """The content of an earlier generation as a new one: the same parts, byte for byte, and its
    contents, with this bundle. ``manifest`` is that of ``held``. Nodes that have joined since, with
    ``made``, keep what they have of that."""
    texts = list(held.texts)
    parts: dict[str, tuple[int, ...]] = {}
    nodes: dict[str, NodeEntry] = {}
    for node in sorted(manifest.nodes.keys() | made.manifest.nodes.keys()):
        old, new = manifest.nodes.get(node), made.manifest.nodes.get(node)
        if old is not None and (new is None or new.identity == old.identity):
            nodes[node] = replace(old, sealed_in=old.sealed_in or manifest.generation)
            parts[node] = held.parts[node]
        elif new is not None:
            nodes[node] = replace(new, sealed_in=made.manifest.generation)
            parts[node] = (len(texts),)
            texts.append(made.generation.part(node))
    # Registries of earlier versions give no views back.
    shown = held.views or made.generation.views
    again = replace(
        manifest,
        generation=number,
        nonce=_nonce(),
        bundle=bundle,
        nodes=nodes,
        views_sha256=sha256(shown.encode()),
        retired=False,
        waves=True,
    )
    packed = PackedGeneration(_signed(order, again), tuple(texts), parts, shown)
    return SignedGeneration(packed, again, {})


def contents(plan: Plan) -> dict[str, ContentEntry]:
    """The contents of a plan, by the SHA-256 of the artefact."""
    return {
        service.content.sha256: ContentEntry(service.content.size, service.content.files)
        for service in plan.services
        if service.content is not None
    }


def placements(order: Order) -> dict[str, Placement]:
    """Where each server is, by node."""
    return {node: instance.placement for node, instance in order.instances.items()}


def public_facts(facts: Mapping[str, Facts], places: Mapping[str, Placement]) -> dict[str, Facts]:
    """Facts with public IPv4 addresses: a node behind NAT only knows its inside one."""
    return {node: replace(one, ipv4=places[node].ipv4) for node, one in facts.items()}


def make_retired(order: Order, last: Manifest, number: int) -> tuple[Signed, Manifest]:
    """The manifest that retires the network: the last one, with a higher number."""
    manifest = replace(last, generation=number, nonce=_nonce(), retired=True, waves=False)
    return _signed(order, manifest), manifest


def _signed(order: Order, manifest: Manifest) -> Signed:
    return signing.signed_document(order.operator_key, Purpose.MANIFEST, manifest)


def _nonce() -> str:
    return b64(secrets.token_bytes(32))


class Packing:
    """The parts of a generation, with each text stored once."""

    def __init__(self) -> None:
        self.parts: dict[str, tuple[int, ...]] = {}
        self.texts: list[str] = []
        """Texts; ``parts`` has indexes of them."""
        self._places: dict[str, int] = {}
        self._encoded: dict[str, str] = {}

    def add(self, node: str, own: NodeFiles, sealed: tuple[SealedFile, ...]) -> None:
        """Adds a node's part: the canonical JSON of a :class:`Part`, as texts."""
        files = tuple(PublicFile(file.path, _CUT, file.mode, file.group) for file in own.files)
        around = dump(Part(node, files, own.units, sealed)).decode("ascii").split(_CUT_IN_JSON)
        texts = [around[0]]
        for file, after in zip(own.files, around[1:], strict=True):
            texts += map(self._as_json, file.pieces or (file.content,))
            texts.append(after)
        self.parts[node] = tuple(map(self._place, texts))

    def _place(self, text: str) -> int:
        place = self._places.setdefault(text, len(self.texts))
        if place == len(self.texts):
            self.texts.append(text)
        return place

    def _as_json(self, content: str) -> str:
        """The content as JSON, without the quotes."""
        if content not in self._encoded:
            self._encoded[content] = canonical(content).decode("ascii")[1:-1]
        return self._encoded[content]

    def digest(self, node: str) -> str:
        """SHA-256 of a node's part, as in the manifest."""
        return sha256("".join([self.texts[place] for place in self.parts[node]]).encode())

    def packed(self, manifest: Signed, views: str) -> PackedGeneration:
        """The generation."""
        return PackedGeneration(manifest, tuple(self.texts), self.parts, views)


def _secrets(order: Order, node: str) -> tuple[File, ...]:
    try:
        return node_secrets(order.plan, node, order.passwords, order.receivers)
    except KeyError as error:
        name: str = error.args[0]
        key, whose = f"mesh:{PASSWORD_PREFIX}{name}", "its upstream session"
        if name.startswith(RECEIVER_PREFIX):
            key, whose = f"mesh:{name}", "a receiver of alerts"
        raise PublishError(
            f"{key}: {node} needs it for {whose} and it is not set; "
            f"pulumi config set --secret {key}"
        ) from None


def _sealed(file: File, node: str, number: int, facts: Facts) -> SealedFile:
    try:
        box = seal(facts.sealing, node, number, file.path, file.content.encode())
    except ValueError:
        # A point of small order: no key that an agent has made.
        raise PublishError(
            f"{node}: nothing can be sealed to the key that it reported; replace its server "
            f"(pulumi up --replace '**{node}-instance')"
        ) from None
    return SealedFile(file.path, box, file.mode, file.group)


# --- what the API shows --------------------------------------------------------------------------


def views(plan: Plan, seed: Seed, facts: Mapping[str, Facts]) -> Views:
    """What the API shows of a network; ``facts`` as :func:`public_facts` returns them."""
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
                "mtu": tunnel_mtu(link, (facts[node.id].mtu, facts[link.peer].mtu)),
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
