"""What each type of resource is to the network, a line each, and what an update does to a server.

Types are as the engine writes them (the last argument of ``Resource.__init__`` in each provider's
SDK). A type that is not here is :attr:`Kind.UNKNOWN`: it may be a server, and the gate lets nobody
replace or delete it unattended. A driver that makes resources of a new type adds a line here.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

GENERATION = "pulumi-python:dynamic/mesh:Publish"
"""The publication, whose inputs hold the whole plan."""
CANDIDATE = "pulumi-python:dynamic/mesh:Candidate"
"""What is to be published: the state's own count, which concerns no node."""
OPERATOR = "pulumi-python:dynamic/mesh:Operator"
"""The operator's key."""
HOST_KEY = "pulumi-python:dynamic/host:HostKey"
"""The key that an existing host showed first."""
HOST = "pulumi-python:dynamic/host:Host"
"""A node delivered to an existing host."""
BY_API, BY_PLUGIN = "pulumi-python:dynamic/vultr:", "vultr:"
"""How the types of what stands at Vultr begin, by what makes it."""
PROVIDERS = "pulumi:providers:"
"""How the types of the engine's own provider resources begin: they hold no more than settings, and
what a change of them does to a resource is a step of that resource."""


class Kind(StrEnum):
    """What a resource is to the network."""

    SERVER = "server"
    ADDRESS = "address"
    FIREWALL = "firewall"
    GROUND = "ground"
    """What all nodes of a place reach others by, and what goes although they stand there."""
    ROOT = "root"
    """What a stack has one of for as long as it lives."""
    OTHER = "other"
    """Known, and no node is cut off by its loss."""
    UNKNOWN = "unknown"
    """Of no type of this table."""


KINDS: dict[str, Kind] = {
    # This program's own (mesh/infra/dynamic).
    GENERATION: Kind.ROOT,
    OPERATOR: Kind.ROOT,
    CANDIDATE: Kind.OTHER,
    "pulumi-python:dynamic/mesh:Birth": Kind.OTHER,  # a note of when an instance was made
    "pulumi-python:dynamic/lab:World": Kind.GROUND,
    "pulumi-python:dynamic/lab:Instance": Kind.SERVER,
    "pulumi-python:dynamic/lab:Address": Kind.ADDRESS,
    HOST: Kind.SERVER,
    # Where it is lost, whoever answers at that address next is trusted.
    HOST_KEY: Kind.ADDRESS,
    # Vultr, by its API (mesh/infra/dynamic/vultr).
    "pulumi-python:dynamic/mesh:Identity": Kind.OTHER,  # what is ours is found by its id as well
    "pulumi-python:dynamic/vultr:Instance": Kind.SERVER,
    "pulumi-python:dynamic/vultr:BareMetal": Kind.SERVER,
    "pulumi-python:dynamic/vultr:Address": Kind.ADDRESS,
    "pulumi-python:dynamic/vultr:Firewall": Kind.FIREWALL,
    "pulumi-python:dynamic/vultr:SSHKey": Kind.OTHER,  # for servers to come
    "pulumi-python:dynamic/vultr:Reverse": Kind.OTHER,  # names of addresses
    # Vultr, by the plugin: ediri_vultr.
    "vultr:index/instance:Instance": Kind.SERVER,
    "vultr:index/bareMetalServer:BareMetalServer": Kind.SERVER,
    "vultr:index/reservedIp:ReservedIp": Kind.ADDRESS,
    "vultr:index/firewallGroup:FirewallGroup": Kind.FIREWALL,
    "vultr:index/firewallRule:FirewallRule": Kind.FIREWALL,
    "vultr:index/sSHKey:SSHKey": Kind.OTHER,  # for servers to come
    "vultr:index/reverseIpv4:ReverseIpv4": Kind.OTHER,  # names of addresses
    "vultr:index/reverseIpv6:ReverseIpv6": Kind.OTHER,
    # AWS: pulumi_aws.ec2 and pulumi_aws.vpc.
    "aws:ec2/instance:Instance": Kind.SERVER,
    "aws:ec2/eip:Eip": Kind.ADDRESS,
    "aws:ec2/eipAssociation:EipAssociation": Kind.ADDRESS,
    # It outlives the instance, and has the node's addresses: another one has others.
    "aws:ec2/networkInterface:NetworkInterface": Kind.ADDRESS,
    "aws:ec2/securityGroup:SecurityGroup": Kind.FIREWALL,
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Kind.FIREWALL,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Kind.FIREWALL,
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": Kind.FIREWALL,
    # docs.aws.amazon.com, "Delete your VPC" and DependencyViolation: AWS deletes none of these four
    # while an interface is in it, an address is mapped through it, or a subnet goes by it.
    "aws:ec2/vpc:Vpc": Kind.OTHER,
    "aws:ec2/subnet:Subnet": Kind.OTHER,
    "aws:ec2/internetGateway:InternetGateway": Kind.OTHER,
    "aws:ec2/routeTable:RouteTable": Kind.OTHER,
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Kind.GROUND,
    "aws:ec2/route:Route": Kind.GROUND,
    # It keeps AWS from handing out a node's address; nobody loses one with it.
    "aws:ec2/subnetCidrReservation:SubnetCidrReservation": Kind.OTHER,
    # The Route Server speaks BGP inside a VPC: members announce nothing to the Internet by it.
    "aws:vpc/routeServer:RouteServer": Kind.OTHER,
    "aws:vpc/routeServerVpcAssociation:RouteServerVpcAssociation": Kind.OTHER,
    "aws:vpc/routeServerPropagation:RouteServerPropagation": Kind.OTHER,
    "aws:vpc/routeServerEndpoint:RouteServerEndpoint": Kind.OTHER,
    "aws:vpc/routeServerPeer:RouteServerPeer": Kind.OTHER,
    # GCP: pulumi_gcp.compute and pulumi_gcp.networkconnectivity.
    "gcp:compute/instance:Instance": Kind.SERVER,
    "gcp:compute/address:Address": Kind.ADDRESS,
    "gcp:compute/firewall:Firewall": Kind.FIREWALL,
    # Nor does GCP delete one that is used (resourceInUseByAnotherResource).
    "gcp:compute/network:Network": Kind.OTHER,
    "gcp:compute/subnetwork:Subnetwork": Kind.OTHER,
    # The Cloud Router and its appliance are to GCP what the Route Server is to AWS.
    "gcp:compute/router:Router": Kind.OTHER,
    "gcp:compute/routerInterface:RouterInterface": Kind.OTHER,
    "gcp:compute/routerPeer:RouterPeer": Kind.OTHER,
    "gcp:networkconnectivity/hub:Hub": Kind.OTHER,
    "gcp:networkconnectivity/spoke:Spoke": Kind.OTHER,
}

