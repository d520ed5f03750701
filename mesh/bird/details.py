"""What BIRD says of its sessions in detail: ``show protocols all``, ``show bfd sessions`` and
``show status``, as 2.0.12, 2.17.6 and 3.1.8 print them (tests/bird/recorded).

Columns are read by words: BIRD does not align a long name. What cannot be read is unknown, and
never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.bird.protocols import Session, sessions
from mesh.bird.reply import Reply
from mesh.foreign import is_address

EPOCH = 'timeformat "%s"'
"""Times of this connection are seconds since the epoch from now on. 2.0 refuses it, and goes on to
print them as its configuration says."""
_ROW, _DETAIL, _BFD = 1002, 1006, 1020
_DIGITS = 18
"""Digits of a number that is read: one above 2**63 is no count."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of a protocol: the table that it is for, and its routes; None where BIRD does not
    say how many. ``filtered`` are those that the import policy has refused and that are kept.
    ``limit`` is its receive limit, 0 without one."""

    table: str = ""
    is_up: bool = False
    imported: int | None = None
    filtered: int | None = None
    exported: int | None = None
    preferred: int | None = None
    limit: int = 0
    at_limit: bool = False


@dataclass(frozen=True, slots=True)
class BgpSession:
    """A BGP session: its state, as ``show protocols`` has it, and its details. ``interface`` is
    that of a neighbor with a link-local address; ``asn`` the neighbor's, 0 where unknown."""

    session: Session
    description: str = ""
    neighbor: str = ""
    interface: str = ""
    asn: int = 0
    channels: Mapping[str, Channel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RtrSession:
    """A session with an RPKI cache. ``state`` is ``Established`` while records are current."""

    state: str
    since: str
    channels: Mapping[str, Channel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Protocols:
    """The BGP sessions, and those with RPKI caches, by name."""

    bgp: Mapping[str, BgpSession]
    rtr: Mapping[str, RtrSession]


@dataclass(frozen=True, slots=True)
class BfdSession:
    """A BFD session. ``interface`` is ``---`` where it has several hops."""

    address: str
    interface: str
    state: str

    @property
    def up(self) -> bool:
        """Whether packets come from the neighbor."""
        return self.state == "Up"


@dataclass(frozen=True, slots=True)
class Status:
    """BIRD's version, and when it started, as it prints times; empty where unknown."""

    version: str = ""
    started: str = ""


@dataclass(slots=True)
class _Block:
    """The lines of one protocol."""

    kind: str
    state: str
    since: str
    info: str
    labels: dict[str, str] = field(default_factory=dict)
    channels: dict[str, dict[str, str]] = field(default_factory=dict)


_LABELS = frozenset({"Description", "Neighbor address", "Neighbor AS", "Last error"})
_CHANNEL_LABELS = frozenset({"State", "Table", "Routes", "Receive limit"})


def protocols(reply: Reply) -> Protocols:
    """The sessions in the reply to ``show protocols all``."""
    blocks = _blocks(reply)
    bgp = {
        name: _bgp(blocks[name], session)
        for name, session in sessions(reply).items()
        if name in blocks
    }
    rtr = {name: _rtr(block) for name, block in blocks.items() if block.kind == "RPKI"}
    return Protocols(bgp, rtr)


def _blocks(reply: Reply) -> dict[str, _Block]:
    found: dict[str, _Block] = {}
    block: _Block | None = None
    labels: dict[str, str] = {}
    wanted = _LABELS
    for code, text in reply.lines:
        if code == _ROW:
            block, words = None, text.split(maxsplit=5)
            if len(words) >= 4 and words[1] in ("BGP", "RPKI"):
                words += [""] * (6 - len(words))
                block = found[words[0]] = _Block(words[1], words[3], words[4], words[5])
                labels, wanted = block.labels, _LABELS
        elif code == _DETAIL and block is not None:
            label, colon, value = text.strip().partition(":")
            if not colon and label.startswith("Channel "):
                labels = block.channels.setdefault(label.split()[1], {})
                wanted = _CHANNEL_LABELS
            elif label in wanted:
                labels.setdefault(label, value.strip())
    return found


def _bgp(block: _Block, session: Session) -> BgpSession:
    address, _, interface = block.labels.get("Neighbor address", "").partition("%")
    return BgpSession(
        Session(session.state, session.since, block.labels.get("Last error") or session.error),
        block.labels.get("Description", ""),
        address,
        interface,
        _number(block.labels.get("Neighbor AS", "")) or 0,
        {name: _channel(labels) for name, labels in block.channels.items()},
    )


def _rtr(block: _Block) -> RtrSession:
    return RtrSession(
        block.info or block.state,
        block.since,
        {name: _channel(labels) for name, labels in block.channels.items()},
    )


def _channel(labels: Mapping[str, str]) -> Channel:
    counts: dict[str, int | None] = {}
    for part in labels.get("Routes", "").split(","):
        number, _, word = part.strip().partition(" ")
        counts[word] = _number(number)
    limit = labels.get("Receive limit", "").split()
    return Channel(
        labels.get("Table", ""),
        labels.get("State") == "UP",
        counts.get("imported"),
        counts.get("filtered"),
        counts.get("exported"),
        counts.get("preferred"),
        (_number(limit[0]) or 0) if limit else 0,
        limit[1:] == ["[HIT]"],
    )


def bfd_sessions(reply: Reply) -> tuple[BfdSession, ...]:
    """The BFD sessions in the reply to ``show bfd sessions``: address, interface, state, since,
    interval and time-out."""
    rows = (text.split() for code, text in reply.lines if code == _BFD)
    return tuple(
        BfdSession(row[0], row[1], row[2]) for row in rows if len(row) >= 4 and is_address(row[0])
    )


def status(reply: Reply) -> Status:
    """Version and start in the reply to ``show status``."""
    version = started = ""
    for code, text in reply.lines:
        if code == 1000 and text.startswith("BIRD "):
            version = text.removeprefix("BIRD ").strip()
        elif text.startswith("Last reboot on "):
            started = text.removeprefix("Last reboot on ").strip()
    return Status(version, started)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
