"""AWS: members, each region with a VPC of its own and a Route Server in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mesh.infra.providers.description import Description, EnginePlugin
from mesh.infra.providers.inputs import (
    ALL,
    EVERY,
    TCP,
    Inputs,
    given,
    is_one_of,
    is_unknown,
    known,
    strings,
)
from mesh.infra.providers.resources import NETWORK, OTHER, PortRange, ResourceKind, ResourceType


def _rule(rule: Inputs) -> Iterator[tuple[str, PortRange]]:
    if is_one_of(known(rule, "ipProtocol"), TCP | EVERY):
        ports = _between(rule, known(rule, "ipProtocol"))
        for key in ("cidrIpv4", "cidrIpv6"):
            if known(rule, key):
                yield known(rule, key), ports


def _group(group: Inputs) -> Iterator[tuple[str, PortRange]]:
    for rule in known(group, "ingress") or ():
        yield from _older(rule)


def _group_rule(rule: Inputs) -> Iterator[tuple[str, PortRange]]:
    if known(rule, "type") == "ingress":
        yield from _older(rule)


def _older(rule: Any) -> Iterator[tuple[str, PortRange]]:
    """The older form: several networks in one rule."""
    if isinstance(rule, Mapping) and is_one_of(rule.get("protocol"), TCP | EVERY):
        ports = _between(rule, rule.get("protocol"))
        for key in ("cidrBlocks", "ipv6CidrBlocks"):
            for network in strings(rule.get(key)):
                yield network, ports


def _between(rule: Inputs, protocol: Any) -> PortRange:
    first, last = rule.get("fromPort"), rule.get("toPort")
    if is_one_of(protocol, EVERY) or first is None or is_unknown(first) or is_unknown(last):
        return ALL
    return (int(first), int(first if last is None else last))


_GROUP = ResourceType(ResourceKind.FIREWALL, lets_in=_group)

# pulumi_aws.ec2 and pulumi_aws.vpc.
_RESOURCES = {
    # docs.aws.amazon.com, "Change the instance type": it has to be stopped for that.
    "aws:ec2/instance:Instance": ResourceType(
        ResourceKind.SERVER,
        quiet=frozenset({"tags", "tagsAll", "metadataOptions"}),
        tags="tags",
        # An interface that is made apart has its own addresses.
        has_ipv6=given(
            "ipv6AddressCount", "ipv6Addresses", "networkInterfaces", "primaryNetworkInterface"
        ),
    ),
    "aws:ec2/eip:Eip": ResourceType(ResourceKind.ADDRESS, protected=True, reserved=True),
    "aws:ec2/eipAssociation:EipAssociation": ResourceType(ResourceKind.ADDRESS),
    # It outlives the instance, and has the node's addresses: another one has others.
    "aws:ec2/networkInterface:NetworkInterface": ResourceType(
        ResourceKind.ADDRESS, protected=True, has_ipv6=given("ipv6AddressCount", "ipv6Addresses")
    ),
    "aws:ec2/securityGroup:SecurityGroup": _GROUP,
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": _GROUP,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": ResourceType(
        ResourceKind.FIREWALL, lets_in=_rule
    ),
    # The older form of both, which this program does not make.
    "aws:ec2/securityGroupRule:SecurityGroupRule": ResourceType(
        ResourceKind.FIREWALL, lets_in=_group_rule
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": ResourceType(ResourceKind.FIREWALL),
    # docs.aws.amazon.com, "Delete your VPC" and DependencyViolation: AWS deletes none of these four
    # while an interface is in it, an address is mapped through it, or a subnet goes by it.
    "aws:ec2/vpc:Vpc": OTHER,
    "aws:ec2/subnet:Subnet": OTHER,
    "aws:ec2/internetGateway:InternetGateway": OTHER,
    "aws:ec2/routeTable:RouteTable": OTHER,
    "aws:ec2/routeTableAssociation:RouteTableAssociation": NETWORK,
    "aws:ec2/route:Route": NETWORK,
    # It keeps AWS from assigning a node's address; no node loses its address with it.
    "aws:ec2/subnetCidrReservation:SubnetCidrReservation": OTHER,
    # The Route Server speaks BGP inside a VPC: members announce nothing to the Internet by it.
    "aws:vpc/routeServer:RouteServer": OTHER,
    "aws:vpc/routeServerVpcAssociation:RouteServerVpcAssociation": OTHER,
    "aws:vpc/routeServerPropagation:RouteServerPropagation": OTHER,
    "aws:vpc/routeServerEndpoint:RouteServerEndpoint": OTHER,
    "aws:vpc/routeServerPeer:RouteServerPeer": OTHER,
}

DESCRIPTION = Description(
    driver="mesh.infra.providers.aws.driver:Aws",
    resources=_RESOURCES,
    plugin=EnginePlugin("pulumi-aws"),
)
