"""GCP's driver: members in a network of the stack's own, with a Cloud Router in each region."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from pulumi import Input, Output, Resource, ResourceOptions

from mesh.infra.ending import is_ending
from mesh.infra.providers.gcp import account
from mesh.infra.providers.openings import Opening, openings
from mesh.infra.providers.protocol import Machine, Reserved, StackConfiguration
from mesh.infra.providers.submodules import submodules_only
from mesh.plan import Node
from mesh.spec import Problem
from mesh.spec.providers.gcp import FACTS, IMAGES

with submodules_only("pulumi_gcp.compute"):
    from pulumi_gcp.compute.address import Address
    from pulumi_gcp.compute.firewall import Firewall
    from pulumi_gcp.compute.instance import Instance
    from pulumi_gcp.compute.network import Network
    from pulumi_gcp.compute.router import Router
    from pulumi_gcp.compute.router_interface import RouterInterface
    from pulumi_gcp.compute.router_peer import RouterPeer
    from pulumi_gcp.compute.subnetwork import Subnetwork
with submodules_only("pulumi_gcp.networkconnectivity"):
    from pulumi_gcp.networkconnectivity.hub import Hub
    from pulumi_gcp.networkconnectivity.spoke import Spoke

TAG = "mesh"
"""Network tag of our instances; it has no meaning outside the stack's own network."""

# Google's Debian has no cloud-init (GoogleCloudPlatform/compute-image-tools, daisy_workflows/
# image_build/debian/fai_config): its guest agent runs this script instead, at every boot; once
# cloud-init is there altogether, it has nothing to do. The network stays the image's own.
STARTUP = """\
#!/bin/sh
[ "$(dpkg-query -W -f '${db:Status-Status}' cloud-init 2>/dev/null)" = installed ] && exit 0
mkdir -p /etc/cloud/cloud.cfg.d
echo 'network: {config: disabled}' >/etc/cloud/cloud.cfg.d/99-anycast-mesh.cfg
export DEBIAN_FRONTEND=noninteractive
until dpkg --configure -a && apt-get -q update && apt-get -qy install cloud-init; do
	sleep 10
done
reboot
"""

IPV6_LENGTH = "96"
"""An instance is given a range of this length, and takes the first address of it."""


@dataclass(frozen=True)
class Place:
    """What the nodes of one of GCP's regions share: the subnet, and a Cloud Router with two
    interfaces at fixed addresses of it."""

    subnet: Subnetwork
    router: Router
    interfaces: Sequence[RouterInterface]
    speakers: Sequence[Address]


@dataclass(frozen=True)
class NodeAddresses:
    """The addresses of a node's interface."""

    outside: Address
    inside: Address
    outside6: Address | None


