"""What a provider's firewall lets in: one function and one line for each type of rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mesh.policy.resource import Resource, is_unknown, strings

ALL = (0, 65535)
TCP, EVERY = frozenset({"tcp", "6"}), frozenset({"-1", "all"})
"""Protocols as the providers name them."""


class Opening(tuple[str, tuple[int, int]]):
    """A source network, and a range of TCP ports that it may reach."""

    __slots__ = ()


def openings(resource: Resource) -> Iterator[Opening]:
    """What this resource lets in by TCP; nothing where it is no firewall rule."""
    read = READERS.get(resource.type)
    if read is not None:
        yield from read(resource)


def _vultr_group(group: Resource) -> Iterator[Opening]:
    """A group of our own with its rules: RuleArgs of mesh/infra/dynamic/vultr/firewall.py."""
    for rule in group.known("rules") or ():
        subnet, size = rule.get("subnet"), rule.get("size")
        # A subnet that is not known yet is a node's own address.
        if _is(rule.get("protocol"), TCP) and subnet and not is_unknown(subnet):
            yield Opening((f"{subnet}/{int(size)}", _range(rule.get("port") or "", ":")))


def _vultr(rule: Resource) -> Iterator[Opening]:
    # Required: ipType, protocol, subnet, subnetSize; without a port it is all of them.
    subnet, size = rule.known("subnet"), rule.known("subnetSize")
    if _is(rule.known("protocol"), TCP) and subnet and size is not None:
        yield Opening((f"{subnet}/{int(size)}", _range(rule.known("port") or "", ":")))


def _aws_rule(rule: Resource) -> Iterator[Opening]:
    if _is(rule.known("ipProtocol"), TCP | EVERY):
        ports = _between(rule.props, rule.known("ipProtocol"))
        for key in ("cidrIpv4", "cidrIpv6"):
            if rule.known(key):
                yield Opening((rule.known(key), ports))


def _aws_group(group: Resource) -> Iterator[Opening]:
    for rule in group.known("ingress") or ():
        yield from _aws_old(rule)


def _aws_group_rule(rule: Resource) -> Iterator[Opening]:
    if rule.known("type") == "ingress":
        yield from _aws_old(rule.props)


def _aws_old(rule: Any) -> Iterator[Opening]:
    """The older form: several networks in one rule."""
    if isinstance(rule, Mapping) and _is(rule.get("protocol"), TCP | EVERY):
        ports = _between(rule, rule.get("protocol"))
        for key in ("cidrBlocks", "ipv6CidrBlocks"):
            for network in strings(rule.get(key)):
                yield Opening((network, ports))


def _gcp(rule: Resource) -> Iterator[Opening]:
    if rule.known("direction") == "EGRESS" or rule.known("disabled") is True:
        return
    sources = list(strings(rule.known("sourceRanges")))
    named = rule.known("sourceTags") or rule.known("sourceServiceAccounts")
    if not sources and not named and not is_unknown(rule.props.get("sourceRanges")):
        sources = ["0.0.0.0/0"]  # cloud.google.com: without a source, it is any
    for allowed in rule.known("allows") or ():
        if _is(allowed.get("protocol"), TCP | EVERY):
            for ports in list(strings(allowed.get("ports"))) or [""]:
                for source in sources:
                    yield Opening((source, _range(ports, "-")))


def _is(protocol: Any, names: frozenset[str]) -> bool:
    # Providers take any case, and IANA's numbers.
    return str(protocol).lower() in names


def _between(rule: Mapping[str, Any], protocol: Any) -> tuple[int, int]:
    first, last = rule.get("fromPort"), rule.get("toPort")
    if _is(protocol, EVERY) or first is None or is_unknown(first) or is_unknown(last):
        return ALL
    return (int(first), int(first if last is None else last))


def _range(text: str, sign: str) -> tuple[int, int]:
    first, _, last = str(text).partition(sign)
    if not first.strip().isdigit():
        return ALL
    return (int(first), int(last) if last.strip().isdigit() else int(first))


READERS: dict[str, Callable[[Resource], Iterator[Opening]]] = {
    "pulumi-python:dynamic/vultr:Firewall": _vultr_group,
    "vultr:index/firewallRule:FirewallRule": _vultr,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _aws_rule,
    "aws:ec2/securityGroup:SecurityGroup": _aws_group,
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": _aws_group,
    "aws:ec2/securityGroupRule:SecurityGroupRule": _aws_group_rule,
    "gcp:compute/firewall:Firewall": _gcp,
}
