"""What the Internet and the clients see of a change: prefixes, service addresses, open ports."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from mesh.plan import Network, Plan
from mesh.services.content import Content

Fate = Literal[
    "added", "removed", "changed", "moved", "unprotected", "not protected", "protected"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """Something of the plan that changes: its name, what becomes of it, and why."""

    what: str
    fate: Fate
    why: str = ""


@dataclass(frozen=True, slots=True)
class PrefixChange:
    """A prefix whose announcement changes, by the plan: who announces it now and afterwards, and
    who withdraws it meanwhile, because its server goes (``away``) or its upstream sessions start
    anew (``anew``), at one node after the other with ``in_turn``."""

    prefix: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    away: tuple[str, ...]
    anew: tuple[str, ...] = ()
    in_turn: bool = False


def announcers(plan: Plan, prefix: Network) -> tuple[str, ...]:
    """The nodes that announce a prefix by the plan."""
    return plan.announcers(prefix)


def prefix_changes(
    before: Plan | None,
    after: Plan,
    disturbed: Collection[str],
    anew: Mapping[str, Collection[str]] = MappingProxyType({}),
    in_turn: bool = False,
) -> Iterator[PrefixChange]:
    """The prefixes whose announcers change, or lose their servers or sessions for a while; ``anew``
    are the nodes whose upstream sessions start anew, by family, and ``in_turn`` whether they do one
    after the other."""
    olds = {} if before is None else {each.prefix: each.nodes for each in before.aggregates}
    news = {each.prefix: each.nodes for each in after.aggregates}
    for prefix in sorted({*olds, *news}, key=lambda each: (each.version, each)):
        old, new = olds.get(prefix, ()), news.get(prefix, ())
        away = tuple(node for node in old if node in disturbed)
        restarted = anew.get(f"ipv{prefix.version}", ())
        begun = tuple(node for node in old if node in restarted and node not in away)
        if old != new or away or begun:
            yield PrefixChange(str(prefix), old, new, away, begun, in_turn)


def node_changes(before: Plan | None, after: Plan) -> Iterator[Change]:
    """Nodes that come, go, or become something else."""
    olds = {} if before is None else {node.id: node for node in before.nodes}
    news = {node.id: node for node in after.nodes}
    for each in sorted({*olds, *news}):
        if each not in olds:
            yield Change(each, "added", ", ".join(news[each].roles))
        elif each not in news:
            yield Change(each, "removed", ", ".join(olds[each].roles))
        elif olds[each].roles != news[each].roles:
            was, becomes = ", ".join(olds[each].roles), ", ".join(news[each].roles)
            yield Change(each, "changed", f"{was} -> {becomes}")


def address_changes(before: Plan | None, after: Plan) -> Iterator[Change]:
    """Announced addresses that come, go, or get another holder."""
    olds = {} if before is None else _holders(before)
    news = _holders(after)
    for address in sorted({*olds, *news}, key=lambda each: (":" in each, each)):
        old, new = olds.get(address), news.get(address)
        if old is None:
            yield Change(address, "added", str(new))
        elif new is None:
            yield Change(address, "removed", old)
        elif old != new:
            yield Change(address, "moved", f"{old} -> {new}")


def service_changes(before: Plan | None, after: Plan) -> Iterator[Change]:
    """Services that are served elsewhere, by another daemon, on other ports, or checked
    otherwise."""
    olds = {} if before is None else {service.name: service for service in before.services}
    for service in after.services:
        old = olds.get(service.name)
        if old is None or old == service:
            continue
        differences = [
            f"kind {old.kind or 'unset'} -> {service.kind or 'unset'}"
            if old.kind != service.kind
            else "",
            f"nodes {', '.join(old.nodes)} -> {', '.join(service.nodes)}"
            if old.nodes != service.nodes
            else "",
            f"ports {_ports(old)} -> {_ports(service)}" if old.ports != service.ports else "",
            f"names {', '.join(old.names) or 'any'} -> {', '.join(service.names) or 'any'}"
            if old.names != service.names
            else "",
            "unit" if old.unit != service.unit else "",
            "checks" if old.checks != service.checks else "",
            _content(old.content, service.content),
        ]
        if any(differences):
            yield Change(service.name, "changed", "; ".join(filter(None, differences)))


def _content(old: Content | None, new: Content | None) -> str:
    """What becomes of a service's content; empty where it stays."""
    if old == new:
        return ""
    return f"content {_artefact(old)} -> {_artefact(new)}"


def _artefact(content: Content | None) -> str:
    if content is None:
        return "none"
    serials = "".join(f", {zone.name} serial {zone.serial}" for zone in content.zones)
    return f"{content.sha256[:12]} ({content.files} files, {content.size:,} bytes{serials})"


def firewall_changes(before: Plan | None, after: Plan) -> Iterator[Change]:
    """Ports that open and close on the nodes, and who may reach them."""
    olds = {} if before is None else {rule.name: rule for rule in before.firewall}
    news = {rule.name: rule for rule in after.firewall}
    for name in sorted({*olds, *news}):
        old, new = olds.get(name), news.get(name)
        if old is None:
            yield Change(name, "added", _rule(new))
        elif new is None:
            yield Change(name, "removed", _rule(old))
        elif old != new:
            yield Change(name, "changed", f"{_rule(old)} -> {_rule(new)}")
    if before is None:
        return
    for who in ("admin", "registry"):
        was, becomes = getattr(before.access, who), getattr(after.access, who)
        if was != becomes:
            difference = f"{', '.join(map(str, was))} -> {', '.join(map(str, becomes))}"
            yield Change(f"networks of {who}", "changed", difference)
    if before.access.ssh_keys != after.access.ssh_keys:
        counts = f"{len(before.access.ssh_keys)} -> {len(after.access.ssh_keys)} keys"
        yield Change("keys that log in", "changed", counts)


def _holders(plan: Plan) -> dict[str, str]:
    """Who holds each announced address."""
    found = {
        str(address): f"service {service.name}"
        for service in plan.services
        for address in service.addresses.both()
    }
    for node in plan.nodes:
        found |= {str(address): f"node {node.id}" for address in node.announced.both()}
    return found


def _ports(service: Any) -> str:
    both = [f"{port}/tcp" for port in service.ports.tcp]
    both += [f"{port}/udp" for port in service.ports.udp]
    return " ".join(both) or "none"


def _rule(rule: Any) -> str:
    first, last = rule.ports
    ports = str(first) if first == last else f"{first}-{last}"
    return f"{rule.protocol} {ports} on {rule.zone} from {rule.source}"
