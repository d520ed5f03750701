"""Whether a node is as well after a change as it was just before: by its report, by its peers'."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from mesh.plan import Node, Plan, Role
from mesh.publish.expected import MISSING, UP, expected, state_text, tunnel_session
from mesh.publish.unreachable import unreachable
from mesh.trust.documents import Health, Report


@dataclass(frozen=True, slots=True)
class Objection:
    """``who`` says that something is worse at ``node`` than before, and ``why``."""

    node: str
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class Around:
    """Whose word on a node counts beside its own: the ``peers`` with which it has sessions, and the
    ``witnesses`` that have examined it."""

    peers: tuple[Node, ...]
    witnesses: tuple[str, ...]


def around(
    plan: Plan, nodes: Collection[str], before: Mapping[str, Report], heard: Collection[str]
) -> dict[str, Around]:
    """By node of ``nodes``, whose word counts: of those ``heard`` its peers by the plan, and its
    witnesses by their reports of ``before``."""
    all_nodes = {node.id: node for node in plan.nodes}
    examined: dict[str, list[str]] = {node: [] for node in nodes}
    for who in sorted(set(before) & set(heard)):
        for node in before[who].health.witnessed:
            if node in examined:
                examined[node].append(who)
    return {
        node: Around(
            tuple(all_nodes[peer] for peer in _linked(all_nodes[node]) if peer in heard),
            tuple(examined[node]),
        )
        for node in nodes
    }


def _linked(node: Node) -> list[str]:
    peers = {link.peer for link in node.links} | {session.peer for session in node.ibgp}
    return sorted(peers)


def objections(
    plan: Plan,
    node: Node,
    around: Around,
    before: Mapping[str, Report],
    after: Mapping[str, Report],
    now: float,
    changed: Collection[str] = (),
    restarts: bool = False,
) -> tuple[Objection, ...]:
    """What is worse at a node that has applied a generation of this plan than it was ``before``, by
    the last reports; empty if nothing is. ``now`` is seconds since the epoch.

    ``changed`` are the nodes that changed at the same time. A session with a node that others have
    lost as well, or that is off, is not held against this one. Where the node's sessions start anew
    (``restarts``), it may take the Internet a while until packets come in there again: that is not
    asked.
    """
    gone = {
        peer.id
        for peer in around.peers
        if peer.id not in changed and _lost_by_others(peer, node.id, before, after, changed)
    } | _off(plan, node, around, before, after, now, changed)
    present = [peer.id for peer in around.peers if peer.id not in gone]
    own = [Objection(node.id, node.id, why) for why in _own(plan, node, present, before, after)]
    lost = [
        Objection(node.id, peer.id, why)
        for peer in around.peers
        if peer.id not in gone
        for why in _seen_by(peer, node, before, after)
    ]
    unseen = [
        Objection(node.id, who, f"no longer sees its {what} work")
        for who in around.witnesses
        for what in _unseen(plan, node, who, before, after)
        if not (restarts and what.startswith("uplink "))
    ]
    return (*own, *lost, *unseen)


# --- the node's own report -----------------------------------------------------------------------


def _own(
    plan: Plan,
    node: Node,
    present: Collection[str],
    before: Mapping[str, Report],
    after: Mapping[str, Report],
) -> Iterator[str]:
    """By the node's own report; ``present`` are the peers that are not gone."""
    if node.id not in before or node.id not in after:
        return
    old, new = before[node.id].health, after[node.id].health
    yield from (f"{name}: {why}" for name, why in _new_faults(old, new))
    if new.bird and not old.bird:
        yield f"BIRD {new.bird}"
        return
    planned = expected(plan, node, new, present).sessions
    for name in sorted(_up(old) & planned):
        if (state := new.sessions.get(name, MISSING)) != UP:
            error = new.down[name].error if name in new.down else ""
            yield f"{name} is {state_text(state)}" + (f", {error}" if error else "")
    if new.drained:
        return  # by the operator's order, which waits for no wave
    yield from _not_exported(plan, node, old, new)
    yield from _not_served(plan, node, old, new)


def _new_faults(old: Health, new: Health) -> list[tuple[str, str]]:
    known = old.faults or {}
    return sorted((name, why) for name, why in (new.faults or {}).items() if name not in known)


def _up(health: Health) -> set[str]:
    return {name for name, state in health.sessions.items() if state == UP}


