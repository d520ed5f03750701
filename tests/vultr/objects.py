"""What the tests ask for, as the engine hands it to a provider."""

from __future__ import annotations

from typing import Any

from mesh.infra.dynamic.vultr.address import AddressProvider
from mesh.infra.dynamic.vultr.bare_metal import BareMetalProvider
from mesh.infra.dynamic.vultr.firewall import FirewallProvider
from mesh.infra.dynamic.vultr.instance import InstanceProvider
from mesh.infra.dynamic.vultr.key import KeyProvider
from mesh.infra.dynamic.vultr.startup_script import StartupScriptProvider
from tests.kit.vultr_api import Vultr

IDENTITY = "ab12cd34"
NODE = "lax-vultr-1"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOzLkBfCCCiF1hsuWNaM5XrCJ2wmjKnHdBlfRAJQxvhH a"
ADDRESS: dict[str, Any] = {"identity": IDENTITY, "node": NODE, "region": "lax"}
KEY: dict[str, Any] = {"identity": IDENTITY, "ssh_key": SSH_KEY}
SCRIPT: dict[str, Any] = {"identity": IDENTITY, "script": "#!/bin/sh\nftp -o - …\n"}


def rule(notes: str, subnet: str, size: int = 32, port: str = "22") -> dict[str, Any]:
    family = 6 if ":" in subnet else 4
    return {"notes": notes, "family": family, "protocol": "tcp", "subnet": subnet,
            "size": float(size), "port": port}  # fmt: skip


FIREWALL: dict[str, Any] = {
    "identity": IDENTITY,
    "rules": [rule("a", "192.0.2.7"), rule("b", "2001:db8::", 48)],
}
BARE_METAL: dict[str, Any] = {
    "identity": IDENTITY,
    "node": NODE,
    "region": "lax",
    "plan": "vbm-4c-32gb",
    "os_id": 2625.0,
    "enable_ipv6": True,
    "hostname": NODE,
    "tags": ["anycast-mesh", "prod"],
    "user_data": "#cloud-config\n",
}
INSTANCE: dict[str, Any] = BARE_METAL | {"plan": "vc2-1c-1gb", "ddos_protection": False}


def address(**changes: Any) -> tuple[str, dict[str, Any]]:
    """A reserved address, and its outputs."""
    return _made(AddressProvider(), ADDRESS | changes)


def key(**changes: Any) -> tuple[str, dict[str, Any]]:
    return _made(KeyProvider(), KEY | changes)


def script(**changes: Any) -> tuple[str, dict[str, Any]]:
    return _made(StartupScriptProvider(), SCRIPT | changes)


def firewall(**changes: Any) -> tuple[str, dict[str, Any]]:
    return _made(FirewallProvider(), FIREWALL | changes)


def instance(**changes: Any) -> tuple[str, dict[str, Any]]:
    """A server with all that it stands on."""
    return _made(InstanceProvider(), instance_props(**changes))


def bare_metal(**changes: Any) -> tuple[str, dict[str, Any]]:
    return _made(BareMetalProvider(), BARE_METAL | _ground(changes) | changes)


def instance_props(**changes: Any) -> dict[str, Any]:
    """What an instance is asked for with, once all that it stands on is there."""
    own = {k: v for k, v in changes.items() if k == "identity"}
    group = {} if "firewall_group_id" in changes else {"firewall_group_id": firewall(**own)[0]}
    return INSTANCE | _ground(changes) | group | changes


def counts_no_longer_once_it_refused(vultr: Vultr) -> None:
    """Servers that are gone, against the account's monthly fee."""
    if any(call.what == "POST /instances" and call.status == 400 for call in list(vultr.calls)):
        vultr.knobs.counted = 0.0


def _ground(changes: dict[str, Any]) -> dict[str, Any]:
    ground: dict[str, Any] = {"ssh_key_ids": []}
    if "address_id" not in changes:
        own = {k: v for k, v in changes.items() if k in ("identity", "region", "node")}
        ground["address_id"] = address(**own)[0]
    return ground


def _made(provider: Any, props: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    done = provider.create(dict(props))
    return done.id, dict(done.outs)
