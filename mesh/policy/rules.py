"""The rules: pure predicates over resources. A new one is one function and one line in a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.plan import Plan
from mesh.policy.openings import openings
from mesh.policy.resource import Resource, is_unknown, is_world

SSH = 22
KEYS = 2
"""Keys that may log in, at least: with one, a lost key is a lost fleet."""

Settings = Mapping[str, Any]
"""What the policy's configuration file says for one rule."""


@dataclass(frozen=True)
class Rule:
    """A rule about each resource alone. ``check`` yields what is wrong with it, with the cure;
    ``settings`` is the JSON schema of what its configuration may say."""

    name: str
    says: str
    check: Callable[[Resource, Settings], Iterator[str]]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StackRule:
    """A rule about all resources together; ``check`` yields URN and what is wrong."""

    name: str
    says: str
    check: Callable[[Sequence[Resource]], Iterator[tuple[str, str]]]


def no_ssh_from_anywhere(resource: Resource, settings: Settings) -> Iterator[str]:
    """Port 22 is open to the admin's networks only, whatever the stack file allows."""
    if settings.get("allowWorld"):
        return
    for source, (first, last) in openings(resource):
        if is_world(source) and first <= SSH <= last:
            yield f"{resource.name} opens SSH to {source}; name the networks that you log in from"
    plan = resource.plan()
    for network in plan.access.admin if plan else ():
        if is_world(network):
            yield (
                f"mesh:admin.ssh = {network}: everybody may try to log in; name the networks that "
                "you log in from, or allow it by this policy's configuration (allowWorld)"
            )


def two_ssh_keys(resource: Resource, _: Settings) -> Iterator[str]:
    """At least two different keys may log in."""
    plan = resource.plan()
    if plan is None:
        return
    # Type and key; the comment behind them makes no other key.
    found = {tuple(line.split()[:2]) for line in plan.access.ssh_keys}
    if len(found) < KEYS:
        yield f"mesh:admin.keys has {len(found)} key(s); give {KEYS}, or a lost one is a lost fleet"


TAGS: dict[str, str] = {
    "vultr:index/instance:Instance": "tags",
    "vultr:index/bareMetalServer:BareMetalServer": "tags",
    "aws:ec2/instance:Instance": "tags",
    "gcp:compute/instance:Instance": "labels",
}
"""Where servers carry tags, by type; existing hosts and the lab have none."""


def tagged_servers(resource: Resource, _: Settings) -> Iterator[str]:
    """A bill, and a clean-up by hand, can tell whose server it is."""
    key = TAGS.get(resource.type)
    if key is not None and not resource.props.get(key):
        yield f"{resource.name} has no {key}; give it some, so that a bill says whose it is"


ADDRESSES = frozenset(
    {
        "vultr:index/reservedIp:ReservedIp",
        "aws:ec2/eip:Eip",
        "gcp:compute/address:Address",
        "pulumi-python:dynamic/lab:Address",
    }
)
"""Types of reserved addresses: an association with one may go."""


def protected_addresses(resource: Resource, _: Settings) -> Iterator[str]:
    """An address that is given back is lost, and stands in every firewall and session."""
    inside = resource.known("addressType") == "INTERNAL"  # of one network at GCP, nobody else's
    if resource.type in ADDRESSES and not inside and not resource.protect:
        yield f"{resource.name} is not protected from deletion; leave mesh:protect at true"


SECRET = re.compile(r"passw|secret|private_?key|operator_?key|md5|token$|user[-_]?data", re.I)
"""Names of inputs that hold a secret, or user data with a join token in it."""
HARMLESS = frozenset({"name"})
"""What stands beside a secret in the same input: GCP's MD5 keys have names."""


def no_plain_secret(resource: Resource, settings: Settings) -> Iterator[str]:
    """What is secret arrives as one: in the clear it would lie in the state and in every diff.

    The inputs come with every secret replaced by None (:mod:`mesh.policy.__main__`).
    """
    for path in sorted(_plain(resource.props, "")):
        yield f"{resource.name} has {path} in the clear; make it a secret (pulumi.Output.secret)"


def _plain(value: Any, path: str, secret: bool = False) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not str(key).startswith("__"):
                named = SECRET.search(str(key)) is not None
                inside = named or (secret and str(key) not in HARMLESS)
                yield from _plain(inner, f"{path}.{key}" if path else str(key), inside)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _plain(inner, path, secret)
    elif secret and isinstance(value, str) and value and not is_unknown(value):
        yield path


def _given(*keys: str) -> Callable[[Resource], bool]:
    return lambda server: any(bool(server.props.get(key)) for key in keys)


def _on_an_interface(server: Resource) -> bool:
    return any(
        isinstance(each, Mapping)
        and (each.get("ipv6AccessConfigs") or each.get("stackType") in ("IPV4_IPV6", "IPV6_ONLY"))
        for each in server.known("networkInterfaces") or ()
    )


IPV6: dict[str, Callable[[Resource], bool]] = {
    "vultr:index/instance:Instance": _given("enableIpv6"),
    "vultr:index/bareMetalServer:BareMetalServer": _given("enableIpv6"),
    # An interface that is made apart has its own addresses.
    "aws:ec2/instance:Instance": _given(
        "ipv6AddressCount", "ipv6Addresses", "networkInterfaces", "primaryNetworkInterface"
    ),
    "aws:ec2/networkInterface:NetworkInterface": _given("ipv6AddressCount", "ipv6Addresses"),
    "gcp:compute/instance:Instance": _on_an_interface,
    "pulumi-python:dynamic/lab:Address": _given("with_ipv6"),
}
"""How a type of resource says that its node has IPv6."""


def ipv6_where_planned(resources: Sequence[Resource]) -> Iterator[tuple[str, str]]:
    """A node that the plan gives IPv6 gets it from its provider."""
    plans = (resource.plan() for resource in resources)
    plan: Plan | None = next((found for found in plans if found is not None), None)
    planned = {node.id for node in plan.nodes if node.ipv6} if plan else set()
    for resource in resources:
        has = IPV6.get(resource.type)
        if has is not None and resource.node in planned and not has(resource):
            yield (
                resource.urn,
                f"{resource.name} has no IPv6, and the plan gives {resource.node} an address; "
                f"turn it on, or write mesh:nodes.{resource.node}.ipv6: false",
            )


NO_PLAIN_SECRET = "no-plain-secret"  # noqa: S105  (the name of a rule)

RULES: tuple[Rule, ...] = (
    Rule(
        "no-ssh-from-anywhere",
        "SSH is open to the admin's networks only",
        no_ssh_from_anywhere,
        {"allowWorld": {"type": "boolean", "default": False}},
    ),
    Rule("two-ssh-keys", "At least two keys may log in", two_ssh_keys),
    Rule("tagged-servers", "Every server carries tags", tagged_servers),
    Rule("protected-addresses", "Addresses are protected from deletion", protected_addresses),
    Rule(NO_PLAIN_SECRET, "Secrets arrive as secrets", no_plain_secret),
)
"""Rules about one resource."""

STACK_RULES: tuple[StackRule, ...] = (
    StackRule("ipv6-where-planned", "Nodes have IPv6 where the plan says so", ipv6_where_planned),
)
"""Rules about all of them."""