def _not_exported(plan: Plan, node: Node, old: Health, new: Health) -> Iterator[str]:
    """The prefixes that were exported to upstreams, are still planned, and are not exported."""
    planned = set(plan.announced_by(node.id))
    for session in node.upstreams:
        held = set((old.announced or {}).get(session.name, ()))
        now = (new.announced or {}).get(session.name, ())
        for prefix in sorted(held & planned - set(now), key=str):
            yield f"does not announce {prefix} on {session.name}"


def _not_served(plan: Plan, node: Node, old: Health, new: Health) -> Iterator[str]:
    """The services that were served, are still planned here, and are not served."""
    for service in plan.services:
        name = service.name
        if node.id not in service.nodes:
            continue
        if name not in old.families:
            if old.services.get(name) and not new.services.get(name):
                yield f"{name} is down{_because(name, new)}"
            continue
        planned = {f"ipv{address.version}" for address in service.addresses.both()}
        for family, served in sorted(old.families[name].items()):
            if served and family in planned and not new.families.get(name, {}).get(family):
                yield f"{name} is down in {family}{_because(name, new)}"


def _because(service: str, health: Health) -> str:
    why = health.failures.get(service, "")
    return f": {why}" if why else ""


# --- what others say -----------------------------------------------------------------------------


def _seen_by(
    peer: Node, node: Node, before: Mapping[str, Report], after: Mapping[str, Report]
) -> Iterator[str]:
    """The sessions with the node that its peer has lost."""
    for name in sorted(_lost(peer, before, after)):
        if _sessions(peer).get(name) == node.id:
            yield f"its {name} is {state_text(after[peer.id].health.sessions.get(name, MISSING))}"


def _sessions(node: Node) -> dict[str, str]:
    """The planned sessions with other nodes, each with the node at its far end."""
    found = {tunnel_session(link.peer): link.peer for link in node.links}
    return found | {session.name: session.peer for session in node.ibgp}


def _lost(node: Node, before: Mapping[str, Report], after: Mapping[str, Report]) -> set[str]:
    """The sessions of a node that were up and are not."""
    if node.id not in before or node.id not in after or after[node.id].health.bird:
        return set()
    return _up(before[node.id].health) - _up(after[node.id].health)


def _lost_by_others(
    peer: Node,
    node: str,
    before: Mapping[str, Report],
    after: Mapping[str, Report],
    changed: Collection[str],
) -> bool:
    """Whether a peer has lost a session with a third node that did not change, or its BIRD."""
    if peer.id in after and after[peer.id].health.bird:
        return True
    planned = _sessions(peer)
    return any(
        planned.get(name) not in (None, node, *changed) for name in _lost(peer, before, after)
    )


def _off(
    plan: Plan,
    node: Node,
    around: Around,
    before: Mapping[str, Report],
    after: Mapping[str, Report],
    now: float,
    changed: Collection[str],
) -> set[str]:
    """The peers that did not change, with which a node has lost sessions, and that no node reaches,
    by the word of those that did not change."""
    sessions = _sessions(node)
    lost = {sessions.get(name) for name in _lost(node, before, after)}
    peers = {peer.id for peer in around.peers if peer.id in lost and peer.id not in changed}
    return peers & unreachable(plan, after, after.keys(), now, changed).keys() if peers else peers


def _unseen(
    plan: Plan, node: Node, who: str, before: Mapping[str, Report], after: Mapping[str, Report]
) -> list[str]:
    """What a witness saw of the node before, is still planned, and it sees no more."""
    old = before[who].health.witnessed.get(node.id)
    new = after[who].health.witnessed.get(node.id) if who in after else None
    if old is None or new is None:
        return []
    return [what for what in old.seen if what not in new.seen and _due(plan, node, who, what)]


def _due(plan: Plan, node: Node, who: str, what: str) -> bool:
    """Whether the plan still has what a witness names (:mod:`mesh.agent.witness`)."""
    kind, _, family = what.partition(" ")
    if kind == "registry":
        return Role.REGISTRY in node.roles
    linked = {link.peer for link in node.links}
    if kind == "uplink":
        return family in _announced(plan, linked) and any(
            f"ipv{prefix.version}" == family for prefix in plan.announced_by(node.id)
        )
    if kind == "announced":
        return family in _announced(plan, {node.id})
    # What the node passes on is for a third node, and there may be none any more.
    if kind == "transit":
        return who in linked and family in _announced(plan, linked - {who})
    if kind == "detour":
        return linked > {who}
    return who in linked


def _announced(plan: Plan, nodes: Collection[str]) -> set[str]:
    """The families in which some of these nodes have an announced address."""
    return {
        f"ipv{address.version}"
        for node in plan.nodes
        if node.id in nodes
        for address in node.announced.both()
    }
