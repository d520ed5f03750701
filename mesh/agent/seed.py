"""A node's first configuration: ``/etc/anycast-mesh/seed.json``, from its user data."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.agent import file_paths
from mesh.agent.host import Host
from mesh.trust.documents import Hash, Key, NodeId
from mesh.trust.encoding import parse


@dataclass(frozen=True, slots=True)
class Seed:
    """The node's id and token, the operator's key, and the registries. ``token`` is secret."""

    node: NodeId
    registries: tuple[str, ...]
    operator: Key
    bundle: Hash
    token: Key = field(repr=False)
    registry: bool
    registry_port: int


def read_seed(host: Host) -> Seed:
    """The seed of this node. Raises :class:`mesh.trust.encoding.Malformed`."""
    return parse(Seed, host.read(file_paths.SEED) or b"")
