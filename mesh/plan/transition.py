"""The plan between two plans, for changes that have two ends.

While a generation goes out in waves, some nodes have the plan before and some the plan after it. A
change with two ends would be half done on both: a service that one node no longer serves and the
next one does not serve yet. The plan between has both, so that a node of either plan works with it.
It is the plan after in all that has one end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mesh.limits import MOST_DIRECT
from mesh.plan.model import (
    Address,
    Aggregate,
    Family,
    FirewallRule,
    Link,
    Node,
    Plan,
    PlannedService,
    Role,
    Validator,
)
from mesh.plan.sessions import Interior

LAST_RESORT = 10_000
"""The cost of a link that goes: more than any way around it, so that nothing is under way in the
tunnel when it is taken down."""


def expanded(before: Plan, after: Plan) -> Plan | None:
    """The plan to roll out before ``after``; None where no change has two ends."""
    between = _Transition(before, after).between()
    return None if between == after else between


def obstacles(before: Plan, after: Plan) -> tuple[str, ...]:
    """Changes that no plan between the two can bridge, since a node cannot have both sides: nodes
    that have the plan after do not work with those that do not yet."""
    return tuple(_Transition(before, after).obstacles())


@dataclass(frozen=True)
class _Transition:
    """Two plans of a network, one after the other."""

    before: Plan
    after: Plan

    def between(self) -> Plan:
        aggregates = tuple(self._aggregate(each) for each in self.after.aggregates)
        services = tuple(self._service(each) for each in self.after.services)
        nodes = tuple(self._node(each, services) for each in self.after.nodes)
        has_more_links = any(map(self._going, self.after.nodes))
        limits = (self.before.path_limit, self.after.path_limit)
        return replace(
            self.after,
            aggregates=aggregates,
            services=services,
            nodes=nodes,
            path_limit=max(limits) if has_more_links else self.after.path_limit,
            rpki=(*self.after.rpki, *self._former_validators()),
            firewall=tuple(self._firewall()),
        )

    @cached_property
    def _former(self) -> dict[str, Node]:
        """The nodes of both plans as they were before. One with other numbers is another node, and
        so is one with another operating system, which is a new server."""
        same = {(node.id, node.number, node.tunnel, node.os) for node in self.after.nodes}
        return {n.id: n for n in self.before.nodes if (n.id, n.number, n.tunnel, n.os) in same}

    # --- places of services, announcers of prefixes ------------------------------------------

    def _moved(self, before: Sequence[str], after: Sequence[str]) -> bool:
        """Whether something comes to one node and goes from another that stays."""
        return not set(after) <= set(before) and bool(self._leaving(before, after))

    def _leaving(self, before: Sequence[str], after: Sequence[str]) -> set[str]:
        return (set(before) & self._former.keys()) - set(after)

    def _service(self, service: PlannedService) -> PlannedService:
        former = next((one for one in self.before.services if one.name == service.name), service)
        if not self._moved(former.nodes, service.nodes):
            return service
        leaving = self._leaving(former.nodes, service.nodes)
        return replace(service, nodes=tuple(sorted({*service.nodes, *leaving})))

    def _aggregate(self, each: Aggregate) -> Aggregate:
        """Its announcers, and the exit of before: replies leave there until a node has the plan
        after."""
        former = next((one for one in self.before.aggregates if one.prefix == each.prefix), each)
        if self._moved(former.nodes, each.nodes):
            leaving = self._leaving(former.nodes, each.nodes) & self._able(each)
            each = replace(each, nodes=tuple(sorted({*each.nodes, *leaving})))
        return replace(each, exit=former.exit)

    def _later_exits(self, node: Node) -> tuple[Address, ...]:
        """The exits that become this node's, where replies leave once others have the plan
        after."""
        former = {each.prefix: each.exit for each in self.before.aggregates}
        return tuple(
            each.exit
            for each in self.after.aggregates
            if each.exit is not None
            and node.id in each.nodes
            and former.get(each.prefix, each.exit) != each.exit
        )

    def _able(self, each: Aggregate) -> set[str]:
        """The nodes with an upstream of the prefix's family."""
        family = f"ipv{each.prefix.version}"
        return {n.id for n in self.after.nodes if any(s.family == family for s in n.upstreams)}

    # --- nodes -------------------------------------------------------------------------------

    def _node(self, node: Node, services: Collection[PlannedService]) -> Node:
        found = replace(
            node,
            links=self._links(node),
            services=tuple(one.name for one in services if node.id in one.nodes),
            later_exits=self._later_exits(node),
        )
        if not self._reflectors_move:
            return found
        roles = {*node.roles, *([Role.REFLECTOR] if node.id in self._reflectors else [])}
        return replace(
            found,
            roles=tuple(role for role in _ROLES if role in roles),
            reflectors=self._interior.with_reflectors(node.id),
            direct=self._interior.direct(node.id),
        )

    def _links(self, node: Node) -> tuple[Link, ...]:
        former = {each.peer: each for each in self._former_links(node)}
        found = [self._at_both_ports(link, former.get(link.peer)) for link in node.links]
        found += self._going(node)
        return tuple(sorted(found, key=lambda link: self._numbers[link.peer]))

    def _former_links(self, node: Node) -> Iterator[Link]:
        """A node's links to nodes that are in both plans."""
        if node.id in self._former:
            links = self._former[node.id].links
            yield from (link for link in links if link.peer in self._former)

    def _going(self, node: Node) -> list[Link]:
        """The links of a node that only the plan before has."""
        kept = {link.peer for link in node.links}
        gone = (link for link in self._former_links(node) if link.peer not in kept)
        by = self.after.port - self.before.port
        return [
            self._at_both_ports(replace(link, port=link.port + by, cost=LAST_RESORT), link)
            for link in gone
        ]

    @staticmethod
    def _at_both_ports(link: Link, former: Link | None) -> Link:
        """A peer of the plan before sends to the former port, and listens only there."""
        if former is None or former.port == link.port:
            return link
        return replace(link, former_port=former.port, peer_port=former.peer_port)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {node.id: node.number for node in self.after.nodes}

    # --- reflectors --------------------------------------------------------------------------

    @cached_property
    def _reflectors(self) -> set[str]:
        """The reflectors of both plans."""
        former = {n.id for n in self.before.with_role(Role.REFLECTOR)} & self._former.keys()
        return former | {node.id for node in self.after.with_role(Role.REFLECTOR)}

    @cached_property
    def _reflectors_move(self) -> bool:
        before, after = (
            [node.id for node in plan.with_role(Role.REFLECTOR)]
            for plan in (self.before, self.after)
        )
        return self._moved(before, after)

    @cached_property
    def _interior(self) -> Interior:
        nodes = sorted(self.after.nodes, key=lambda node: node.number)
        every: tuple[Family, ...] = ("ipv4", "ipv6")
        return Interior(
            {node.id: node.tunnel for node in nodes},
            tuple(node.id for node in nodes if node.id in self._reflectors),
            tuple(each for each in every if getattr(self.after.prefixes, each) is not None),
        )

    def _former_validators(self) -> Iterator[Validator]:
        """The validators of reflectors that are none in the plan after."""
        if not self._reflectors_move or not self.after.validates:
            return
        own = {address for node in self._former.values() for address in node.tunnel.both()}
        known = set(self.after.rpki)
        yield from (one for one in self.before.rpki if one.address in own and one not in known)

    # --- tunnel ports ------------------------------------------------------------------------

    def _firewall(self) -> Iterator[FirewallRule]:
        """The rules of the plan after, and that of the former tunnel ports."""
        for rule in self.after.firewall:
            yield rule
            if rule.source == "nodes" and self.before.port != self.after.port:
                former = next(one for one in self.before.firewall if one.source == "nodes")
                yield replace(former, name=f"{former.name}-former")

    # --- what cannot be bridged --------------------------------------------------------------

    def obstacles(self) -> Iterator[str]:
        if self.before.asn != self.after.asn:
            yield (
                f"mesh:asn changes from {self.before.asn} to {self.after.asn}: until the last node "
                f"has it, nodes do not tell each other of services"
            )
        if self.before.tunnels != self.after.tunnels:
            yield (
                "mesh:tunnels: every node gets another tunnel address, and reaches no other one "
                "until that one has its own"
            )
        else:
            yield from self._other_numbers()
        yield from self._other_slots()
        yield from self._taken_exits()
        if self._loses_reflectors():
            yield (
                "mesh:reflectors: none of those before is left, so nodes lose services of others "
                "meanwhile; keep one until the next update"
            )

    def _other_numbers(self) -> Iterator[str]:
        numbers = {node.id: node.number for node in self.before.nodes}
        for node in self.after.nodes:
            if numbers.get(node.id, node.number) != node.number:
                yield (
                    f"mesh:nodes.{node.id}.number changes from {numbers[node.id]} to "
                    f"{node.number}: nodes that have it and those that do not have no tunnel"
                )

    def _other_slots(self) -> Iterator[str]:
        announced = {node.id: node.announced for node in self.before.nodes}
        for node in self.after.nodes:
            if announced.get(node.id, node.announced) != node.announced:
                yield (
                    f"mesh:regions.{node.region}.slots: {node.id} has another announced address, "
                    f"and nodes that have the plan before look for it at the former one"
                )

    def _taken_exits(self) -> Iterator[str]:
        """Exits that are another prefix's with other announcers, before or after: whose replies
        leave there cannot be told apart."""
        former = {each.prefix: each for each in self.before.aggregates}
        for each in self.after.aggregates:
            old = former.get(each.prefix, each)
            if old.exit == each.exit:
                continue
            taken = [one for one in former.values() if one.exit == each.exit is not None]
            kept = [one for one in self.after.aggregates if one.exit == old.exit is not None]
            others = [one for one in taken if one.nodes != each.nodes]
            others += [one for one in kept if one.nodes != self._aggregate(each).nodes]
            if others:
                yield (
                    f"the exit of {each.prefix} changes from {old.exit} to {each.exit}, and "
                    f"{others[0].prefix} has one of these: until the last node has the change, "
                    f"replies may leave at the wrong one"
                )

    def _loses_reflectors(self) -> bool:
        """Whether every reflector leaves, and others know of each other through reflectors only."""
        if any(Role.REFLECTOR in node.roles for node in self._former.values()):
            return False
        some = max(len(self.before.nodes), len(self.after.nodes)) > MOST_DIRECT
        return bool(self._former) and (some or not self._is_full(self.before))

    def _is_full(self, plan: Plan) -> bool:
        return all(len(node.links) == len(plan.nodes) - 1 for node in plan.nodes)


_ROLES = tuple(Role)
