"""What an account holds, and how the API tells of it."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]


@dataclass
class Key:
    """An SSH key."""

    id: str
    created: str
    name: str
    ssh_key: str

    def shown(self) -> Record:
        return {"id": self.id, "date_created": self.created, "name": self.name,
                "ssh_key": self.ssh_key}  # fmt: skip


@dataclass
class Script:
    """A startup script; ``script`` is base64."""

    id: str
    created: str
    modified: str
    name: str
    type: str
    script: str

    def shown(self) -> Record:
        """As a list has it."""
        return {"id": self.id, "date_created": self.created, "date_modified": self.modified,
                "name": self.name, "type": self.type}  # fmt: skip

    @property
    def text(self) -> str:
        """What servers run."""
        return base64.b64decode(self.script).decode()


@dataclass
class Address:
    """A reserved address. ``instance`` is the server that it is attached to, empty for none;
    ``leaving`` is when it comes off (by the account's clock), None while it stays."""

    id: str
    region: str
    ip_type: str
    subnet: str
    size: int
    label: str = ""
    instance: str = ""
    leaving: float | None = None

    def shown(self) -> Record:
        return {"id": self.id, "region": self.region, "ip_type": self.ip_type,
                "subnet": self.subnet, "subnet_size": self.size, "label": self.label,
                "instance_id": self.instance}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """A rule of a firewall group: one that is wanted otherwise is another one."""

    id: int
    ip_type: str
    protocol: str
    port: str
    subnet: str
    size: int
    source: str
    notes: str

    def same(self, other: Rule) -> bool:
        """Whether the two let in the same; Vultr refuses the second."""
        mine = (self.ip_type, self.protocol, self.port, self.subnet, self.size)
        return mine == (other.ip_type, other.protocol, other.port, other.subnet, other.size)

    def shown(self, filled: bool) -> Record:
        """``filled``: whether ``source`` names the network of a rule that gave none."""
        source = self.source or (f"{self.subnet}/{self.size}" if filled else "")
        return {"id": self.id, "type": self.ip_type, "ip_type": self.ip_type, "action": "accept",
                "protocol": self.protocol, "port": self.port, "subnet": self.subnet,
                "subnet_size": self.size, "source": source, "notes": self.notes}  # fmt: skip


@dataclass
class Group:
    """A firewall group with its rules by number."""

    id: str
    created: str
    modified: str
    description: str
    rules: dict[int, Rule] = field(default_factory=dict)


@dataclass
class Server:
    """An instance or a bare metal server. ``born`` is its creation by the account's clock,
    ``booted`` whether its machine, where there is one, has come up."""

    id: str
    metal: bool
    created: str
    born: float
    region: str
    plan: str
    os_id: int
    label: str
    hostname: str
    tags: list[str]
    address: str
    """The id of its reserved address, empty for none."""
    main_ip: str
    enable_ipv6: bool
    v6_network: str
    v6_main_ip: str
    firewall_group: str
    ssh_keys: tuple[str, ...]
    user_data: str
    """As it was given: base64."""
    ddos_protection: bool
    password: str
    activation_email: bool
    script: str = ""
    """The id of its startup script, empty for none."""
    running: bool = True
    reinstalled: int = 0
    reverse4: str = ""
    reverse6: dict[str, str] = field(default_factory=dict)
    """Reverse names by IPv6 address, in its short form."""

    @property
    def cloud_config(self) -> str:
        """The text that cloud-init reads."""
        return base64.b64decode(self.user_data).decode()


def is_base64(text: str) -> bool:
    """Whether user data can be read."""
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True
