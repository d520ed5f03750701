"""User data as a host without cloud-init needs them: read from the same text that a cloud gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import yaml

SEED = "/etc/anycast-mesh/seed.json"

BOOT_ONLY = frozenset(
    ("hostname", "preserve_hostname", "manage_etc_hosts", "updates", "bootcmd")
)  # fmt: skip
"""Keys for a machine that is being born. A host that exists keeps its name and network, and its
firewall is loaded by the delivery itself, which must not be cut off by it as a boot may be."""

AT_GENERATION = frozenset(("ssh_pwauth", "disable_root"))
"""What the node's first generation says of sshd."""


class NotOurs(ValueError):
    """A text that is no user data of ours, or that says more than a delivery knows to do."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file to be delivered; its owner is root."""

    path: str
    content: bytes
    mode: int

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, hex."""
        return sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Payload:
    """What is delivered. ``operator`` is the public key that tells our network from another's,
    ``bundle`` the SHA-256 of what the node runs, ``digest`` that of the whole text; ``registry``
    says that the operator pushes the bundle there."""

    node: str
    operator: str
    bundle: str
    registry: bool
    digest: str
    items: tuple[Item, ...]
    keys: tuple[str, ...]


def payload(user_data: str) -> Payload:
    """The parcel of a cloud-config; NotOurs where a key of it would be lost on the way."""
    if not user_data.startswith("#cloud-config\n"):
        raise NotOurs("it is no cloud-config")
    document: Mapping[str, Any] = yaml.safe_load(user_data)
    unknown = set(document) - BOOT_ONLY - AT_GENERATION - {"write_files", "ssh_authorized_keys"}
    if unknown:
        raise NotOurs(f"nothing here knows what to do with {', '.join(sorted(unknown))}")
    items = tuple(
        Item(file["path"], file["content"].encode(), int(file["permissions"], 8))
        for file in document["write_files"]
    )
    seed = next((json.loads(item.content) for item in items if item.path == SEED), None)
    if seed is None:
        raise NotOurs(f"it has no {SEED}")
    return Payload(
        node=seed["node"],
        operator=seed["operator"],
        bundle=seed["bundle"],
        registry=seed["registry"],
        digest=sha256(user_data.encode()).hexdigest(),
        items=items,
        keys=tuple(document.get("ssh_authorized_keys", ())),
    )
