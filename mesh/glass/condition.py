"""What state a node is in, in words, and what of it needs a look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from mesh.glass.answers import NodeAnswer
from mesh.glass.network import Network
from mesh.glass.phrases import ago, count, duration, few, instant, left
from mesh.glass.snapshot import Session, Snapshot
from mesh.glass.snapshots import FUTURE, STALE
from mesh.glass.words import KINDS

_CLOCK = 2
"""Seconds by which two clocks may differ."""
_CERTIFICATE = 14 * 86400
_CACHE_STARTS = 60

UPDATING = {"draining": "drains for an update", "applying": "applies an update"}
"""How a node takes an update over."""

Level = Literal["good", "notice", "bad", "unknown"]
LEVELS: tuple[Level, ...] = ("good", "notice", "unknown", "bad")
"""What needs a look more is behind."""


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of a node, a session or a service, in words."""

    level: Level
    words: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that needs a look: our own words, and what BIRD, a peer or a file says, which is
    text of others."""

    level: Level
    text: str
    said: str = ""
    node: str = ""
    """The node that says it."""


def of_node(answer: NodeAnswer[Snapshot] | None, now: float) -> Condition:
    """The state of a node that was asked; None for one that was not."""
    if answer is None:
        return Condition("unknown", "not asked")
    if not answer.ok or answer.data is None:
        return Condition("bad", "no answer")
    snapshot = answer.data
    if wrong := age(snapshot, now):
        return Condition("unknown", wrong)
    health = snapshot.health
    if health.drained:
        return Condition("notice", "drained")
    if health.updating:
        return Condition("notice", UPDATING[health.update or ""])
    if health.held and health.held > now:
        return Condition("notice", "on hold")
    if health.bird:
        return Condition("bad", "BIRD does not answer")
    if not health.in_service:
        return Condition("bad", "out of service")
    if snapshot.generation.outcome == "failed":
        return Condition("bad", "generation failed")
    return Condition("good", "in service")


def age(snapshot: Snapshot, now: float) -> str:
    """What is wrong with the time of a snapshot, empty if nothing is."""
    if snapshot.at > now + FUTURE:
        return f"its clock is {duration(snapshot.at - now)} ahead"
    if snapshot.at < now - STALE:
        return f"{duration(now - snapshot.at)} old"
    return ""


def of_session(session: Session) -> Condition:
    """The state of a session, with BIRD's name of it."""
    if not session.up:
        return Condition("bad", session.state)
    if session.bfd is False:
        return Condition("notice", "Established, without BFD")
    return Condition("good", session.state)


def place(network: Network, node_id: str) -> str:
    """The city of a node, empty where it is none of the plan."""
    node = network.by_id.get(node_id)
    names = {each.id: each.name for each in network.regions}
    return names.get(node.region, "") if node else ""


def named(network: Network, node_id: str) -> str:
    """A node by its city and id, or what it was called where the plan has none of that name."""
    city = place(network, node_id)
    return f"{city} ({node_id})" if city else node_id


def notices(network: Network, snapshot: Snapshot, now: float) -> tuple[Notice, ...]:
    """What needs a look at a node, the worst first."""
    sources: tuple[Callable[[Network, Snapshot, float], Iterator[Notice]], ...] = (
        _orders, _agent, _sessions, _services, _tunnels, _peers, _registries, _repairs,
    )  # fmt: skip
    found = [each for source in sources for each in source(network, snapshot, now)]
    return tuple(sorted(found, key=lambda each: -LEVELS.index(each.level)))


def _orders(network: Network, snapshot: Snapshot, now: float) -> Iterator[Notice]:
    health = snapshot.health
    if health.drained:
        yield Notice("notice", f"Drained by order {health.drain}: it announces and serves nothing.")
    if health.update == "draining":
        yield Notice("notice", "Drains for an update: it announces and serves nothing until it has "
                               "applied that, and then comes back by itself.")  # fmt: skip
    if health.held and health.held > now:
        yield Notice("notice", f"On hold: it applies and repairs nothing; the hold ends "
                               f"{left(health.held, now)}.")  # fmt: skip


def _agent(network: Network, snapshot: Snapshot, now: float) -> Iterator[Notice]:
    health, generation = snapshot.health, snapshot.generation
    if wrong := age(snapshot, now):
        yield Notice("unknown", f"Its snapshot is of {instant(snapshot.at)}: {wrong}.")
    if health.bird:
        yield Notice("bad", "BIRD does not answer.", health.bird)
    if generation.outcome == "failed":
        yield Notice("bad", f"Generation {generation.published} failed, and {generation.applied} "
                            "is in force.", generation.reason)  # fmt: skip
    elif generation.applied < generation.published:
        text = f"Generation {generation.applied} is in force, {generation.published} published"
        waits = ", which waits for this node's wave" if health.update == "waiting" else ""
        yield Notice("notice", f"{text}{waits}.", generation.reason)
    if unconfirmed := health.unconfirmed:
        yield Notice("notice", f"Generation {unconfirmed.generation} is rolled back unless "
                               "somebody logs in anew.")  # fmt: skip
    for name, why in (health.faults or {}).items():
        yield Notice("bad", "A fault of the node:", f"{name}: {why}")
    for name, why in health.withheld.items():
        yield Notice("bad", "Not announced:", f"{name}: {why}")


