"""The security groups of the nodes of one region of AWS: stateful, closed except the openings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from pulumi import Input, Output, Resource

from mesh.infra.providers.aws import sdk
from mesh.infra.providers.aws.site import Site
from mesh.infra.providers.openings import Opening, openings
from mesh.plan import Network, Node, Plan
from mesh.spec import Problem

# docs.aws.amazon.com, "Amazon VPC quotas": inbound rules of a group for each family, and groups of
# a network interface. The first may be raised, the product may not exceed 1000.
RULES, GROUPS = 60, 5

COMMON = "group"
"""The name of the group with all rules but those of tunnels."""


def problems(plan: Plan, nodes: tuple[Node, ...]) -> Iterator[Problem]:
    """More rules than the groups of these nodes, all of one region, would take."""
    found = openings(plan, nodes)
    of_peers = {group_of(plan, opening) for opening in found} - {COMMON}
    if len(of_peers) >= GROUPS:
        yield Problem(
            "mesh:nodes", f"{len(plan.nodes)} nodes",
            f"an AWS node's firewall has room for {GROUPS - 1} groups of {RULES} tunnel numbers",
            "give numbers that lie closer together",
        )  # fmt: skip
    rules = Counter(o.family for o in found if o.node is None for _ in o.networks)
    # The speakers of the VPC: BGP and BFD from each.
    rules[4] += sum(len(nodes[0].vpc) for opening in found if opening.routers)
    for family, count in sorted(rules.items()):
        if count > RULES:
            yield Problem(
                "mesh:admin.ssh", f"{len(plan.access.admin)} networks",
                f"with them an AWS node's firewall has {count} IPv{family} rules; AWS takes "
                f"{RULES}", "name fewer, or fewer ports in mesh:services",
            )  # fmt: skip


def group_of(plan: Plan, opening: Opening) -> str:
    """The group of an opening. A peer's follows from its tunnel number, so that no rule moves when
    nodes come and go; the registry's openings have groups of their own."""
    if opening.node is None:
        return COMMON
    kind = "mates" if opening.protocol == "udp" else "callers"
    return f"{kind}{(plan.node(opening.node).number - 1) // RULES + 1}"


class Firewall:
    """The groups, which are made before any interface of a node."""

    def __init__(self, site: Site, vpc_id: Input[str]) -> None:
        self._site = site
        self._openings = openings(site.plan, site.nodes)
        names = {COMMON} | {group_of(site.plan, opening) for opening in self._openings}
        self._groups = {
            suffix: sdk.SecurityGroup(
                f"{site.name}-{suffix}",
                region=site.place,
                vpc_id=vpc_id,
                name=f"anycast-mesh-{site.plan.stack}-{suffix}",
                description=f"Nodes of the network {site.plan.stack}",
                tags=site.tags(f"{site.name}-{suffix}"),
                # AWS changes neither in place; a renamed stack keeps its groups.
                opts=site.own(ignore_changes=["name", "description"]),
            )
            for suffix in sorted(names)
        }
        self.out: list[Resource] = [
            self._let_out("out-v4", cidr_ipv4="0.0.0.0/0"),
            self._let_out("out-v6", cidr_ipv6="::/0"),
        ]
        """The rules by which nodes reach the Internet."""

    @property
    def groups(self) -> list[Output[str]]:
        """The ids of the groups of every node here."""
        return [group.id for group in self._groups.values()]

    def add_rules(
        self, addresses: Mapping[str, Output[str]], routers: list[sdk.RouteServerEndpoint]
    ) -> None:
        """A rule for every source that may reach a node, named after it."""
        for opening in self._openings:
            for suffix, source in self._sources(opening, addresses, routers):
                self._let_in(f"{opening.name}{suffix}", opening, source)

    def _sources(
        self,
        opening: Opening,
        addresses: Mapping[str, Output[str]],
        routers: list[sdk.RouteServerEndpoint],
    ) -> Iterator[tuple[str, Input[str]]]:
        if opening.node is not None:
            yield "", Output.format("{0}/32", addresses[opening.node])
        if opening.routers:
            for number, router in enumerate(routers, 1):
                yield f"-{number}", Output.format("{0}/32", router.eni_address)
        for network in opening.networks:
            yield slug(network), str(network)

    def _let_in(self, suffix: str, opening: Opening, source: Input[str]) -> None:
        first, last = opening.ports or (-1, -1)
        name, icmp6 = f"{self._site.name}-{suffix}", opening.protocol == "icmp"
        sdk.SecurityGroupIngressRule(
            name,
            region=self._site.place,
            security_group_id=self._groups[group_of(self._site.plan, opening)].id,
            ip_protocol="icmpv6" if icmp6 and opening.family == 6 else opening.protocol,
            from_port=first,
            to_port=last,
            cidr_ipv4=source if opening.family == 4 else None,
            cidr_ipv6=source if opening.family == 6 else None,
            tags=self._site.tags(name, opening.node),
            opts=self._site.opts,
        )

    def _let_out(self, suffix: str, **cidr: str) -> sdk.SecurityGroupEgressRule:
        name = f"{self._site.name}-{suffix}"
        return sdk.SecurityGroupEgressRule(
            name,
            region=self._site.place,
            security_group_id=self._groups[COMMON].id,
            ip_protocol="-1",
            tags=self._site.tags(name),
            opts=self._site.opts,
            **cidr,
        )


def slug(network: Network) -> str:
    """A network as the end of a rule's name: empty for the whole world. A name may contain no
    double colon, which separates parts of a URN."""
    if network.prefixlen == 0:
        return ""
    return "-" + str(network).replace(":", ".").replace("/", "-")