class Gcp:
    """Nodes at GCP. What all share is named after the driver, a node's own after the node."""

    # By their names in GCP's own schema. The keys to log in with are part of the user data, and
    # the host name is set from there too. Addresses and subnets are regional: the next server of a
    # node may be in another zone.
    fixed_at_creation = (
        "zone",
        'metadata["user-data"]',
        'metadata["startup-script"]',
        "bootDisk.initializeParams.image",
    )
    namespace: str | None = None
    publish_deadline = 1200.0  # an instance boots twice: see STARTUP

    def __init__(self, name: str, configuration: StackConfiguration, opts: ResourceOptions) -> None:
        self._name, self._plan, self._opts = name, configuration.plan, opts
        self._options = configuration.spec.providers.gcp
        self._project = {"project": self._options.project}
        self._password = configuration.passwords.apply(lambda known: known["gcp"])
        self._nodes = account.nodes_of(configuration.plan)
        self._held: dict[str, NodeAddresses] = {}
        self._network = Network(
            f"{name}-network",
            auto_create_subnetworks=False,
            mtu=FACTS.mtu,
            opts=opts,
            **self._project,
        )
        self._hub = Hub(f"{name}-hub", opts=opts, **self._project)
        self._places = {
            place: self._place(f"{name}-{place}", place)
            for place in sorted({node.place for node in self._nodes})
        }

    @staticmethod
    def problems(configuration: StackConfiguration) -> Iterator[Problem]:
        """What GCP would refuse: its credentials, project, image, zones and machine types."""
        return account.problems(configuration)

    def reserve(self, name: str, node: Node, opts: ResourceOptions) -> Reserved:
        """The public addresses, and the one that the instance itself has."""
        place = self._places[node.place]
        region: dict[str, Any] = {"region": node.place, **self._project}
        subnet = {"subnetwork": place.subnet.self_link}
        outside = Address(f"{name}-address", address_type="EXTERNAL", opts=opts, **region)
        inside = Address(f"{name}-inside", address_type="INTERNAL", opts=opts, **region, **subnet)
        outside6 = None
        if node.ipv6:
            outside6 = Address(
                f"{name}-address6",
                address_type="EXTERNAL",
                ip_version="IPV6",
                ipv6_endpoint_type="VM",
                opts=opts,
                **region,
                **subnet,
            )
        self._held[node.id] = NodeAddresses(outside, inside, outside6)
        speakers = [speaker.address for speaker in place.speakers]
        return Reserved(outside.address, inside.address, speakers)

    def make_firewall(self, addresses: Mapping[str, Output[str]]) -> None:
        """A rule for each opening; those for one node go with it."""
        for opening in openings(self._plan, self._nodes):
            Firewall(
                f"{self._name}-{opening.name}",
                network=self._network.self_link,
                direction="INGRESS",
                allows=[_let_in(opening)],
                source_ranges=self._sources(opening, addresses),
                target_tags=[TAG],
                opts=self._opts,
                **self._project,
            )

    def boot(
        self,
        name: str,
        node: Node,
        reserved: Reserved,
        user_data: Output[str],
        opts: ResourceOptions,
    ) -> Machine:
        """A Debian 13 instance; then its BGP sessions with the Cloud Router."""
        held = self._held[node.id]
        instance = Instance(
            f"{name}-instance",
            machine_type=node.size,
            zone=f"{node.place}-{self._options.zone}",
            boot_disk={
                "initialize_params": {"image": f"{IMAGES}/{self._options.image}"},
            },
            network_interfaces=[_interface(self._places[node.place].subnet, held)],
            can_ip_forward=True,
            tags=[TAG],
            labels={"mesh-node": node.id, "mesh-region": node.region},
            metadata={
                "user-data": user_data,
                "startup-script": STARTUP,
                "block-project-ssh-keys": "TRUE",
                "serial-port-enable": "FALSE",
            },
            shielded_instance_config={
                "enable_secure_boot": True,
                "enable_vtpm": True,
                "enable_integrity_monitoring": True,
            },
            # For another size the instance is stopped and started, and keeps all that it has.
            allow_stopping_for_update=True,
            deletion_protection=False,
            opts=ResourceOptions.merge(
                opts, ResourceOptions(additional_secret_outputs=["metadata"])
            ),
            **self._project,
        )
        self._sessions(name, node, held, instance, opts.parent)
        ipv6: Output[str | None] = (
            Output.from_input(None) if held.outside6 is None else held.outside6.address
        )
        return Machine(instance, instance.instance_id, instance.creation_timestamp, ipv6)

    def access(self, node: Node, reserved: Reserved) -> Mapping[str, Input[str]]:
        """SSH with the stack's own keys; a project's keys cannot log in."""
        return {"ssh": Output.concat("ssh root@", reserved.ipv4)}

    def _place(self, name: str, place: str) -> Place:
        opts = self._opts
        region: dict[str, Any] = {"region": place, **self._project}
        dual = any(node.ipv6 for node in self._nodes if node.place == place)
        stack = (
            {"stack_type": "IPV4_IPV6", "ipv6_access_type": "EXTERNAL"}
            if dual
            else {"stack_type": "IPV4_ONLY"}
        )
        subnet = Subnetwork(
            f"{name}-subnet",
            network=self._network.self_link,
            ip_cidr_range=str(subnet_of(self._options.network, place)),
            opts=opts,
            **stack,
            **region,
        )
        router = Router(
            f"{name}-router",
            network=self._network.self_link,
            bgp={"asn": self._options.router_asn},
            opts=opts,
            **region,
        )
        assert FACTS.vpc is not None, "GCP has Cloud Routers"
        numbers = range(1, FACTS.vpc.routers + 1)
        speakers = [
            Address(
                f"{name}-speaker-{n}",
                address_type="INTERNAL",
                subnetwork=subnet.self_link,
                opts=opts,
                **region,
            )
            for n in numbers
        ]
        interfaces: list[RouterInterface] = []
        for n, speaker in zip(numbers, speakers, strict=True):
            # Router appliances need two redundant interfaces.
            other = {"redundant_interface": interfaces[0].name} if interfaces else {}
            interfaces.append(
                RouterInterface(
                    f"{name}-interface-{n}",
                    router=router.name,
                    subnetwork=subnet.self_link,
                    private_ip_address=speaker.address,
                    opts=opts,
                    **other,
                    **region,
                )
            )
        return Place(subnet, router, interfaces, speakers)

    def _sessions(
        self,
        name: str,
        node: Node,
        held: NodeAddresses,
        instance: Instance,
        parent: Resource | None,
    ) -> None:
        """Make the instance a router appliance, and peer the Cloud Router with it.

        The spoke is the node's own and is replaced with the instance, which no peer notices.
        """
        place = self._places[node.place]
        spoke = Spoke(
            f"{name}-spoke",
            hub=self._hub.id,
            location=node.place,
            linked_router_appliance_instances={
                "instances": [
                    {"virtual_machine": instance.self_link, "ip_address": held.inside.address}
                ],
                # Traffic between sites goes through the mesh.
                "site_to_site_data_transfer": False,
            },
            opts=ResourceOptions(
                parent=parent,
                delete_before_replace=True,
                replace_on_changes=["linkedRouterApplianceInstances"],
            ),
            **self._project,
        )
        # GCP would change both in place, but their targets have to exist meanwhile: so the peers
        # are deleted before the spoke, and the spoke before the instance.
        appliance = Output.all(instance.self_link, spoke.id).apply(lambda both: both[0])
        peer_opts = ResourceOptions(
            parent=parent,
            delete_before_replace=True,
            replace_on_changes=["routerApplianceInstance"],
            additional_secret_outputs=["md5AuthenticationKey"],
        )
        for session, interface in zip(node.vpc, place.interfaces, strict=True):
            RouterPeer(
                f"{name}-{session.name}",
                router=place.router.name,
                region=node.place,
                interface=interface.name,
                peer_asn=self._plan.asn,
                peer_ip_address=held.inside.address,
                router_appliance_instance=appliance,
                # A key's name is unique within its router, so each peer has its own.
                md5_authentication_key={
                    "name": f"{name}-{session.name}",
                    "key": self._password,
                },
                opts=peer_opts,
                **self._project,
            )

    def _sources(self, opening: Opening, addresses: Mapping[str, Output[str]]) -> list[Input[str]]:
        if opening.node is not None:
            return [Output.concat(addresses[opening.node], "/32")]
        if opening.routers:
            return [
                Output.concat(speaker.address, "/32")
                for place in self._places.values()
                for speaker in place.speakers
            ]
        return [str(network) for network in opening.networks]


