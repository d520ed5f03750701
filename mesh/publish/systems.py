"""Operating systems of members: they are those of the plan, and still supported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta

from mesh.operating_systems import unsupported_from
from mesh.plan import Node, Plan
from mesh.publish.order import Member

DOUBT = timedelta(days=61)
"""Days after its computed end for which a release may still be supported, since the next one may be
late."""


def unfit(
    plan: Plan, members: Mapping[str, Member], known: Mapping[str, Member], today: date
) -> Iterator[str]:
    """Why members cannot have their files: they run another system than planned, or are new, and
    run a release that has been out of support for some time. ``known`` are the members of the last
    publication."""
    for node, member in _planned(plan, members):
        facts = member.facts
        if facts.os is not node.os:
            yield f"{node.id}: {_other(node, member)}"
            continue
        end = unsupported_from(facts.os, facts.release)
        if end is not None and today >= end + DOUBT and not _is_known(node, member, known):
            yield f"{node.id}: {_out_of_support(node, member, end)}"


def outdated(
    plan: Plan, members: Mapping[str, Member], known: Mapping[str, Member], today: date
) -> Iterator[str]:
    """A warning for each of the other members whose release is out of support, as far as is
    known."""
    for node, member in _planned(plan, members):
        end = unsupported_from(member.facts.os, member.facts.release)
        if end is None or today < end:
            continue
        if today < end + DOUBT or _is_known(node, member, known):
            yield f"warning: {node.id}: {_out_of_support(node, member, end)}"


def _planned(plan: Plan, members: Mapping[str, Member]) -> Iterator[tuple[Node, Member]]:
    return ((node, members[node.id]) for node in plan.nodes if node.id in members)


def _is_known(node: Node, member: Member, known: Mapping[str, Member]) -> bool:
    """Whether the server has been a node before."""
    return node.id in known and known[node.id].instance_id == member.instance_id


def _other(node: Node, member: Member) -> str:
    """What to do where a server runs another system than planned."""
    name, key = node.os.own_name, f"mesh:nodes.{node.id}.os"
    facts, replace = member.facts, f"mesh replace {node.id}"
    first = f"install {name} on it, then {replace}" if node.existing else replace
    return (
        f"it runs {facts.system}, and {key} is {node.os}: {first} makes a node of {name}, and "
        f"os: {facts.os} keeps this one"
    )


def _out_of_support(node: Node, member: Member, end: date) -> str:
    last = end - timedelta(days=1)
    return (
        f"it runs {member.facts.system}, whose support ended on {last} if releases came each half "
        f"year: give it a new server (mesh replace {node.id}), or run sysupgrade(8) while it is "
        f"drained"
    )
