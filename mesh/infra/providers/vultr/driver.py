"""Vultr's driver: instances and bare metal on reserved addresses, behind one firewall group.

Its API knows no BGP session: it exists for every server of an account that has BGP (see
:mod:`mesh.infra.providers.vultr.account`), with the parameters of the plan. What makes the
resources is chosen by ``mesh:providers.vultr.through``: the API, or the plugin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

from pulumi import Input, Output, Resource, ResourceOptions

from mesh.infra.providers.openings import ANYONE, Opening, openings
from mesh.infra.providers.protocol import Machine, Reserved, Setting
from mesh.infra.providers.vultr import questions
from mesh.infra.providers.vultr.maker import Held, Made, Maker, Rule, Server
from mesh.infra.providers.vultr.questions import nodes_of
from mesh.infra.providers.vultr.tags import tags
from mesh.plan import Node, Plan
from mesh.spec import Note, Problem

RULES = 50
"""A firewall group's ``max_rule_count`` (api.vultr.com, "Get Firewall Group")."""


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
        self._maker = _maker(name, setting, opts)
        self._image = questions.image()
        self._addresses: dict[str, Held] = {}
        self._group: Output[str] | None = None
        self._keys = [self._key(line) for line in setting.plan.access.ssh_keys]

    @staticmethod
    def problems(setting: Setting) -> Iterator[Problem | Note]:
        """What Vultr would refuse of this stack, its BGP included, and what it will cost."""
        yield from questions.problems(setting)
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
        if all(node.bare_metal for node in nodes_of(self._plan)):
            return
        rules = [
            Rule(
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

        No reserved IPv6: Vultr attaches one beside the main address, as a further /64, and the
        BGP session of that family is with the main address. Nothing needs an IPv6 address before
        its server exists: tunnels run over IPv4.
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
        server = Server(
            node=node,
            image=self._image,
            address=self._addresses[node.id],
            group=None if node.bare_metal else self._group,
            keys=self._keys,
            tags=tags(self._plan),
            ddos_protection=self._options.ddos_protection,
            user_data=user_data,
        )
        # An account's limit of addresses is met before any server is made. Instances wait for the
        # firewall group, and so for all addresses; naming these at each costs nodes squared.
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

    def _reverse(self, name: str, node: Node, reserved: Reserved, made: Made) -> None:
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
        """A key of the operator's, named after itself: the order in the stack file is nothing."""
        digest = sha256(line.encode()).hexdigest()[:8]
        return self._maker.key(f"{self._name}-key-{digest}", digest, line, self._opts)


def _maker(name: str, setting: Setting, opts: ResourceOptions) -> Maker:
    """The way that the stack file chooses. Only the plugin's imports its package."""
    if setting.spec.providers.vultr.through == "plugin":
        from mesh.infra.providers.vultr.plugin import Plugin

        return Plugin(setting.plan)
    from mesh.infra.providers.vultr.api import Api

    return Api(name, opts)


def _ports(opening: Opening) -> str:
    """As Vultr writes a range; empty for ICMP."""
    if opening.ports is None:
        return ""
    low, high = opening.ports
    return str(low) if low == high else f"{low}:{high}"


def _rules(plan: Plan) -> list[tuple[str, Opening, str, int]]:
    """Name, opening, subnet and its size of each rule; the subnet is empty for a node's address.

    Where a rule for each node would not fit, WireGuard is open to anyone: it answers nobody whose
    key it does not know, and nftables on the node is exact. Then the registry is as well.
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
    """Named after its source, so that another network more touches no other rule."""
    if len(opening.networks) == 1 and opening.networks[0] in ANYONE:
        return opening.name
    return f"{opening.name}-{network.replace('/', '-').replace(':', '.')}"
