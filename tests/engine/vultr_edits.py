"""Edits of the production stack, and exactly what each touches at Vultr: by the API, where a
firewall group is one resource with its rules, and by the plugin, where each rule is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.kit.clouds.deployment import KEYS
from tests.kit.stacks import prod

NODES = ("ewr-vultr-1", "lax-vultr-1", "mia-vultr-1", "ord-vultr-1")
PUBLISHED = {"mesh-candidate": "update", "mesh-generation": "update"}
FIREWALL = {"mesh-vultr-firewall": "update"}
REGIONS = prod()["regions"]
FRA = {
    "name": "Frankfurt",
    "location": [50.03, 8.56],
    "block": "192.30.120.48/29",
    "slots": {"vultr-1": "192.30.120.49"},
}
WEB = prod()["services"]["web"] | {"ports": {"tcp": [80, 443], "udp": [443]}}


@dataclass(frozen=True)
class Edit:
    """Keys of the stack file that change, and the resources that are touched by it: ``rules`` is
    what the plugin does to its rules, where the API's resource is updated."""

    name: str
    keys: dict[str, Any]
    touched: dict[str, str]
    rules: dict[str, str]

    @property
    def by_api(self) -> dict[str, str]:
        return self.touched | (FIREWALL if self.rules else {})

    @property
    def by_plugin(self) -> dict[str, str]:
        return self.touched | self.rules


EDITS = (
    Edit("a setting of the network", {"whoami": False}, PUBLISHED, {}),
    Edit(
        "another key to log in with",
        {"admin": {"ssh": ["207.231.1.46/32"], "keys": [*KEYS, KEYS[0].replace("A A", "C C")]}},
        {"mesh-vultr-key-*": "create"} | PUBLISHED,
        {},
    ),
    Edit(
        "another network to log in from",
        {"admin": {"ssh": ["207.231.1.46/32", "192.0.2.7/32"], "keys": KEYS}},
        PUBLISHED,
        {"mesh-vultr-ssh-v4-192.0.2.7-32": "create"},
    ),
    Edit(
        "another registry port (user data, hostname and rules)",
        {"registry": {"port": 9443}},
        PUBLISHED,
        {"mesh-vultr-registry-v4": "replace", "mesh-vultr-registry-v6": "replace"},
    ),
    Edit(
        "a larger plan for one node",
        {"nodes": prod()["nodes"] | {"mia-vultr-1": {"number": 3, "plan": "vc2-2c-4gb"}}},
        {"mesh-mia-vultr-1-instance": "update"} | PUBLISHED,
        {},
    ),
    Edit(
        "IPv6 off at one node",
        {"nodes": prod()["nodes"] | {"mia-vultr-1": {"number": 3, "ipv6": False}}},
        {"mesh-mia-vultr-1-instance": "update"} | PUBLISHED,
        {},
    ),
    Edit(
        "reverse names",
        {"providers": {"vultr": {"reverse": "example.net"}}},
        {f"mesh-{node}-reverse-{family}": "create" for node in NODES for family in ("v4", "v6")},
        {},
    ),
    Edit(
        "a service on another port",
        {"services": {"web": WEB}},
        PUBLISHED,
        {f"mesh-vultr-service-udp-443-{v}": "create" for v in ("v4", "v6")},
    ),
    Edit(
        "a region more",
        {
            "regions": REGIONS | {"fra": FRA},
            "nodes": prod()["nodes"] | {"fra-vultr-1": {"number": 9}},
        },
        {
            "mesh-fra": "create",
            "mesh-fra-vultr-1": "create",
            "mesh-fra-vultr-1-address": "create",
            "mesh-fra-vultr-1-instance": "create",
            **PUBLISHED,
        },
        {"mesh-vultr-wireguard-fra-vultr-1": "create"},
    ),
)
BY_PLUGIN = ("another network to log in from", "a region more")
"""The edits that the plugin is asked of as well: a rule, and everything of a node."""


def keyed(found: dict[str, str]) -> dict[str, str]:
    """What was touched, names that hold a digest without it."""
    key = "mesh-vultr-key-"
    return {f"{key}*" if name.startswith(key) else name: step for name, step in found.items()}
