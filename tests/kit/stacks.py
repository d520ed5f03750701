"""Stack files for tests: the seed's network, and ways to bend it."""

from __future__ import annotations

import base64
import copy
import pickle
from functools import cache, lru_cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from mesh.plan import Plan, make
from mesh.spec import load, read_stack_file

ROOT = Path(__file__).parents[2]


WEB: dict[str, Any] = {
    "addresses": {"ipv4": "192.30.120.100", "ipv6": "2620:71:4000::100"},
    "ports": {"tcp": [80, 443]},
    "checks": [{"kind": "http", "port": 80, "path": "/whoami"}],
}
"""A service without a kind, as stack files had them before there were kinds: whoami answers at 80,
and other ports may be open."""


def prod() -> dict[str, Any]:
    """The keys of Pulumi.prod.yaml, fresh for each caller; but its service is :data:`WEB`, for
    which no content has to be there."""
    values = copy.deepcopy(_read(ROOT / "Pulumi.prod.yaml"))
    return values | {"services": {"web": copy.deepcopy(WEB)}}


def example(name: str) -> dict[str, Any]:
    """The keys of a stack file under examples/, fresh for each caller."""
    return copy.deepcopy(_read(ROOT / "examples" / f"Pulumi.{name}.yaml"))


@cache
def _read(path: Path) -> dict[str, Any]:
    return read_stack_file(path)


def ssh_key(letter: str) -> str:
    """A well-formed public key that nobody holds."""
    kind = b"ssh-ed25519"
    blob = len(kind).to_bytes(4, "big") + kind + (32).to_bytes(4, "big") + letter.encode() * 32
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {letter}@example"


def with_members() -> dict[str, Any]:
    """The seed's network with a member at AWS and one at GCP, and an existing host that
    announces."""
    values = prod()
    values["regions"]["ewr"]["slots"]["buyvm-1"] = "192.30.120.21"
    values["nodes"] |= {
        "lax-aws-1": {"number": 5},
        "ord-gcp-1": {"number": 6},
        "ewr-buyvm-1": {"number": 7, "host": EXISTING},
    }
    return values


def long_ids() -> dict[str, Any]:
    """The seed's network, and hosts at providers with long names: one of 13 characters, and one
    of as many as an id may have."""
    values = prod()
    values["regions"]["ewr"]["slots"] |= {
        "hetzner-1": "192.30.120.21", "hetznerserverbank-10": "192.30.120.22",
    }  # fmt: skip
    for number, (node_id, last) in enumerate({"hetzner-1": 77, "hetznerserverbank-10": 78}.items()):
        host = EXISTING | {"ipv4": f"203.0.113.{last}", "ipv6": f"2001:db8::{last}"}
        values["nodes"][f"ewr-{node_id}"] = {"number": 7 + number, "host": host}
    return values


def two_services() -> dict[str, Any]:
    """The seed's network with a second service, which Chicago and Los Angeles may not serve."""
    values = prod()
    values["services"]["east"] = {
        "addresses": {"ipv4": "192.30.120.101", "ipv6": "2620:71:4000::101"},
        "ports": {"tcp": [80]},
        "nodes": ["mia-vultr-1", "ewr-vultr-1"],
        "checks": [{"kind": "http", "port": 80}],
    }
    return values


HOST_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJq8+VFWQoJO8pTUM6M0CXfIMyc5+wZgLR3CUVjGv/d9"  # nobody's
)
EXISTING: dict[str, Any] = {
    "ipv4": "203.0.113.77",
    "ipv6": "2001:db8::77",
    "ssh": {"hostKeys": [HOST_KEY]},
    "upstream": {
        "peerAsn": 53667, "ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "multihop": 2,
        "password": True,
    },
}  # fmt: skip


def sessions() -> list[dict[str, Any]]:
    """Entries of ``upstreams``: a transit's /30 with all options, the two route servers of an
    exchange, and a peer by its link-local address."""
    lan = {"ipv4": "192.0.2.130/25", "ipv6": "2001:db8:a::130/64"}
    servers = [
        {
            "name": f"rs{n}", "asn": 64500 + n, "ipv4": f"192.0.2.{252 + n}",
            "ipv6": f"2001:db8:a::{n}", "local": lan, "interface": "ix0", "role": "routeServer",
            "import": "full", "limit": 200_000, "localPreference": 120,
        }
        for n in (1, 2)
    ]  # fmt: skip
    return [
        {
            "name": "transit-b", "asn": 64510, "ipv4": "192.0.2.9",
            "local": {"ipv4": "192.0.2.10/30"},
            "interface": "eth1", "password": True, "holdTime": 60, "ttlSecurity": True, "bfd": True,
            "import": "default", "communities": ["64510:100"], "blackhole": "64510:666",
        },
        *servers,
        {
            "name": "neighbor", "asn": 64520, "ipv6": "fe80::1", "interface": "eth1.20",
            "role": "peer",
        },
        {
            "name": "far", "asn": 64530, "ipv6": "2001:db8:b::1", "multihop": 3, "bfd": True,
            "ttlSecurity": True,
        },
    ]  # fmt: skip