def subnet_of(network: IPv4Network, place: str) -> IPv4Network:
    """The /24 of a region: by its position in the table of regions, independent of which others are
    used. ValueError where it would be outside the network, of which nothing is made by a run that
    ends it."""
    first = int(network.network_address) + list(FACTS.regions).index(place) * 256
    subnet = IPv4Network((first, 24))
    if not subnet.subnet_of(network) and not is_ending():
        raise ValueError(f"{network} ends before {subnet}")
    return subnet


def _interface(subnet: Subnetwork, held: NodeAddresses) -> dict[str, Any]:
    interface: dict[str, Any] = {
        "subnetwork": subnet.self_link,
        "network_ip": held.inside.address,
        "access_configs": [{"nat_ip": held.outside.address}],
        "stack_type": "IPV4_ONLY",
    }
    if held.outside6 is not None:
        interface["stack_type"] = "IPV4_IPV6"
        interface["ipv6_access_configs"] = [
            {
                "name": "External IPv6",
                "network_tier": "PREMIUM",
                "external_ipv6": held.outside6.address,
                "external_ipv6_prefix_length": IPV6_LENGTH,
            }
        ]
    return interface


def _let_in(opening: Opening) -> dict[str, Any]:
    # ICMPv6 has no name in GCP's rules, but a number (RFC 4443).
    protocol = "58" if opening.protocol == "icmp" and opening.family == 6 else opening.protocol
    if opening.ports is None:
        return {"protocol": protocol}
    first, last = opening.ports
    return {"protocol": protocol, "ports": [str(first) if first == last else f"{first}-{last}"]}
