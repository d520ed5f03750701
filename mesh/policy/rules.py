"""The rules: pure predicates over resources. A new one is one function and one line in a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.infra.providers.inputs import is_unknown
from mesh.plan import Plan
from mesh.plan.model import Source
from mesh.policy.resource import Resource, worlds

SSH = 22
KEYS = 2
"""Keys that may log in, at least: with a single one, a lost key locks everybody out."""

Settings = Mapping[str, Any]
"""One rule's settings in the policy's configuration file."""


@dataclass(frozen=True)
class PolicyRule:
    """A rule about each resource alone. ``check`` yields what is wrong with it and what to do;
    ``settings`` is the JSON schema of its configuration."""

    name: str
    description: str
    check: Callable[[Resource, Settings], Iterator[str]]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StackRule:
    """A rule about all resources together; ``check`` yields URN and what is wrong. ``settings`` is
    as for a :class:`PolicyRule`."""

    name: str
    description: str
    check: Callable[[Sequence[Resource], Settings], Iterator[tuple[str, str]]]
    settings: Mapping[str, Any] = field(default_factory=dict)


def no_ssh_from_anywhere(resource: Resource, settings: Settings) -> Iterator[str]:
    """Port 22 is open to the admin's networks only, whatever the stack file allows."""
    if settings.get("allowWorld"):
        return
    yield from _open_to_all(resource, {SSH})
    plan = resource.plan()
    for network in worlds(map(str, plan.access.admin)) if plan else ():
        yield (
            f"mesh:admin.ssh = {network}: everybody may try to log in; name the networks that "
            "you log in from, or allow it by this policy's configuration (allowWorld)"
        )


def no_own_ssh_port_from_anywhere(
    resources: Sequence[Resource], settings: Settings
) -> Iterator[tuple[str, str]]:
    """Nor is a port of its own, which an existing host may have for SSH."""
    plan = _plan(resources)
    if plan is None or settings.get("allowWorld"):
        return
    # A service's port is open to everybody; the node's own ruleset separates addresses.
    ports = _ports(plan, "admin") - _ports(plan, "anyone") - {SSH}
    for resource in resources:
        for problem in _open_to_all(resource, ports):
            yield resource.urn, problem


def _open_to_all(resource: Resource, ports: Collection[int]) -> Iterator[str]:
    sources = [
        source
        for source, (first, last) in resource.lets_in()
        if any(first <= port <= last for port in ports)
    ]
    for network in worlds(sources):
        yield f"{resource.name} opens SSH to {network}; name the networks that you log in from"


def _ports(plan: Plan, source: Source) -> set[int]:
    """The TCP ports that the plan opens to these."""
    rules = [rule for rule in plan.firewall if rule.protocol == "tcp" and rule.source == source]
    return {port for rule in rules for port in range(rule.ports[0], rule.ports[1] + 1)}


def _plan(resources: Sequence[Resource]) -> Plan | None:
    plans = (resource.plan() for resource in resources)
    return next((found for found in plans if found is not None), None)


def two_ssh_keys(resource: Resource, _: Settings) -> Iterator[str]:
    """At least two different keys may log in."""
    plan = resource.plan()
    if plan is None:
        return
    # Type and key; the comment behind them makes no other key.
    found = {tuple(line.split()[:2]) for line in plan.access.ssh_keys}
    if len(found) < KEYS:
        yield f"mesh:admin.keys has {len(found)} key(s); give {KEYS}, or a lost one is a lost fleet"


def tagged_servers(resource: Resource, _: Settings) -> Iterator[str]:
    """Tags show whose server it is, on a bill and in a clean-up by hand."""
    key = resource.described.tags
    if key is not None and not resource.props.get(key):
        yield f"{resource.name} has no {key}; give it some, so that a bill shows whose it is"


