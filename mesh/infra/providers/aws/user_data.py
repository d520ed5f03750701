"""User data as EC2 takes them, and its limit."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterator, Sequence

from mesh.infra.providers.protocol import StackConfiguration
from mesh.plan import Node, Role
from mesh.spec import Problem
from mesh.spec.providers.aws import FACTS

ROOM = 64
"""Bytes by which the size of compressed user data may vary with tokens and addresses."""


def packed(user_data: str) -> str:
    """User data as an instance takes them: gzip, in base64. The same text gives the same bytes."""
    return base64.b64encode(_compressed(user_data)).decode()


def problems(configuration: StackConfiguration, nodes: Sequence[Node]) -> Iterator[Problem]:
    """User data above the limit, measured with keys, tokens and addresses of the real length, which
    a preview of a new stack does not know yet."""
    from mesh.render import Seed, user_data

    registries = configuration.plan.with_role(Role.REGISTRY)
    port = configuration.plan.access.registry_port
    urls = tuple(f"https://203.0.113.{100 + i}:{port}" for i, _ in enumerate(registries))
    for node in nodes:
        seed = Seed(urls, _noise("operator"), configuration.bundle, _noise(node.id))
        size = len(_compressed(user_data(configuration.plan, node.id, seed)))
        if size > FACTS.user_data_limit - ROOM:
            yield Problem(
                f"mesh:nodes.{node.id}", f"{size} bytes of user data",
                f"AWS takes {FACTS.user_data_limit} bytes, compressed",
                "list fewer mesh:admin.keys or networks",
            )  # fmt: skip


def _compressed(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


def _noise(name: str) -> str:
    """Text of a key's length that compresses as badly as one."""
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()
