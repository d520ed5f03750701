"""A node's seed: who it is, and whom it believes, before its first generation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from mesh.plan import Node, Plan, Role

Sign = Callable[[str], str]
"""A message below its signature."""


@dataclass(frozen=True, slots=True)
class Seed:
    """The parameters of a node's user data. ``token`` is empty where they are only displayed."""

    registries: tuple[str, ...]
    """Base addresses: ``https://203.0.113.1:8443``."""
    operator: str
    """The operator's Ed25519 public key, base64."""
    bundle: str
    """SHA-256 of the bundle, hex."""
    token: str


def document(plan: Plan, node: Node, seed: Seed) -> str:
    """The content of seed.json."""
    values = {
        "node": node.id,
        "registries": list(seed.registries),
        "operator": seed.operator,
        "bundle": seed.bundle,
        "token": seed.token,
        "registry": Role.REGISTRY in node.roles,
        "registry_port": plan.access.registry_port,
    }
    return json.dumps(values, indent=1) + "\n"
