"""What all nodes of one region of AWS share: their VPC with its Route Server, and the security
groups. In a VPC that was given, its own routes to the Internet are used."""

from __future__ import annotations

from ipaddress import IPv6Network

from pulumi import Input, Resource

from mesh.infra.providers.aws import sdk
from mesh.infra.providers.aws.firewall import Firewall
from mesh.infra.providers.aws.queries import Answers, nodes_side
from mesh.infra.providers.aws.site import Site
from mesh.spec.providers.aws import Options


class RegionNetwork:
    """One region. ``subnet`` is the id of the nodes' subnet, ``routers`` are the endpoints of its
    Route Server in the order of a node's sessions; ``ready`` is what a server needs to reach the
    Internet, and ``gateway`` what an address needs to be reached from there."""

    def __init__(self, site: Site, answers: Answers, options: Options) -> None:
        self.site = site
        self.ready: list[Resource] = []
        self.gateway: list[Resource] = []
        given = options.given.get(site.place)
        if given is None:
            self._make_network(answers)
        else:
            self._vpc: Input[str] = given.vpc
            self.subnet: Input[str] = given.subnet
            self._route_table: Input[str] = given.route_table
        self._reserved = sdk.SubnetCidrReservation(
            f"{site.name}-nodes",
            region=site.place,
            subnet_id=self.subnet,
            # Addresses that AWS assigns (a Route Server's endpoints) may not be a node's.
            reservation_type="explicit",
            cidr_block=str(nodes_side(answers.network)),
            description=f"Nodes of the network {site.plan.stack}",
            # AWS does not change it in place; a renamed stack keeps its reservation.
            opts=site.own(ignore_changes=["description"]),
        )
        self.routers = self._make_routers(options.router_asn)
        self.firewall = Firewall(site, self._vpc)
        self.ready += self.firewall.out

    def _make_network(self, answers: Answers) -> None:
        """A VPC of one subnet, open to the Internet in both families."""
        name, place = self.site.name, self.site.place
        net = sdk.Vpc(
            f"{name}-vpc",
            region=place,
            cidr_block=str(answers.network),
            assign_generated_ipv6_cidr_block=True,
            tags=self.site.tags(f"{name}-vpc"),
            opts=self.site.opts,
        )
        subnet = sdk.Subnet(
            f"{name}-subnet",
            region=place,
            vpc_id=net.id,
            cidr_block=str(answers.network),
            ipv6_cidr_block=net.ipv6_cidr_block.apply(first_subnet),
            availability_zone=answers.zone,
            tags=self.site.tags(f"{name}-subnet"),
            # A new zone, or another size of a node, must not move the subnet.
            opts=self.site.own(ignore_changes=["availability_zone"]),
        )
        gateway = sdk.InternetGateway(
            f"{name}-gateway",
            region=place,
            vpc_id=net.id,
            tags=self.site.tags(f"{name}-gateway"),
            opts=self.site.opts,
        )
        self._vpc, self.subnet, self.gateway = net.id, subnet.id, [gateway]
        self._make_routes(gateway)

    def _make_routes(self, gateway: sdk.InternetGateway) -> None:
        """Routes are resources beside their table: the Route Server writes its own into it."""
        name, place = self.site.name, self.site.place
        table = sdk.RouteTable(
            f"{name}-routes",
            region=place,
            vpc_id=self._vpc,
            tags=self.site.tags(f"{name}-routes"),
            opts=self.site.opts,
        )
        self._route_table = table.id
        self.ready = [
            sdk.RouteTableAssociation(
                f"{name}-routed",
                region=place,
                subnet_id=self.subnet,
                route_table_id=table.id,
                opts=self.site.opts,
            ),
            sdk.Route(
                f"{name}-default4",
                region=place,
                route_table_id=table.id,
                destination_cidr_block="0.0.0.0/0",
                gateway_id=gateway.id,
                opts=self.site.opts,
            ),
            sdk.Route(
                f"{name}-default6",
                region=place,
                route_table_id=table.id,
                destination_ipv6_cidr_block="::/0",
                gateway_id=gateway.id,
                opts=self.site.opts,
            ),
        ]

    def _make_routers(self, asn: int) -> list[sdk.RouteServerEndpoint]:
        """The Route Server: BGP speakers in the subnet that install learned routes in its table."""
        name, place = self.site.name, self.site.place
        server = sdk.RouteServer(
            f"{name}-router",
            region=place,
            amazon_side_asn=asn,
            tags=self.site.tags(f"{name}-router"),
            opts=self.site.opts,
        )
        associated = sdk.RouteServerVpcAssociation(
            f"{name}-router-vpc",
            region=place,
            route_server_id=server.route_server_id,
            vpc_id=self._vpc,
            opts=self.site.opts,
        )
        sdk.RouteServerPropagation(
            f"{name}-router-routes",
            region=place,
            route_server_id=associated.route_server_id,
            route_table_id=self._route_table,
            opts=self.site.opts,
        )
        return [
            sdk.RouteServerEndpoint(
                f"{name}-{session.name}",
                region=place,
                route_server_id=associated.route_server_id,
                subnet_id=self.subnet,
                tags=self.site.tags(f"{name}-{session.name}"),
                # An endpoint may not take the address of a node.
                opts=self.site.own(depends_on=[self._reserved]),
            )
            for session in self.site.nodes[0].vpc
        ]


def first_subnet(network: str) -> str:
    """The first /64 of the network that AWS gave a VPC."""
    return str(next(IPv6Network(network).subnets(new_prefix=64)))