def _sessions(network: Network, snapshot: Snapshot, now: float) -> Iterator[Notice]:
    down = {each.peer for each in snapshot.sessions if each.kind == "tunnel" and not each.up}
    for session in snapshot.sessions:
        if session.kind == "ibgp" and session.peer in down:
            continue  # the tunnel says it
        called = f"{named(network, session.peer)}, {KINDS[session.kind]}"
        if not session.up:
            text = f"Session down for {ago(session.since, now)}: {called}{_only(session)}."
            yield Notice("bad", text, session.error)
        elif session.bfd is False:
            yield Notice("notice", f"Session without BFD: {called}.")
        for family, channel in session.channels.items():
            if channel.at_limit:
                yield Notice("bad", f"Session at its limit of {count(channel.limit)} prefixes of "
                                    f"{FAMILIES.get(family, family)}: {called}.")  # fmt: skip
    for cache in snapshot.caches:
        if not cache.up and now - cache.since > _CACHE_STARTS:
            yield Notice("notice", "No session with an RPKI cache:",
                         f"{cache.name} {cache.error}".strip())  # fmt: skip


def _only(session: Session) -> str:
    """The family of a session that has one alone."""
    families = [FAMILIES.get(family, family) for family in session.channels]
    return f", {families[0]}" if len(families) == 1 else ""


FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}


def _services(network: Network, snapshot: Snapshot, now: float) -> Iterator[Notice]:
    health = snapshot.health
    if not health.apart:
        for name, serves in health.services.items():
            if not serves:
                why = health.failures.get(name, "")
                yield Notice("bad", "A service is down:", f"{name}: {why}" if why else name)
    for name, what in health.warnings.items():
        yield Notice("notice", "A service needs a look:", f"{name}: {what}")


def _tunnels(network: Network, snapshot: Snapshot, now: float) -> Iterator[Notice]:
    for name, what in (snapshot.health.tunnels or {}).items():
        yield Notice("bad", "A tunnel's interface:", f"{name}: {what}")


_ALARMS = {
    "prefix": "announces a route that no node owns",
    "owner": "announces an address for a node that does not own it",
    "link": "announces a path over a tunnel that is not in the plan",
    "service": "announces a service at a node that does not serve it",
    "flood": "announces more routes than the plan has",
    "detour": "does not announce its own address although the session with it is up",
    "order": "announces a blackhole that is not in the signed order",
}


def _peers(network: Network, snapshot: Snapshot, now: float) -> Iterator[Notice]:
    for alarm in snapshot.health.alarms:
        does = _ALARMS.get(alarm.kind, "violates the plan")
        yield Notice("bad", f"It says that {named(network, alarm.mate)} {does}:", alarm.what)
    for each in snapshot.health.hearsay:
        yield Notice("bad", f"{each.address} is discarded, and only {named(network, each.mate)} "
                            "says so: no order does.")  # fmt: skip


def _registries(network: Network, snapshot: Snapshot, now: float) -> Iterator[Notice]:
    health = snapshot.health
    for url, reached in snapshot.registries.items():
        if not reached:
            yield Notice("notice", "A registry cannot be reached:", url)
    for url in health.tls_mismatches:
        yield Notice("bad", "A registry has another certificate than the manifest says:", url)
    for url, seconds in (health.clocks or {}).items():
        if abs(seconds) > _CLOCK:
            word = "ahead of" if seconds > 0 else "behind"
            yield Notice("notice", f"The clock is {duration(seconds)} {word} that of a registry:",
                         url)  # fmt: skip
    for refusal in health.refusals:
        yield Notice("bad", f"It does not follow the {refusal.what} {refusal.number} that is "
                            "signed with the operator's key:", refusal.reason)  # fmt: skip
    if snapshot.certificate and snapshot.certificate < now + _CERTIFICATE:
        yield Notice("notice", f"The registry's own certificate ends: "
                               f"{left(snapshot.certificate, now)}.")  # fmt: skip


def _repairs(network: Network, snapshot: Snapshot, now: float) -> Iterator[Notice]:
    for each in snapshot.health.repairs.objects if snapshot.health.repairs else ():
        does = f"was repaired {few(each.times, 'time')} in ten minutes"
        if each.stopped:
            does = "does not stay as in the generation, and is left alone for now"
        elif not each.times:
            does = "could not be repaired"
        by = f", by {each.by}" if each.by else ""
        yield Notice("notice", f"Something {does}:", f"{each.what} ({each.why}{by})")
