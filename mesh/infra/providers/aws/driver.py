"""AWS's driver: members. Their BGP sessions are with the Route Server of their VPC only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pulumi import Input, Output, ResourceOptions

from mesh.infra.dynamic.birth import Birth
from mesh.infra.ending import is_ending
from mesh.infra.providers.aws import queries, sdk
from mesh.infra.providers.aws.network import RegionNetwork
from mesh.infra.providers.aws.queries import by_place, inside, options_of
from mesh.infra.providers.aws.site import Site
from mesh.infra.providers.aws.user_data import packed
from mesh.infra.providers.protocol import Machine, Reserved, StackConfiguration
from mesh.plan import Node
from mesh.spec import Problem


class Aws:
    """Nodes on EC2 instances. A node's address outside (an Elastic IP) and inside are those of a
    network interface of its own, so that both survive the instance."""

    # Keys and hostname are in the user data.
    fixed_at_creation = ("ami", "user_data_base64")
    namespace: str | None = None
    # Endpoints of a Route Server take minutes, and Debian's packages some time.
    publish_deadline = 1200.0

    def __init__(self, name: str, configuration: StackConfiguration, opts: ResourceOptions) -> None:
        self._plan = configuration.plan
        self._answers = queries.answers(configuration)
        self._networks = {
            place: RegionNetwork(
                Site(f"{name}-{place}", place, configuration.plan, here, opts),
                self._answers[place],
                options_of(configuration),
            )
            for place, here in by_place(configuration.plan).items()
        }
        self._interfaces: dict[str, sdk.NetworkInterface] = {}
        self._associations: dict[str, sdk.EipAssociation] = {}

    @staticmethod
    def problems(configuration: StackConfiguration) -> Iterator[Problem]:
        """What AWS would refuse: credentials, regions, images and sizes."""
        yield from queries.problems(configuration)

    def reserve(self, name: str, node: Node, opts: ResourceOptions) -> Reserved:
        """An Elastic IP on a network interface with the node's private address, and the node as a
        peer of both routers."""
        network = self._networks[node.place]
        site = network.site
        address = inside(self._answers[node.place].network, node.number)
        assert address is not None or is_ending(), "problems() has checked it"
        interface = sdk.NetworkInterface(
            f"{name}-interface",
            region=node.place,
            subnet_id=network.subnet,
            private_ips=[str(address)],
            # None would leave an existing address (Optional and Computed).
            ipv6_address_count=1 if node.ipv6 else 0,
            security_groups=network.firewall.groups,
            # The node forwards, and has addresses that the VPC does not know.
            source_dest_check=False,
            description=f"{node.id} of {self._plan.stack}",
            tags=site.tags(f"{name}-interface", node.id),
            opts=opts,
        )
        public = sdk.Eip(
            f"{name}-address",
            region=node.place,
            domain="vpc",
            tags=site.tags(f"{name}-address", node.id),
            opts=opts,
        )
        loose = ResourceOptions.merge(opts, ResourceOptions(protect=False))
        self._interfaces[node.id] = interface
        self._associations[node.id] = sdk.EipAssociation(
            f"{name}-association",
            region=node.place,
            allocation_id=public.allocation_id,
            network_interface_id=interface.id,
            # A gateway cannot be detached from its VPC while an address is mapped through it.
            opts=ResourceOptions.merge(loose, ResourceOptions(depends_on=network.gateway)),
        )
        for session, router in zip(node.vpc, network.routers, strict=True):
            sdk.RouteServerPeer(
                f"{name}-{session.name}",
                region=node.place,
                route_server_endpoint_id=router.route_server_endpoint_id,
                peer_address=str(address),
                bgp_options={
                    "peer_asn": self._plan.asn,
                    "peer_liveness_detection": "bfd" if session.bfd else "bgp-keepalive",
                },
                tags=site.tags(f"{name}-{session.name}", node.id),
                opts=ResourceOptions.merge(loose, ResourceOptions(depends_on=[interface])),
            )
        return Reserved(
            public.public_ip,
            Output.from_input(str(address)),
            [router.eni_address for router in network.routers],
        )

    def make_firewall(self, addresses: Mapping[str, Output[str]]) -> None:
        """The rules of the security groups, in each region."""
        for network in self._networks.values():
            network.firewall.add_rules(addresses, network.routers)

    def boot(
        self,
        name: str,
        node: Node,
        reserved: Reserved,
        user_data: Output[str],
        opts: ResourceOptions,
    ) -> Machine:
        """An instance from Debian's image on the node's own network interface."""
        network, interface = self._networks[node.place], self._interfaces[node.id]
        site = network.site
        first = [self._associations[node.id], *network.ready]
        instance = sdk.Instance(
            f"{name}-instance",
            region=node.place,
            ami=self._answers[node.place].image,
            instance_type=node.size,
            primary_network_interface={"network_interface_id": interface.id},
            metadata_options={
                "http_endpoint": "enabled",
                "http_tokens": "required",  # IMDSv2
                "http_put_response_hop_limit": 1,
            },
            user_data_base64=user_data.apply(packed),  # a secret, as the user data are
            user_data_replace_on_change=False,
            root_block_device={
                "encrypted": True,
                "tags": site.tags(f"{name}-disk", node.id),
            },
            tags=site.tags(f"{name}-instance", node.id),
            opts=ResourceOptions.merge(
                opts,
                ResourceOptions(
                    depends_on=first,
                    # It is set on the interface. The provider compares the interface's false with
                    # its own default of true, and the update would set it on the interface: the
                    # member would forward nothing until the update after the next one
                    # (hashicorp/terraform-provider-aws, issue 44768, open in August 2026).
                    ignore_changes=["source_dest_check"],
                ),
            ),
        )
        birth = Birth(f"{name}-birth", instance.id, ResourceOptions(parent=opts.parent))
        return Machine(instance, instance.id, birth.created, self._ipv6(node))

    def _ipv6(self, node: Node) -> Output[str | None]:
        if not node.ipv6:
            return Output.from_input(None)
        addresses: Output[Sequence[str]] = self._interfaces[node.id].ipv6_addresses
        return addresses.apply(lambda found: found[0] if found else None)

    def access(self, node: Node, reserved: Reserved) -> Mapping[str, Input[str]]:
        """SSH as root, with the keys of ``mesh:admin.keys``."""
        return {"ssh": Output.concat("ssh root@", reserved.ipv4)}
