"""Vultr's driver: instances and bare metal on reserved addresses, behind one firewall group.

Its API has no BGP sessions: every server of an account with BGP has them
(:mod:`mesh.infra.providers.vultr.account`), with the parameters of the plan.
``mesh:providers.vultr.through`` selects what makes the resources: the API, or the plugin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

from pulumi import Input, Output, Resource, ResourceOptions

from mesh.infra.providers.openings import ANYONE, Opening, openings
from mesh.infra.providers.protocol import Machine, Reserved, StackConfiguration
from mesh.infra.providers.vultr import queries
from mesh.infra.providers.vultr.maker import (
    CreatedServer,
    FirewallInput,
    Maker,
    ReservedAddress,
    ServerInput,
)
from mesh.infra.providers.vultr.queries import nodes_of
from mesh.infra.providers.vultr.tags import tags
from mesh.operating_systems import OperatingSystem
from mesh.plan import Node, Plan
from mesh.spec import Note, Problem

RULES = 50
"""A firewall group's ``max_rule_count`` (api.vultr.com, "Get Firewall Group")."""


class Vultr:
    """Nodes at Vultr, with the account of ``vultr:apiKey`` or ``VULTR_API_KEY``."""

    fixed_at_creation: Sequence[str] = (
        "user_data", "os_id", "ssh_key_ids", "hostname", "script_id",
    )  # fmt: skip
    namespace: str | None = None
    publish_deadline = 900.0

    def __init__(self, name: str, configuration: StackConfiguration, opts: ResourceOptions) -> None:
        self._name = name
        self._opts = opts
        self._plan = configuration.plan
        self._options = configuration.spec.providers.vultr
        self._maker = _maker(name, configuration, opts)
        self._images = queries.image_ids()
        self._addresses: dict[str, ReservedAddress] = {}
        self._group: Output[str] | None = None
        self._keys = [self._key(line) for line in configuration.plan.access.ssh_keys]

    @staticmethod
    def problems(configuration: StackConfiguration) -> Iterator[Problem | Note]:
        """What Vultr would refuse of this stack, its BGP included, and what it will cost."""
        yield from queries.problems(configuration)
        count = len(_rules(configuration.plan))
        if count > RULES:
            yield Problem(
                "mesh:admin.ssh",
                f"{len(configuration.plan.access.admin)} networks",
                f"a firewall group of Vultr takes {RULES} rules, and this stack needs {count}",
                "name fewer networks in mesh:admin.ssh and mesh:registry.sources",
            )

    def make_firewall(self, addresses: Mapping[str, Output[str]]) -> None:
        """One group for all instances; bare metal has the node's own firewall only."""
        if all(node.bare_metal for node in nodes_of(self._plan)):
            return
        rules = [
            FirewallInput(
                name,
                opening.family,
                opening.protocol,
                addresses[opening.node] if opening.node else subnet,
                size,
                _ports(opening),
            )
            for name, opening, subnet, size in _rules(self._plan)
        ]
        self._group = self._maker.firewall(self._name, rules, self._all_addresses(), self._opts)

    def reserve(self, name: str, node: Node, opts: ResourceOptions) -> Reserved:
        """A reserved IPv4 address.

        No reserved IPv6: Vultr attaches one as a further /64, and the BGP session of that family is
        with the server's main address. Nothing needs an IPv6 address before its server exists:
        tunnels run over IPv4.
        """
        self._addresses[node.id] = self._maker.address(f"{name}-address", node, opts)
        return Reserved(self._addresses[node.id].ipv4)

    def boot(
        self,
        name: str,
        node: Node,
        reserved: Reserved,
        user_data: Output[str],
        opts: ResourceOptions,
    ) -> Machine:
        """An instance or a bare metal server."""
        server = ServerInput(
            node=node,
            image=self._images[node.os],
            address=self._addresses[node.id],
            group=None if node.bare_metal else self._group,
            keys=self._keys,
            tags=tags(self._plan),
            ddos_protection=self._options.ddos_protection,
            user_data=user_data,
        )
        # All addresses come first, so that the account's limit of addresses fails before any server
        # is made. Instances wait for the firewall group, which waits for them.
        if node.bare_metal:
            own = ResourceOptions.merge(opts, ResourceOptions(depends_on=self._all_addresses()))
            made = self._maker.bare_metal(f"{name}-instance", server, own)
        else:
            made = self._maker.instance(f"{name}-instance", server, opts)
            self._reverse(name, node, reserved, made)
        # cloud-init's Vultr datasource calls the API's id instance-v2-id.
        ipv6: Output[str | None] = (
            made.ipv6.apply(lambda found: found or None) if node.ipv6 else Output.from_input(None)
        )
        return Machine(made.resource, made.id, made.created, ipv6)

    def access(self, node: Node, reserved: Reserved) -> Mapping[str, Input[str]]:
        """SSH, from the operator's networks."""
        return {"ssh": Output.concat("ssh root@", reserved.ipv4)}

    def _reverse(self, name: str, node: Node, reserved: Reserved, made: CreatedServer) -> None:
        """Reverse names, when asked for; bare metal has none at Vultr."""
        if self._options.reverse is None:
            return
        to = f"{node.id}.{self._options.reverse}"
        self._maker.reverse(f"{name}-reverse-v4", made, reserved.ipv4, to, 4)
        if node.ipv6:
            self._maker.reverse(f"{name}-reverse-v6", made, made.ipv6, to, 6)

    def _all_addresses(self) -> list[Input[Resource]]:
        return [held.resource for held in self._addresses.values()]

    def _key(self, line: str) -> Output[str]:
        """A key of the operator's, named by its digest: its position may change."""
        digest = sha256(line.encode()).hexdigest()[:8]
        return self._maker.key(f"{self._name}-key-{digest}", digest, line, self._opts)