def with_sessions() -> dict[str, Any]:
    """The seed's network with an existing host that has several sessions."""
    values = with_members()
    values["nodes"]["ewr-buyvm-1"] = {"number": 7, "host": EXISTING, "upstreams": sessions()}
    return values


def one_family() -> dict[str, Any]:
    """The existing host with an upstream that has IPv4 only."""
    upstream = {key: value for key, value in EXISTING["upstream"].items() if key != "ipv6"}
    return EXISTING | {"upstream": upstream}


def bent(path: str, value: Any) -> dict[str, Any]:
    """The seed's network with one key changed: ``prefixes.ipv4``; None removes it."""
    values = prod()
    *parents, last = path.split("/")
    place = values
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return values


def plan_of(values: dict[str, Any], stack: str = "prod") -> Plan:
    """The plan of such keys. A plan cannot be changed: the same keys have the same one."""
    # Pickled, keys are a name of their content. Hundreds of tests ask for a few dozen plans.
    return _plan(stack, pickle.dumps(values))


@lru_cache(maxsize=200)
def _plan(stack: str, values: bytes) -> Plan:
    return make(load(stack, pickle.loads(values), ROOT).spec)


def without_ipv6() -> dict[str, Any]:
    """The seed's network as it would be without any IPv6 prefix."""
    values = bent("prefixes/ipv6", None)
    del values["services"]["web"]["addresses"]["ipv6"]
    return values


def one_node_without_ipv6() -> dict[str, Any]:
    """The seed's network with Miami at a place that has no IPv6."""
    return bent("nodes/mia-vultr-1", {"number": 3, "ipv6": False})


def ipv6_alone(values: dict[str, Any]) -> dict[str, Any]:
    """A network as it would be without any IPv4 prefix: slots are host numbers."""
    first = int(ip_network(values["prefixes"].pop("ipv4")).network_address)
    values["regions"] = {
        name: {key: value for key, value in region.items() if key != "block"}
        | {"slots": {slot: int(ip_address(at)) - first for slot, at in region["slots"].items()}}
        for name, region in values["regions"].items()
        if region.get("slots")
    }
    for service in values["services"].values():
        del service["addresses"]["ipv4"]
    return values


def without_ipv4() -> dict[str, Any]:
    """The seed's network as it would be without any IPv4 prefix."""
    return ipv6_alone(prod())


def one_node() -> dict[str, Any]:
    """One server that announces one IPv6 prefix, and serves nothing yet."""
    values = without_ipv4()
    values["nodes"] = {"lax-vultr-1": {"number": 1}}
    return values | {
        "registries": ["lax-vultr-1"], "reflectors": ["lax-vultr-1"], "services": {},
    }  # fmt: skip


UNICAST = {"lax": "2620:71:4001::/48", "ord": "2620:71:4002::/48"}
"""The prefixes that one region of :func:`several_prefixes` announces by itself."""


def equal_nodes(count: int, registries: int = 1, reflectors: int = 1) -> dict[str, Any]:
    """A network of so many equal nodes, each in a region of its own."""
    values = prod()
    names = [f"r{chr(97 + i)}-vultr-1" for i in range(count)]
    values["regions"] = {
        name.split("-")[0]: {
            "name": name,
            "block": f"192.30.121.{8 * i}/29",
            "location": [0, 0],
            "at": {"vultr": "lax"},
            "slots": {"vultr-1": f"192.30.121.{8 * i + 1}"},
        }
        for i, name in enumerate(names)
    }
    values["nodes"] = {name: {"number": i + 1} for i, name in enumerate(names)}
    return values | {"registries": names[:registries], "reflectors": names[-reflectors:]}


def several_prefixes() -> dict[str, Any]:
    """The seed's network with a /48 more for each of two cities, a second IPv4 aggregate that two
    edges announce, and a /24 of the first one at Miami."""
    values = prod()
    values["prefixes"] = {
        "ipv4": [
            "192.30.120.0/23",
            {"prefix": "192.30.124.0/23", "announcedBy": ["lax", "ewr-vultr-1"]},
        ],
        "ipv6": [
            "2620:71:4000::/48",
            *({"prefix": prefix, "announcedBy": [region]} for region, prefix in UNICAST.items()),
        ],
        "moreSpecifics": [{"prefix": "192.30.121.0/24", "announcedBy": ["mia-vultr-1"]}],
    }
    values["services"] |= {
        "two": _service("192.30.124.100", "2620:71:4000::124"),
        "here": _service("192.30.121.100", "2620:71:4000::121"),
        "laxonly": _service("192.30.120.101", "2620:71:4001::100", ["lax-vultr-1"]),
    }
    return values


def _service(ipv4: str, ipv6: str, nodes: list[str] | None = None) -> dict[str, Any]:
    service: dict[str, Any] = {
        "addresses": {"ipv4": ipv4, "ipv6": ipv6},
        "ports": {"tcp": [80]},
        "checks": [{"kind": "http", "port": 80}],
    }
    return service if nodes is None else service | {"nodes": nodes}
