"""What an account has of a network that the network's state does not know, and the reverse."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from mesh.infra.providers.vultr.v2 import waiting
from mesh.infra.providers.vultr.v2.client import Client
from mesh.infra.providers.vultr.v2.errors import ApiError
from mesh.infra.providers.vultr.v2.holdings import SERVERS, Held, Holdings, Kind, look
from mesh.infra.providers.vultr.v2.waiting import Say, Seen
from mesh.spec.problems import Problem

PATIENCE = 120.0
"""Seconds in which an address and a firewall group come off a server that was deleted."""

Begun = tuple[str, str]
"""Node and resource, as in a mark, of what an update has begun to make."""


@dataclass(frozen=True, slots=True)
class Known:
    """An object that the state has: its id at Vultr, and the name of its resource."""

    kind: Kind
    id: str
    name: str


@dataclass(frozen=True)
class Findings:
    """``strays`` bear the network's mark and are in no state. ``begun`` do so too, and the state
    says that an update began to make them: the next one takes them on. ``missing`` are in the
    state alone; ``elsewhere`` says that nothing of the state is in the account."""

    strays: tuple[Held, ...]
    begun: tuple[Held, ...]
    missing: tuple[Known, ...]
    elsewhere: bool = False


def compared(
    holdings: Holdings, identity: str, known: Iterable[Known], begun: Collection[Begun] = ()
) -> Findings:
    """Account and state side by side. What bears another network's mark, or none, is nobody's
    business here."""
    held, stated = holdings.all(), list(known)
    ids = {(one.kind, one.id) for one in stated}
    there = {(one.kind, one.id) for one in held}
    strays: list[Held] = []
    taken: list[Held] = []
    for one in held:
        if one.mark is None or one.mark.identity != identity or (one.kind, one.id) in ids:
            continue
        is_begun = (one.mark.node, one.mark.resource) in begun
        (taken if is_begun else strays).append(one)
    missing = tuple(one for one in stated if (one.kind, one.id) not in there)
    elsewhere = bool(stated) and len(missing) == len(stated)
    return Findings(tuple(strays), tuple(taken), missing, elsewhere)


def held_fast(strays: Collection[Held], holdings: Holdings) -> dict[str, str]:
    """Strays that a server which stays still uses: the server's label by the id of the stray."""
    going = {one.id for one in strays}
    staying = {
        one.id: one.label for one in holdings.all() if one.kind in SERVERS and one.id not in going
    }
    return {one.id: staying[one.at] for one in strays if one.at in staying}


def remove(client: Client, stray: Held, say: Say) -> bool:
    """Delete an object while it bears the mark that it was found with; whether it was there.

    ApiError, of kind ``foreign`` where it bears another mark by now. An address or a firewall
    group that still comes off its server is waited for.
    """
    now = look(client, stray)
    if now is None:
        return False
    if now.mark is None or now.mark != stray.mark:
        reason = "it does not bear the mark of this network any more, and stays"
        cure = "look at it in Vultr's console"
        raise ApiError("foreign", Problem(f"{stray.kind} {stray.id}", now.label, reason, cure))

    def attempt() -> Seen[bool]:
        try:
            client.send("DELETE", stray.path)
        except ApiError as error:
            if error.kind == "gone":
                return Seen("gone", True)
            if error.kind == "refused" and stray.kind in (Kind.ADDRESS, Kind.GROUP):
                return Seen("still in use")
            raise
        return Seen("deleted", True)

    return waiting.until(attempt, f"{stray.kind} {stray.id}", PATIENCE, say, at_once=True)
