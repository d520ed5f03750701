"""From a source to the VRPs that concern a plan."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.plan import Network
from mesh.rpki.errors import Unread
from mesh.rpki.selection import Selection
from mesh.rpki.validity import Vrp
from mesh.rpki.vrp_lists import take_list
from mesh.spec.vrps import VrpFile, VrpServer, VrpSource, VrpUrl

LARGEST = 128 << 20
"""Bytes of a list: the whole RPKI's was about 60 MB of JSON in 2025."""
DEADLINE = 120.0
"""Seconds until a list has come and been read."""
SMALLER = "name a list of VRPs, in a short form (Routinator's json, not jsonext)"


@dataclass(frozen=True, slots=True)
class VrpList:
    """What a source held: ``vrps`` that cover one of the prefixes asked for or lie in it, how many
    it held in all, and how many of ours had expired and are left out."""

    vrps: frozenset[Vrp]
    seen: int
    expired: int


def read(source: VrpSource, prefixes: Sequence[Network], root: Path) -> VrpList:
    """Read a source; Unread where that fails, or where it holds nothing.

    A relative file lies in ``root``. Nothing is kept of what does not concern ``prefixes``.
    """
    selection = Selection(prefixes, time.time())
    try:
        _take(source, selection, root)
    except MemoryError:
        raise Unread("there is not enough memory to read it", SMALLER) from None
    if not selection.seen:
        # By an empty list all the world is NotFound, which says nothing of ours.
        raise Unread(
            "it holds no VRP at all", "look whether the validator has finished its first run"
        )
    return VrpList(frozenset(selection.kept), selection.seen, selection.expired)


def _take(source: VrpSource, selection: Selection, root: Path) -> None:
    end = time.monotonic() + DEADLINE
    match source:
        case VrpFile(path):
            take_list(_content(root / path.expanduser()), selection, end)
        case VrpUrl(url):
            from mesh.rpki.download import fetch  # an HTTP client takes its time to be imported

            take_list(fetch(url, LARGEST, DEADLINE), selection, end)
        case VrpServer():
            from mesh.rpki import rtr

            rtr.ask(source, selection, rtr.DEADLINE, rtr.SILENCE)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise Unread(
            f"{path} cannot be read ({error.strerror})", "name a list of VRPs that can be read"
        ) from None
    if len(content) > LARGEST:
        raise Unread(f"it is larger than {LARGEST >> 20} MB", SMALLER)
    return content
