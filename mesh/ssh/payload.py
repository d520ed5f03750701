"""User data for a host that is no cloud's, from the same text that a cloud gets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import yaml

SEED = "/etc/anycast-mesh/seed.json"

BOOT_ONLY = frozenset(
    ("hostname", "preserve_hostname", "manage_etc_hosts", "updates", "bootcmd")
)  # fmt: skip
"""Keys for a first boot only. An existing host keeps its name and network, and the delivery loads
its firewall without cutting itself off."""

AT_GENERATION = frozenset(("ssh_pwauth", "disable_root"))
"""Settings of sshd, which the node's first generation contains."""


_SHELL = re.compile(r"untrusted comment: [^\n]*\n[A-Za-z0-9+/=]+\n#!/bin/sh\n")
_PUT = re.compile(
    r"^put (?P<mode>[0-7]{4}) (?P<path>/\S+) <<'(?P<end>[A-Z-]+)'\n(?P<content>.*?)^(?P=end)\n",
    re.MULTILINE | re.DOTALL,
)


class NotOurs(ValueError):
    """The text is not our user data, or has keys that a delivery does not support."""


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
    """What is delivered. ``operator`` is the public key that distinguishes networks, ``bundle`` the
    SHA-256 of the bundle, ``digest`` that of the whole text; with ``registry`` the operator sends
    the bundle."""

    node: str
    operator: str
    bundle: str
    registry: bool
    digest: str
    items: tuple[Item, ...]
    keys: tuple[str, ...]


def payload(user_data: str) -> Payload:
    """The payload of a cloud-config; raises NotOurs, also for unknown keys."""
    if not user_data.startswith("#cloud-config\n"):
        raise NotOurs("it is not a cloud-config")
    document: Mapping[str, Any] = yaml.safe_load(user_data)
    unknown = set(document) - BOOT_ONLY - AT_GENERATION - {"write_files", "ssh_authorized_keys"}
    if unknown:
        raise NotOurs(f"unknown keys: {', '.join(sorted(unknown))}")
    items = tuple(
        Item(file["path"], file["content"].encode(), int(file["permissions"], 8))
        for file in document["write_files"]
    )
    return _payload(user_data, items, tuple(document.get("ssh_authorized_keys", ())))


def shell_payload(user_data: str) -> Payload:
    """The payload of an OpenBSD node's user data, a shell script below its signature; raises
    NotOurs. The script adds the keys itself."""
    if not _SHELL.match(user_data):
        raise NotOurs("it is no signed script")
    items = tuple(
        Item(found["path"], found["content"].encode(), int(found["mode"], 8))
        for found in _PUT.finditer(user_data)
    )
    return _payload(user_data, items, ())


def _payload(user_data: str, items: tuple[Item, ...], keys: tuple[str, ...]) -> Payload:
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
        keys=keys,
    )
