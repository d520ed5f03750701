"""The effect of the rules of ``mesh:traffic`` on one session."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.plan.model import Community, Family, Steering, Tag
from mesh.spec import Spec
from mesh.spec.providers import Communities, Upstream
from mesh.spec.steering import Edge, edges, holds, written
from mesh.spec.traffic import TrafficRule

SCOPES = {
    "noIxp": "to nobody at exchanges",
    "routeServersOnly": "to route servers of exchanges only",
    "ixpOnly": "to exchanges only",
    "providerOnly": "to nobody outside",
}
"""What a scope means, for tables and bird.conf."""


def steering(spec: Spec, node_id: str, upstream: Upstream, family: Family) -> Steering:
    """The rules of a session, in the order of the stack file, and the communities that the session
    itself has there.

    The spec has been checked: the rules do not conflict, and the upstream supports them.
    """
    own = edges({node_id: spec.nodes[node_id]}, spec.prefixes)
    edge = next(each for each in own if (each.family, each.upstream) == (family, upstream))
    rules = [rule for rule in spec.traffic if holds(rule, edge)]
    tags: dict[Community, Tag] = {}
    for rule in rules:
        for community, meaning in _asked(rule, edge):
            tags.setdefault(community, Tag(community, meaning, rule.name))
    for community in upstream.communities:
        tags.setdefault(community, Tag(community, f"community {written(community)}", upstream.name))
    names = [rule.name for rule in rules]
    if upstream.communities or upstream.local_preference is not None:
        names.append(upstream.name)
    return Steering(
        rules=tuple(names),
        prepend=_in_path(rules, edge),
        med=next((rule.med for rule in rules if rule.med is not None), None),
        tags=tuple(tags.values()),
        local_preference=next(
            (rule.local_preference for rule in rules if rule.local_preference is not None),
            upstream.local_preference,
        ),
    )


def _in_path(rules: list[TrafficRule], edge: Edge) -> int:
    """How many times our own ASN is prepended; 0 where the provider has a community with which it
    prepends its own."""
    if edge.communities is not None:
        return 0
    return next((rule.prepend for rule in rules if rule.prepend is not None), 0)


def _asked(rule: TrafficRule, edge: Edge) -> Iterator[tuple[Community, str]]:
    """The communities of a rule, each with its meaning."""
    if edge.communities is not None:
        yield from _actions(rule, edge.communities)
    for community in rule.communities:
        yield community, f"community {written(community)}"


def _actions(rule: TrafficRule, actions: Communities) -> Iterator[tuple[Community, str]]:
    owner = f"AS{actions.asn}"
    if rule.prepend is not None:
        yield actions.prepend[rule.prepend - 1], f"{owner} prepended {rule.prepend}x to all"
    if rule.scope is not None:
        for community in actions.scopes[rule.scope]:
            yield community, SCOPES[rule.scope]
    if rule.zero_med:
        yield actions.zero_med, "MED 0 to all"
    for to in sorted(rule.to_as, key=lambda each: each.asn):
        whom = f"to AS{to.asn}"
        if to.prepend is not None:
            community = actions.prepend_to[to.prepend - 1].of(to.asn)
            yield community, f"{owner} prepended {to.prepend}x {whom}"
        if to.export is not None:
            action = actions.export_to if to.export else actions.withhold_from
            yield action.of(to.asn), f"not {whom}" if not to.export else f"{whom} all the same"
        if to.zero_med:
            yield actions.zero_med_to.of(to.asn), f"MED 0 {whom}"
