"""Reads the VRPs that concern a plan from a source."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.plan import Network
from mesh.rpki.errors import SourceError
from mesh.rpki.selection import Selection
from mesh.rpki.validity import Vrp
from mesh.rpki.vrp_lists import take_list
from mesh.spec.vrps import VrpFile, VrpServer, VrpSource, VrpUrl

LARGEST = 128 << 20
"""Bytes of a list: that of the whole RPKI had about 60 MB of JSON in 2025."""
DEADLINE = 120.0
"""Seconds to download and read a list."""
SMALLER = "give a list of VRPs, in a short form (Routinator's json, not jsonext)"


@dataclass(frozen=True, slots=True)
class VrpList:
    """A source's ``vrps`` that cover one of the given prefixes or are inside it, how many it has in
    all, and how many of the selected ones had expired and are left out."""

    vrps: frozenset[Vrp]
    seen: int
    expired: int


def read(source: VrpSource, prefixes: Sequence[Network], root: Path) -> VrpList:
    """Reads a source; raises SourceError, also where it is empty.

    A relative file is looked up in ``root``. Only what concerns ``prefixes`` is kept.
    """
    selection = Selection(prefixes, time.time())
    try:
        _take(source, selection, root)
    except MemoryError:
        raise SourceError("there is not enough memory to read it", SMALLER) from None
    if not selection.seen:
        # With an empty list every prefix is NotFound.
        raise SourceError(
            "it holds no VRP at all", "check that the validator has finished its first run"
        )
    return VrpList(frozenset(selection.kept), selection.seen, selection.expired)


def _take(source: VrpSource, selection: Selection, root: Path) -> None:
    end = time.monotonic() + DEADLINE
    match source:
        case VrpFile(path):
            take_list(_content(root / path.expanduser()), selection, end)
        case VrpUrl(url):
            from mesh.rpki.download import fetch  # importing the HTTP client is slow

            take_list(fetch(url, LARGEST, DEADLINE), selection, end)
        case VrpServer():
            from mesh.rpki import rtr

            rtr.ask(source, selection, rtr.DEADLINE, rtr.SILENCE)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read ({error.strerror})", "give a list of VRPs that can be read"
        ) from None
    if len(content) > LARGEST:
        raise SourceError(f"it is larger than {LARGEST >> 20} MB", SMALLER)
    return content
