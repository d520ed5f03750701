"""BIRD's sessions for the snapshot: whose they are, their routes and limits, BFD, RPKI caches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mesh.agent.config import Config
from mesh.agent.sessions import UP, epoch
from mesh.bird import details
from mesh.bird.client import Bird
from mesh.bird.protocols import Session as BirdsSession
from mesh.foreign import printable
from mesh.glass.snapshot import (
    MAX_CACHES,
    MAX_SESSIONS,
    Cache,
    Channel,
    Family,
    Session,
    SessionKind,
)
from mesh.trust.documents import MAX_ERROR, MAX_NAME

PATIENCE = 2.0
"""Seconds for one look."""
FAMILIES: tuple[Family, Family] = ("ipv4", "ipv6")
_DAY = 86400
_KINDS: tuple[tuple[str, SessionKind], ...] = (
    ("u_", "tunnel"), ("mate4_", "ibgp"), ("mate6_", "ibgp"),
)  # fmt: skip
_VPC = re.compile(r"vpc\d")


@dataclass(frozen=True, slots=True)
class BirdDetails:
    """What one look has found. ``interfaces`` are the peers by tunnel interface."""

    version: str = ""
    started: int = 0
    sessions: tuple[Session, ...] = ()
    caches: tuple[Cache, ...] = ()
    records: Mapping[str, int] = field(default_factory=dict)
    interfaces: Mapping[str, str] = field(default_factory=dict)


class SessionDetails:
    """Looks at one BIRD's sessions in detail."""

    def __init__(self, bird: Bird) -> None:
        self._bird = bird
        self._upstreams: frozenset[str] = frozenset()
        self._nodes: Mapping[str, str] = {}
        self._since: dict[tuple[str, str], int] = {}

    def watch(self, config: Config) -> None:
        """Uses the names of this configuration from now on."""
        nodes = () if config.underlay is None else config.underlay.nodes
        self._nodes = {node.id.replace("-", "_"): node.id for node in nodes}
        self._upstreams = frozenset(each.name for each in config.upstreams or ())

    def look(self) -> BirdDetails:
        """Asks BIRD over one connection. Raises :class:`mesh.bird.client.BirdError`."""
        with self._bird.asking(PATIENCE) as ask:
            ask(details.EPOCH)
            status = details.status(ask("show status"))
            found = details.protocols(ask("show protocols all"))
            bfd = _by_neighbor(details.bfd_sessions(ask("show bfd sessions")))
        now = datetime.now().astimezone()
        before, self._since = self._since, {}
        sessions = [
            self._session(
                name,
                one,
                bfd.get((one.neighbor, one.interface)),
                self._when(name, one.session, before, now),
            )
            for name, one in list(found.bgp.items())[:MAX_SESSIONS]
        ]
        return BirdDetails(
            printable(status.version)[:MAX_NAME],
            _seconds(status.started, now),
            tuple(sessions),
            tuple(
                self._cache(name, one, self._when(name, one, before, now))
                for name, one in list(found.rtr.items())[:MAX_CACHES]
            ),
            _records(found.rtr.values()),
            {
                one.interface: session.peer
                for one, session in zip(found.bgp.values(), sessions, strict=False)
                if session.kind == "tunnel" and one.interface
            },
        )

    def _session(self, name: str, one: details.BgpSession, bfd: bool | None, since: int) -> Session:
        kind, peer = self._whose(name, one.description)
        return Session(
            name=printable(name)[:MAX_NAME],
            kind=kind,
            peer=printable(peer)[:MAX_NAME],
            neighbor_asn=one.asn,
            state=printable(one.session.state)[:MAX_NAME],
            since=since,
            error="" if one.session.state == UP else printable(one.session.error)[:MAX_ERROR],
            bfd=bfd,
            channels={
                family: channel
                for family in FAMILIES
                if family in one.channels
                and (channel := _channel(one.channels[family])) is not None
            },
        )

    def _whose(self, name: str, description: str) -> tuple[SessionKind, str]:
        """The kind of a session, and its peer. Descriptions begin with the neighbor's name."""
        neighbor = description.partition(",")[0] or name
        if name not in self._upstreams:
            for prefix, kind in _KINDS:
                if name.startswith(prefix):
                    node = name.removeprefix(prefix)
                    return kind, self._nodes.get(node, node.replace("_", "-"))
            if _VPC.fullmatch(name):
                return "vpc", neighbor
        return "upstream", neighbor

    def _cache(self, name: str, one: details.RtrSession, since: int) -> Cache:
        up = one.state == UP
        error = "" if up else printable(one.state)[:MAX_ERROR]
        return Cache(printable(name)[:MAX_NAME], up, since, error)

    def _when(
        self,
        name: str,
        one: BirdsSession | details.RtrSession,
        before: Mapping[tuple[str, str], int],
        now: datetime,
    ) -> int:
        """Since when it is in its state. BIRD 2.0 prints a time of today, and the date alone of
        earlier days: what was known before is more precise then."""
        key, when = (name, one.state), _seconds(one.since, now)
        known = before.get(key, 0)
        if when <= known < when + _DAY and "-" in one.since:
            when = known
        self._since[key] = when
        return when


def _seconds(text: str, now: datetime) -> int:
    """BIRD's time in either form, as seconds since the epoch; 0 where unknown."""
    if text.isascii() and text.isdigit() and len(text) <= 11:
        return int(text)
    return max(0, epoch(text, now))


def _by_neighbor(found: Iterable[details.BfdSession]) -> dict[tuple[str, str], bool]:
    """Whether each BFD session is up, by address and interface, and by the address alone: BIRD
    names the interface of a neighbor only where its address is link-local."""
    sessions = tuple(found)
    alone = {(each.address, ""): each.up for each in sessions}
    return alone | {(each.address, each.interface): each.up for each in sessions}


def _channel(one: details.Channel) -> Channel | None:
    """The routes of a channel; None where BIRD does not say how many there are."""
    if one.is_up and one.imported is None:
        return None
    accepted, refused = one.imported or 0, one.filtered or 0
    return Channel(
        received=accepted + refused,
        accepted=accepted,
        refused=refused,
        exported=one.exported or 0,
        limit=one.limit,
        at_limit=one.at_limit,
    )


def _records(caches: Iterable[details.RtrSession]) -> dict[str, int]:
    """The records by table: those of the cache that brings the most, since caches bring the same.
    To count what a table holds, BIRD would walk over it."""
    found: dict[str, int] = {}
    for channel in (each for cache in caches for each in cache.channels.values()):
        table = printable(channel.table)[:MAX_NAME]
        if table and (channel.imported is not None or not channel.is_up):
            found[table] = max(found.get(table, 0), channel.imported or 0)
    return dict(list(found.items())[:MAX_CACHES])