def _maker(name: str, configuration: StackConfiguration, opts: ResourceOptions) -> Maker:
    """What the stack file selects. The plugin's package is imported only for the plugin."""
    if configuration.spec.providers.vultr.through == "plugin":
        from mesh.infra.providers.vultr.plugin import Plugin

        return Plugin(configuration.plan)
    from mesh.infra.providers.vultr.api import Api

    return Api(name, _startup_script(configuration), opts)


def _startup_script(configuration: StackConfiguration) -> Output[str] | None:
    """The startup script of the OpenBSD nodes; None without any."""
    if all(node.os is not OperatingSystem.OPENBSD for node in nodes_of(configuration.plan)):
        return None
    # Imported here: most networks have none, and a preview renders nothing else.
    from mesh.render import startup_script

    assert configuration.operator is not None, "the driver is made after the operator's key"
    return configuration.operator.apply(startup_script)


def _ports(opening: Opening) -> str:
    """As Vultr writes a range; empty for ICMP."""
    if opening.ports is None:
        return ""
    low, high = opening.ports
    return str(low) if low == high else f"{low}:{high}"


def _rules(plan: Plan) -> list[tuple[str, Opening, str, int]]:
    """Name, opening, subnet and its size of each rule; the subnet is empty for a node's address.

    Where a rule for each node would exceed the limit, WireGuard is open to anyone, and the registry
    too if necessary: WireGuard answers known keys only, and nftables on the node is exact.
    """
    found = openings(plan, nodes_of(plan))
    for source in ("nodes", "registry"):
        (rule,) = (rule for rule in plan.firewall if rule.source == source)
        single = [o for o in found if o.node and o.name == f"{rule.name}-{o.node}"]
        if single and sum(len(o.networks) or 1 for o in found) > RULES:
            to_all = Opening(rule.name, 4, rule.protocol, rule.ports, ANYONE[:1])
            found = (*(o for o in found if o not in single), to_all)
    return [
        *((o.name, o, "", 32) for o in found if o.node),
        *(
            (_rule_name(o, str(net)), o, str(net.network_address), net.prefixlen)
            for o in found
            for net in o.networks
        ),
    ]


def _rule_name(opening: Opening, network: str) -> str:
    """A name by the source, so that a new network changes no other rule."""
    if len(opening.networks) == 1 and opening.networks[0] in ANYONE:
        return opening.name
    return f"{opening.name}-{network.replace('/', '-').replace(':', '.')}"
