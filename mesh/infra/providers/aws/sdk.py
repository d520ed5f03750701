"""The parts of AWS's SDK that this program uses: all of ``pulumi_aws.ec2`` makes every preview a
third slower."""

from __future__ import annotations

from pulumi_aws.get_regions import get_regions

from mesh.infra.providers.submodules import submodules_only

with submodules_only("pulumi_aws.ec2"):
    from pulumi_aws.ec2.eip import Eip
    from pulumi_aws.ec2.eip_association import EipAssociation
    from pulumi_aws.ec2.get_ami import get_ami
    from pulumi_aws.ec2.get_instance_type_offerings import get_instance_type_offerings
    from pulumi_aws.ec2.get_instance_types import get_instance_types
    from pulumi_aws.ec2.get_instances import get_instances
    from pulumi_aws.ec2.get_subnet import get_subnet
    from pulumi_aws.ec2.instance import Instance
    from pulumi_aws.ec2.internet_gateway import InternetGateway
    from pulumi_aws.ec2.network_interface import NetworkInterface
    from pulumi_aws.ec2.route import Route
    from pulumi_aws.ec2.route_table import RouteTable
    from pulumi_aws.ec2.route_table_association import RouteTableAssociation
    from pulumi_aws.ec2.security_group import SecurityGroup
    from pulumi_aws.ec2.subnet import Subnet
    from pulumi_aws.ec2.subnet_cidr_reservation import SubnetCidrReservation
    from pulumi_aws.ec2.vpc import Vpc

with submodules_only("pulumi_aws.vpc"):
    from pulumi_aws.vpc.route_server import RouteServer
    from pulumi_aws.vpc.route_server_endpoint import RouteServerEndpoint
    from pulumi_aws.vpc.route_server_peer import RouteServerPeer
    from pulumi_aws.vpc.route_server_propagation import RouteServerPropagation
    from pulumi_aws.vpc.route_server_vpc_association import RouteServerVpcAssociation
    from pulumi_aws.vpc.security_group_egress_rule import SecurityGroupEgressRule
    from pulumi_aws.vpc.security_group_ingress_rule import SecurityGroupIngressRule

__all__ = [
    "Eip",
    "EipAssociation",
    "Instance",
    "InternetGateway",
    "NetworkInterface",
    "Route",
    "RouteServer",
    "RouteServerEndpoint",
    "RouteServerPeer",
    "RouteServerPropagation",
    "RouteServerVpcAssociation",
    "RouteTable",
    "RouteTableAssociation",
    "SecurityGroup",
    "SecurityGroupEgressRule",
    "SecurityGroupIngressRule",
    "Subnet",
    "SubnetCidrReservation",
    "Vpc",
    "get_ami",
    "get_instance_type_offerings",
    "get_instance_types",
    "get_instances",
    "get_regions",
    "get_subnet",
]