QUIET: dict[str, frozenset[str] | None] = {
    # A host is not touched by the way in which it is reached, nor the lab's by anything.
    HOST: None,
    "pulumi-python:dynamic/lab:Instance": None,
    # api.vultr.com, "Update Instance": `plan` restarts the server, and `os_id` installs it anew.
    "pulumi-python:dynamic/vultr:Instance": frozenset({"identity", "tags", "firewall_group_id"}),
    "pulumi-python:dynamic/vultr:BareMetal": frozenset({"identity", "tags"}),
    "vultr:index/instance:Instance": frozenset(
        {"label", "tags", "firewallGroupId", "activationEmail"}
    ),
    "vultr:index/bareMetalServer:BareMetalServer": frozenset({"label", "tags"}),
    # docs.aws.amazon.com, "Change the instance type": it has to be stopped for that.
    "aws:ec2/instance:Instance": frozenset({"tags", "tagsAll", "metadataOptions"}),
    # cloud.google.com, "Edit the machine type": likewise, as for what is shielded.
    "gcp:compute/instance:Instance": frozenset(
        {"labels", "tags", "metadata", "deletionProtection", "allowStoppingForUpdate"}
    ),
}
"""The inputs of a server that change while it runs, by its type: any other may restart it. None
where nothing does."""

QUIET_DRIFT = (
    "its label is ",
    "its tags are ",
    "it is not behind its firewall group",
    "it is powered off",
    "its address ",
)
"""How the drift of a server begins (Vultr's) that is repaired while it
runs, or that it does not run for."""

PROTECTED = frozenset(
    {
        OPERATOR,
        HOST_KEY,
        "pulumi-python:dynamic/lab:Address",
        "pulumi-python:dynamic/vultr:Address",
        "vultr:index/reservedIp:ReservedIp",
        "aws:ec2/eip:Eip",
        "aws:ec2/networkInterface:NetworkInterface",
        "gcp:compute/address:Address",
    }
)
"""What the program protects from deletion (``mesh:protect``), where a node has it or the stack."""


def kind_of(type_: str) -> Kind:
    """What resources of that type are."""
    if type_.startswith(PROVIDERS):
        return Kind.OTHER
    return KINDS.get(type_, Kind.UNKNOWN)


def may_restart(type_: str, changed: Collection[str], drift: Collection[str] = ()) -> bool:
    """Whether an update may restart a server of that type: of these inputs, as its provider writes
    them, and of what a refresh has found of it, in words. Where nobody can tell what is changed,
    it may."""
    quiet = QUIET.get(type_, frozenset())
    if quiet is None:
        return False
    told = bool(changed) or bool(drift)
    loud = [each for each in drift if not each.startswith(QUIET_DRIFT)]
    return not told or bool(loud) or not set(changed) <= quiet
