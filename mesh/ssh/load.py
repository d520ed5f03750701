"""What is delivered to a host, and what becomes of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mesh.plan import Network

HOME = "/var/lib/anycast-mesh"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Load:
    """What is delivered: the node's user data (secret) and the bundle; and what preflight needs:
    the host's IPv6 address, and the networks that its firewall lets log in."""

    user_data: str = field(repr=False)
    bundle: bytes = field(repr=False)
    ipv6: str | None
    admin: Sequence[Network]


@dataclass(frozen=True)
class Delivered:
    """A node on its host. ``created`` is RFC 3339, and ``written`` are the files that were not
    there before."""

    instance_id: str
    created: str
    written: tuple[str, ...]


def new_instance() -> str:
    """An id for a node on an existing host."""
    return f"host-{secrets.token_hex(8)}"


def now() -> str:
    """Now, as RFC 3339: the join token's lifetime starts here."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
