"""The BGP sessions of a plan, and what a change does to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mesh.plan import Node, Plan, UpstreamSession

Kind = Literal["upstream", "vpc", "reflector", "direct", "underlay"]
Fate = Literal["added", "removed", "changed", "restarted"]


@dataclass(frozen=True, slots=True, order=True)
class Session:
    """One session. ``peer`` is the other node, or the session's name with a provider; of two nodes
    ``node`` is the one that comes first. ``family`` is empty in the underlay, which carries both.
    """

    kind: Kind
    node: str
    peer: str
    family: str

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes of ours at its ends."""
        return (self.node,) if self.kind in ("upstream", "vpc") else (self.node, self.peer)

    def __str__(self) -> str:
        ends = f"{self.node}:{self.peer}"
        return f"{ends} {self.family}" if self.kind in ("reflector", "direct") else ends


@dataclass(frozen=True, slots=True)
class SessionChange:
    """What becomes of a session, and why."""

    session: Session
    fate: Fate
    why: str


Details = dict[tuple[str, str], Any]
"""A session's settings, by end and field."""


def sessions_of(plan: Plan) -> dict[Session, Details]:
    """Every session of a plan with its settings."""
    found: dict[Session, Details] = {}

    def end(session: Session, node: str, parts: Mapping[str, Any]) -> None:
        found.setdefault(session, {}).update({(node, key): parts[key] for key in parts})

    for node in plan.nodes:
        for up in node.upstreams:
            session = Session("upstream", node.id, up.name, up.family)
            end(session, node.id, _upstream(plan, node, up))
        for inside in node.vpc:
            session = Session("vpc", node.id, inside.name, "ipv4")
            end(session, node.id, asdict(inside) | {"asn": plan.asn})
        for peer in node.reflectors:
            first, second = sorted((node.id, peer.peer))
            session = Session("reflector", first, second, peer.family)
            end(session, node.id, asdict(peer) | {"asn": plan.asn})
        for other in node.direct:
            first, second = sorted((node.id, other.peer))
            session = Session("direct", first, second, other.family)
            end(session, node.id, asdict(other) | {"asn": plan.asn})
        for link in node.links:
            first, second = sorted((node.id, link.peer))
            end(Session("underlay", first, second, ""), node.id, asdict(link))
    return found


def _upstream(plan: Plan, node: Node, up: UpstreamSession) -> dict[str, Any]:
    """The settings of an upstream session, by the names that operators use."""
    parts = asdict(up) | {
        "asn": plan.asn,
        "router id": str(node.router_id),
        "steering": ", ".join(up.steering.descriptions()) or None,
        "import": up.imports.take,
        "limit": f"{up.imports.limit} prefixes, then {up.imports.action}",
        "local": up.source,
        "validators": "some" if plan.rpki and up.imports.take == "full" else None,
    }
    del parts["imports"]
    return parts


STARTS_ANEW: dict[Kind, frozenset[str]] = {
    "upstream": frozenset(
        {
            "asn", "peer_asn", "neighbor", "multihop", "password", "role", "import", "validators",
            "router id", "local", "interface", "hold_time", "gtsm",
        }
    ),
    "vpc": frozenset({"asn", "peer_asn", "multihop", "password"}),
    "reflector": frozenset({"asn", "neighbor"}),
    "direct": frozenset({"asn", "neighbor"}),
    "underlay": frozenset(),
}  # fmt: skip
"""What BIRD cannot change in a running session, by kind: the session starts anew. The underlay has
ASNs of its own. (Another router ID: measured with BIRD 2.0.12 and 2.17.6; local address, interface,
hold time and GTSM, and that BFD is not among them, with 3.1.8 as well.)"""


def session_changes(
    before: Plan | None,
    after: Plan,
    servers: Mapping[str, str],
    passwords: Collection[str],
) -> tuple[SessionChange, ...]:
    """What becomes of the sessions.

    ``servers`` is what happens to a node's server (``replaced``), ``passwords`` are the names of
    the BGP passwords that change. Unchanged sessions do not appear: they do not flap.
    """
    olds = {} if before is None else sessions_of(before)
    news = sessions_of(after)
    return tuple(
        sorted(_changes(olds, news, servers, passwords), key=lambda change: change.session)
    )


def anew(changes: Iterable[SessionChange], after: Plan) -> dict[str, frozenset[str]]:
    """The nodes all of whose upstream sessions start anew while their servers stay, by family.

    A session that goes where another of the same family comes counts: the prefix is withdrawn there
    too. Where another session stays, the node goes on announcing.
    """
    begun: dict[tuple[str, str], set[str]] = {}
    ended: set[tuple[str, str]] = set()
    for change in changes:
        session = change.session
        if session.kind == "upstream" and change.fate != "changed":
            place = (session.node, session.family)
            begun.setdefault(place, set()).add(session.peer)
            if change.fate != "added":
                ended.add(place)
    found: dict[str, set[str]] = {}
    for node in after.nodes:
        for family in {up.family for up in node.upstreams}:
            names = {up.name for up in node.upstreams if up.family == family}
            if (node.id, family) in ended and names <= begun[node.id, family]:
                found.setdefault(family, set()).add(node.id)
    return {family: frozenset(nodes) for family, nodes in found.items()}


def _changes(
    olds: dict[Session, Details],
    news: dict[Session, Details],
    servers: Mapping[str, str],
    passwords: Collection[str],
) -> Iterator[SessionChange]:
    for session in {*olds, *news}:
        if session not in olds:
            yield SessionChange(session, "added", "")
        elif session not in news:
            yield SessionChange(session, "removed", "")
        elif hit := [node for node in session.nodes if node in servers]:
            why = ", ".join(f"the server of {node} is {servers[node]}" for node in hit)
            yield SessionChange(session, "restarted", why)
        elif differing := _differing(olds[session], news[session]):
            begun = differing & STARTS_ANEW[session.kind]
            why = _difference(olds[session], news[session])
            yield SessionChange(session, "restarted" if begun else "changed", why)
        elif news[session].get((session.node, "password")) in passwords:
            yield SessionChange(session, "restarted", "its password changes")


def _differing(old: Details, new: Details) -> set[str]:
    """The names of the fields that differ."""
    ends = {*old, *new}
    return {field for end, field in ends if old.get((end, field)) != new.get((end, field))}


def _difference(old: Details, new: Details) -> str:
    """The fields that differ; a difference that is equal at both ends appears once."""
    differences = {
        f"{field} {_shown(old.get((end, field)))} -> {_shown(new.get((end, field)))}": None
        for end, field in sorted({*old, *new})
        if old.get((end, field)) != new.get((end, field))
    }
    return ", ".join(differences)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " x ".join(map(str, value.values()))  # BFD: interval and multiplier
    return "none" if value is None else str(value)
