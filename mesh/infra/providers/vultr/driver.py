"""Vultr's driver: instances and bare metal on reserved addresses, behind one firewall group.

Its API knows no BGP session: it exists for every server of an account that has BGP (see
:mod:`mesh.infra.providers.vultr.account`), with the parameters of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

from pulumi import Input, Output, ResourceOptions

from mesh.infra.providers.openings import ANYONE, Opening, openings
from mesh.infra.providers.protocol import Machine, Reserved, Setting
from mesh.infra.providers.vultr import account, offer, sdk
from mesh.plan import Node, Plan
from mesh.spec import Problem

RULES = 50
"""A firewall group's ``max_rule_count`` (api.vultr.com, "Get Firewall Group")."""

TAG = "anycast-mesh"


class Vultr:
    """Nodes at Vultr, with the account of ``vultr:apiKey`` or ``VULTR_API_KEY``."""

    born_with: Sequence[str] = ("user_data", "os_id", "ssh_key_ids", "hostname")
    namespace: str | None = None
    patience = 900.0

    def __init__(self, name: str, setting: Setting, opts: ResourceOptions) -> None:
        self._name = name
        self._opts = opts
        self._plan = setting.plan
        self._options = setting.spec.providers.vultr
        self._addresses: dict[str, sdk.ReservedIp] = {}
        self._group: sdk.FirewallGroup | None = None
        self._image = offer.image(self._options.image)
        self._keys = [self._key(key) for key in setting.plan.access.ssh_keys]

    @staticmethod
    def problems(setting: Setting) -> Iterator[Problem]:
        """What Vultr would refuse of this stack, its BGP included."""
        key = account.api_key()
        if key is None:
            yield account.NO_KEY
            return
        refused = list(offer.problems(setting.spec, _nodes(setting.plan)))
        yield from refused
        if setting.spec.providers.vultr.check_account and refused != [account.WRONG_KEY]:
            yield from account.problems(setting.spec, key)
        count = len(_rules(setting.plan))
        if count > RULES:
            yield Problem(
                "mesh:admin.ssh",
                f"{len(setting.plan.access.admin)} networks",
                f"a firewall group of Vultr takes {RULES} rules, and this stack needs {count}",
                "name fewer networks in mesh:admin.ssh and mesh:registry.sources",
            )

    def guard(self, addresses: Mapping[str, Output[str]]) -> None:
        """One group for all instances; bare metal has no provider's firewall, only its own."""
        if all(node.bare_metal for node in _nodes(self._plan)):
            return
        self._group = sdk.FirewallGroup(
            f"{self._name}-firewall", description=f"{TAG} {self._plan.stack}", opts=self._opts
        )
        for rule, opening, subnet, size in _rules(self._plan):
            sdk.FirewallRule(
                f"{self._name}-{rule}",
                firewall_group_id=self._group.id,
                ip_type=f"v{opening.family}",
                protocol=opening.protocol,
                subnet=addresses[opening.node] if opening.node else subnet,
                subnet_size=size,
                port=_ports(opening),
                notes=rule,
                opts=self._opts,
            )

    def reserve(self, name: str, node: Node, opts: ResourceOptions) -> Reserved:
        """A reserved IPv4 address.

        No reserved IPv6: Vultr attaches one beside the main address, as a further /64, and the
        BGP session of that family is with the main address. Nothing needs an IPv6 address before
        its server exists: tunnels run over IPv4.
        """
        address = sdk.ReservedIp(
            f"{name}-address",
            region=node.place,
            ip_type="v4",
            label=node.id,
            opts=ResourceOptions.merge(
                opts,
                # Attached through the server, the address reads as drifted after a refresh in
                # older versions of the provider, and the next update detaches it from a running
                # server (terraform-provider-vultr, issue 121).
                ResourceOptions(ignore_changes=["instance_id"]),
            ),
        )
        self._addresses[node.id] = address
        return Reserved(address.subnet)

    def boot(
        self,
        name: str,
        node: Node,
        reserved: Reserved,
        user_data: Output[str],
        opts: ResourceOptions,
    ) -> Machine:
        """An instance or a bare metal server."""
        server: sdk.Instance | sdk.BareMetalServer
        if node.bare_metal:
            server = self._bare_metal(name, node, user_data, opts)
        else:
            server = self._instance(name, node, user_data, opts)
            self._reverse(name, node, reserved, server)
        # cloud-init's Vultr datasource calls the API's id instance-v2-id.
        ipv6: Output[str | None] = server.v6_main_ip if node.ipv6 else Output.from_input(None)
        return Machine(server, server.id, server.date_created, ipv6)

    def access(self, node: Node, reserved: Reserved) -> Mapping[str, Input[str]]:
        """SSH, from the operator's networks."""
        return {"ssh": Output.concat("ssh root@", reserved.ipv4)}

    def _instance(
        self, name: str, node: Node, user_data: Output[str], opts: ResourceOptions
    ) -> sdk.Instance:
        assert self._group is not None, "guard comes before boot"
        return sdk.Instance(
            f"{name}-instance",
            region=node.place,
            plan=node.size,
            os_id=self._image,
            reserved_ip_id=self._addresses[node.id].id,
            enable_ipv6=node.ipv6,
            firewall_group_id=self._group.id,
            hostname=node.id,
            label=node.id,
            tags=[TAG, self._plan.stack],
            ssh_key_ids=[key.id for key in self._keys],
            user_data=user_data,
            backups="disabled",
            activation_email=False,
            opts=opts,
        )

    def _bare_metal(
        self, name: str, node: Node, user_data: Output[str], opts: ResourceOptions
    ) -> sdk.BareMetalServer:
        return sdk.BareMetalServer(
            f"{name}-instance",
            region=node.place,
            plan=node.size,
            os_id=self._image,
            reserved_ipv4=self._addresses[node.id].id,
            enable_ipv6=node.ipv6,
            hostname=node.id,
            label=node.id,
            tags=[TAG, self._plan.stack],
            ssh_key_ids=[key.id for key in self._keys],
            user_data=user_data,
            activation_email=False,
            opts=opts,
        )

    def _reverse(self, name: str, node: Node, reserved: Reserved, server: sdk.Instance) -> None:
        """Reverse names, when asked for; the provider has none for bare metal."""
        if self._options.reverse is None:
            return
        reverse = f"{node.id}.{self._options.reverse}"
        opts = ResourceOptions(parent=server)
        sdk.ReverseIpv4(
            f"{name}-reverse-v4", instance_id=server.id, ip=reserved.ipv4, reverse=reverse,
            opts=opts,
        )  # fmt: skip
        if node.ipv6:
            sdk.ReverseIpv6(
                f"{name}-reverse-v6", instance_id=server.id, ip=server.v6_main_ip, reverse=reverse,
                opts=opts,
            )  # fmt: skip

    def _key(self, key: str) -> sdk.SSHKey:
        """A key of the operator's, named after itself: the order in the stack file is nothing."""
        digest = sha256(key.encode()).hexdigest()[:8]
        return sdk.SSHKey(
            f"{self._name}-key-{digest}",
            name=f"{TAG} {self._plan.stack} {digest}",
            ssh_key=key,
            opts=self._opts,
        )


