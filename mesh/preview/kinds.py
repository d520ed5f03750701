"""What counts as a server, as an address, as a firewall: by resource type, a line each.

Types are as the engine writes them; one that is not here is shown, but is no node's server.
"""

from __future__ import annotations

from enum import StrEnum

NODE = "mesh:index:Node"
"""The component of a node; what a driver makes for the node alone stands under it."""
PREFIX = "mesh-"
"""Of a node's component: ``mesh-<node id>`` (``__main__.py`` names the network ``mesh``)."""
GENERATION = "pulumi-python:dynamic/mesh:Publish"
"""The publication, whose inputs hold the whole plan."""
OPERATOR = "pulumi-python:dynamic/mesh:Operator"
"""The operator's key."""


class Kind(StrEnum):
    """What a resource is to the network."""

    SERVER = "server"
    ADDRESS = "address"
    FIREWALL = "firewall"
    OTHER = "other"


KINDS: dict[str, Kind] = {
    "pulumi-python:dynamic/lab:Instance": Kind.SERVER,
    "pulumi-python:dynamic/lab:Address": Kind.ADDRESS,
    "pulumi-python:dynamic/host:Host": Kind.SERVER,
    "vultr:index/instance:Instance": Kind.SERVER,
    "vultr:index/bareMetalServer:BareMetalServer": Kind.SERVER,
    "vultr:index/reservedIp:ReservedIp": Kind.ADDRESS,
    "vultr:index/firewallGroup:FirewallGroup": Kind.FIREWALL,
    "vultr:index/firewallRule:FirewallRule": Kind.FIREWALL,
    "aws:ec2/instance:Instance": Kind.SERVER,
    "aws:ec2/eip:Eip": Kind.ADDRESS,
    "aws:ec2/eipAssociation:EipAssociation": Kind.ADDRESS,
    # It outlives the instance, and has the node's addresses: another one has others.
    "aws:ec2/networkInterface:NetworkInterface": Kind.ADDRESS,
    "aws:ec2/securityGroup:SecurityGroup": Kind.FIREWALL,
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Kind.FIREWALL,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Kind.FIREWALL,
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": Kind.FIREWALL,
    "gcp:compute/instance:Instance": Kind.SERVER,
    "gcp:compute/address:Address": Kind.ADDRESS,
    "gcp:compute/firewall:Firewall": Kind.FIREWALL,
}


def kind_of(type_: str) -> Kind:
    """What resources of that type are."""
    return KINDS.get(type_, Kind.OTHER)
