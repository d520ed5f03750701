"""Which nodes are admitted: checked here again, since registries are not trusted.

A node is admitted where its HMAC is made with its token, its instance is the one that the provider
made for it, and that instance has one identity only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from mesh.facts import Facts, Placement
from mesh.foreign import printable
from mesh.publish.order import Fleet, Instance, Member
from mesh.trust import joining
from mesh.trust.documents import JoinRequest, RefusedJoin
from mesh.trust.encoding import Malformed

TOKEN_LIFETIME = timedelta(hours=24)
"""How long a token is valid after its instance was made."""


@dataclass(frozen=True, slots=True)
class Admissions:
    """Members by node id, and why other nodes are not admitted."""

    members: dict[str, Member]
    problems: dict[str, str] = field(default_factory=dict)


def admit(
    instances: Mapping[str, Instance],
    fleet: Fleet | None,
    requests: Iterable[JoinRequest],
    now: datetime,
) -> Admissions:
    """The members of the network, from those of the state and from requests to join."""
    known = {} if fleet is None else fleet.members
    by_node: dict[str, list[Facts]] = {node: [] for node in instances}
    for request in requests:
        # Without a valid HMAC anybody may have sent it: ignored without a message, which could
        # fill the screen.
        instance = instances.get(request.node)
        if instance is not None and joining.is_authentic(instance.token, request):
            with suppress(
                Malformed
            ):  # facts of another version: the node sends new ones after its update
                by_node[request.node].append(joining.stated_facts(request))
    members: dict[str, Member] = {}
    problems: dict[str, str] = {}
    for node, instance in instances.items():
        before = known.get(node)
        if before is not None and before.instance_id != instance.instance_id:
            before = None  # a new instance: its token is valid again
        own = [facts for facts in by_node[node] if facts.instance_id == instance.instance_id]
        member, problem = _member(node, instance, before, own, now)
        if member is not None:
            members[node] = member
        if problem:
            problems[node] = problem
    return Admissions(members, problems)


def _member(
    node: str, instance: Instance, before: Member | None, own: list[Facts], now: datetime
) -> tuple[Member | None, str]:
    identities = {facts.identity for facts in own}
    if before is not None:
        identities.add(before.identity)
    if len(identities) > 1:
        return before, (
            f"{node}: a second identity claims its instance {instance.instance_id}; refused. "
            "Somebody else may have its token: replace its server "
            f"(pulumi up --replace '**{node}-instance')"
        )
    if not own:
        return before, ""
    facts = own[-1]
    if before is None:
        age = now - datetime.fromisoformat(instance.created.replace("Z", "+00:00")).astimezone(UTC)
        if age > TOKEN_LIFETIME:
            return None, (
                f"{node}: its token expired {_hours(age - TOKEN_LIFETIME)} ago "
                f"(24 hours after its instance was made), and no update has finished since; "
                f"replace its server "
                f"(pulumi up --replace '**{node}-instance')"
            )
    planned = instance.placement
    if before is not None and not _is_there(facts, planned) and _is_there(before.facts, planned):
        # Its addresses were right before: a request from the middle of a boot, or from a
        # compromised node, must not block publications.
        return before, ""
    if facts.ipv4 != planned.main:
        return before, f"{node}: its main address is {facts.ipv4}, planned is {planned.main}"
    if planned.ipv6 is not None and facts.ipv6 != planned.ipv6:
        return before, (
            f"{node}: its IPv6 address is {facts.ipv6 or 'not there yet'}, "
            f"planned is {planned.ipv6}"
        )
    if planned.ipv6 is None:
        # Not planned, and every peer's firewall would accept it.
        facts = replace(facts, ipv6=None, gateway6=None)
    return Member(instance.instance_id, facts.identity, facts), ""


def elsewhere(instances: Mapping[str, Instance], refused: Iterable[RefusedJoin]) -> dict[str, str]:
    """Problems of nodes whose requests come from other addresses than planned. Requests without a
    valid HMAC are ignored."""
    problems: dict[str, str] = {}
    for one in refused:
        node, instance = one.request.node, instances.get(one.request.node)
        if instance is None or not _is_of(instance, one.request):
            continue
        planned = " and ".join(map(str, instance.placement.both()))
        problems[node] = (
            f"{node}: asks to join from {printable(str(one.address))}, planned is {planned}; plan "
            f"that address, or make the planned one the source of its default route"
        )
    return problems


def _is_of(instance: Instance, request: JoinRequest) -> bool:
    """Whether that instance has sent the request."""
    if not joining.is_authentic(instance.token, request):
        return False
    try:
        return joining.stated_facts(request).instance_id == instance.instance_id
    except Malformed:
        return False


def _is_there(facts: Facts, planned: Placement) -> bool:
    """Whether a node has its planned addresses."""
    return facts.ipv4 == planned.main and planned.ipv6 in (None, facts.ipv6)


def _hours(span: timedelta) -> str:
    return f"{span.total_seconds() / 3600:.1f} hours"