def _nodes(plan: Plan) -> list[Node]:
    """The nodes that this driver makes."""
    return [node for node in plan.nodes if node.provider == "vultr" and not node.existing]


def _ports(opening: Opening) -> str:
    """As Vultr writes a range; empty for ICMP."""
    if opening.ports is None:
        return ""
    low, high = opening.ports
    return str(low) if low == high else f"{low}:{high}"


def _rules(plan: Plan) -> list[tuple[str, Opening, str, int]]:
    """Name, opening, subnet and its size of each rule; the subnet is empty for a node's address.

    Where a rule for each node would not fit, WireGuard is open to anyone: it answers nobody whose
    key it does not know, and nftables on the node is exact.
    """
    found = openings(plan, _nodes(plan))
    networks = sum(len(opening.networks) for opening in found)
    tunnels = [opening for opening in found if opening.node]
    if networks + len(tunnels) > RULES:
        (rule,) = (rule for rule in plan.firewall if rule.source == "nodes")
        open_to_all = Opening("wireguard", 4, rule.protocol, rule.ports, ANYONE[:1])
        found = (*(opening for opening in found if not opening.node), open_to_all)
    return [
        *((o.name, o, "", 32) for o in found if o.node),
        *(
            (_rule_name(o, str(net)), o, str(net.network_address), net.prefixlen)
            for o in found
            for net in o.networks
        ),
    ]


def _rule_name(opening: Opening, network: str) -> str:
    """Named after its source, so that another network more touches no other rule."""
    if len(opening.networks) == 1 and opening.networks[0] in ANYONE:
        return opening.name
    return f"{opening.name}-{network.replace('/', '-').replace(':', '.')}"