def protected_addresses(resource: Resource, _: Settings) -> Iterator[str]:
    """An address that is given back is lost, and neighbors and firewalls are configured with it."""
    what = resource.described
    if what.reserved and not what.is_inside(resource.props) and not resource.protect:
        yield f"{resource.name} is not protected from deletion; leave mesh:protect at true"


SECRET = re.compile(
    r"passw|passphrase|secret|md5|user[-_]?data|(?<!http)tokens?$|credentials?$|^private$|^keys?$"
    r"|^receivers$"
    r"|(private|priv|shared|operator|ssh|api|access|account|auth|encryption|signing)[-_]?keys?$",
    re.I,
)
"""Names of inputs that hold a secret, or user data with a join token. (``httpTokens`` sets how
AWS's metadata is asked for. ``receivers`` are URLs and keys of those whom alerts reach.)"""
PRIVATE = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")
"""A private key in PEM (RFC 7468), OpenSSH's among them, whatever the input is called."""
PUBLIC = re.compile(
    r"(\S+:)?(ssh|ecdsa-sha2|sk-ssh|sk-ecdsa)-\S+ AAAA|-----BEGIN [A-Z ]*PUBLIC|(?i:true|false)$"
)
"""What an input called a key may well hold: a public key (GCP has the user before it), or yes or
no (GCP's ``block-project-ssh-keys``)."""
HARMLESS = frozenset({"name"})
"""Fields beside a secret in the same input: GCP's MD5 keys have names."""


def no_plain_secret(resource: Resource, settings: Settings) -> Iterator[str]:
    """A secret is marked as one: in the clear it would be in the state and in every diff.

    The inputs come with every marked secret replaced by None (:mod:`mesh.policy.__main__`).
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
    elif isinstance(value, str) and _reveals(value, secret):
        yield path


def _reveals(value: str, secret: bool) -> bool:
    """Whether a value reveals a secret; ``secret`` is whether its input is named like one."""
    if PRIVATE.search(value):
        return True
    return secret and bool(value) and not is_unknown(value) and not PUBLIC.match(value)


def ipv6_where_planned(resources: Sequence[Resource], _: Settings) -> Iterator[tuple[str, str]]:
    """A node that the plan gives IPv6 gets it from its provider."""
    plan = _plan(resources)
    planned = {node.id for node in plan.nodes if node.ipv6} if plan else set()
    for resource in resources:
        has = resource.described.has_ipv6
        if has is not None and resource.node in planned and not has(resource.props):
            yield (
                resource.urn,
                f"{resource.name} has no IPv6, and the plan gives {resource.node} an address; "
                f"turn it on, or write mesh:nodes.{resource.node}.ipv6: false",
            )


ALLOW_WORLD: Mapping[str, Any] = {"allowWorld": {"type": "boolean", "default": False}}

NO_PLAIN_SECRET = "no-plain-secret"  # noqa: S105  (the name of a rule)

RULES: tuple[PolicyRule, ...] = (
    PolicyRule(
        "no-ssh-from-anywhere",
        "SSH is open to the admin's networks only",
        no_ssh_from_anywhere,
        ALLOW_WORLD,
    ),
    PolicyRule("two-ssh-keys", "At least two keys may log in", two_ssh_keys),
    PolicyRule("tagged-servers", "Every server carries tags", tagged_servers),
    PolicyRule("protected-addresses", "Addresses are protected from deletion", protected_addresses),
    PolicyRule(NO_PLAIN_SECRET, "Secrets arrive as secrets", no_plain_secret),
)
"""Rules about one resource."""

STACK_RULES: tuple[StackRule, ...] = (
    StackRule(
        "no-own-ssh-port-from-anywhere",
        "SSH on a port of its own is open to the admin's networks only",
        no_own_ssh_port_from_anywhere,
        ALLOW_WORLD,
    ),
    StackRule("ipv6-where-planned", "Nodes have IPv6 where it is planned", ipv6_where_planned),
)
"""Rules about all of them."""
