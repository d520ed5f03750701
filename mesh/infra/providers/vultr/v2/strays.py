"""A network's objects in an account that are not in its state, and the reverse."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from mesh.infra.providers.vultr.v2 import waiting
from mesh.infra.providers.vultr.v2.client import Client
from mesh.infra.providers.vultr.v2.errors import ApiError
from mesh.infra.providers.vultr.v2.holdings import (
    SERVERS,
    AccountObject,
    Holdings,
    ObjectKind,
    look,
)
from mesh.infra.providers.vultr.v2.server import BARE_METAL, INSTANCE, STRAYS, deletion
from mesh.infra.providers.vultr.v2.waiting import Observed, Progress
from mesh.spec.problems import Problem

DETACH_SECONDS = 120.0
"""Seconds until a deleted server releases its address and firewall group."""
UNLOCK_SECONDS = {ObjectKind.INSTANCE: INSTANCE.bound, ObjectKind.BARE_METAL: BARE_METAL.bound}
"""Seconds until a locked or pending server can be deleted."""

Begun = tuple[str, str]
"""Node and resource, as in a mark, of an unfinished creation."""


@dataclass(frozen=True, slots=True)
class StateObject:
    """An object in the state: its id at Vultr, and the name of its resource."""

    kind: ObjectKind
    id: str
    name: str


@dataclass(frozen=True)
class Findings:
    """``strays`` have the network's mark and are not in the state. ``begun`` too, and by the state
    an update began to make them: the next one adopts them. ``missing`` are in the state alone;
    ``elsewhere`` is whether nothing of the state is in the account."""

    strays: tuple[AccountObject, ...]
    begun: tuple[AccountObject, ...]
    missing: tuple[StateObject, ...]
    elsewhere: bool = False


def compared(
    holdings: Holdings, identity: str, known: Iterable[StateObject], begun: Collection[Begun] = ()
) -> Findings:
    """Compare account and state. Objects without this network's mark are ignored."""
    held, stated = holdings.all(), list(known)
    ids = {(one.kind, one.id) for one in stated}
    there = {(one.kind, one.id) for one in held}
    strays: list[AccountObject] = []
    taken: list[AccountObject] = []
    for one in held:
        if one.mark is None or one.mark.identity != identity or (one.kind, one.id) in ids:
            continue
        is_begun = (one.mark.node, one.mark.resource) in begun
        (taken if is_begun else strays).append(one)
    missing = tuple(one for one in stated if (one.kind, one.id) not in there)
    elsewhere = bool(stated) and len(missing) == len(stated)
    return Findings(tuple(strays), tuple(taken), missing, elsewhere)


def in_use(strays: Collection[AccountObject], holdings: Holdings) -> dict[str, str]:
    """Strays that are used by a server that stays: the server's label by the stray's id."""
    going = {one.id for one in strays}
    staying = {
        one.id: one.label for one in holdings.all() if one.kind in SERVERS and one.id not in going
    }
    return {one.id: staying[one.at] for one in strays if one.at in staying}


def remove(client: Client, stray: AccountObject, progress: Progress) -> bool:
    """Delete an object if it still has the same mark; returns whether it was there.

    ApiError, of kind ``foreign`` where it has another mark by now. Waits for an address or a
    firewall group that its deleted server still holds, and for a server that is locked or pending.
    """
    now = look(client, stray)
    if now is None:
        return False
    if now.mark is None or now.mark != stray.mark:
        reason = "it no longer has the mark of this network, and stays"
        cure = "look at it in Vultr's console"
        raise ApiError("foreign", Problem(f"{stray.kind} {stray.id}", now.label, reason, cure))

    def attempt() -> Observed[bool]:
        try:
            return deletion(client, stray.path)
        except ApiError as error:
            if error.kind == "refused" and stray.kind in (ObjectKind.ADDRESS, ObjectKind.GROUP):
                return Observed("still in use")
            raise

    return waiting.until(
        attempt,
        f"{stray.kind} {stray.id}",
        UNLOCK_SECONDS.get(stray.kind, DETACH_SECONDS),
        progress,
        at_once=True,
        goal="deleted",
        cure=f"see in Vultr's console what holds it, and run {STRAYS} again",
    )
