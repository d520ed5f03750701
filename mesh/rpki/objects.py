"""The objects that a plan needs at the Internet's registries: ROAs at the RIR, and route objects
and an AS-SET at an IRR, from which providers build their filters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mesh.rpki.preflight import Announcement


@dataclass(frozen=True, slots=True)
class Objects:
    """``roas`` as a RIR's form asks for them, ``irr`` as RPSL (RFC 2622, RFC 4012), which lack
    only what the registry's account gives: ``mnt-by`` and ``source``."""

    roas: tuple[str, ...]
    irr: tuple[str, ...]


def objects(announced: Sequence[Announcement]) -> Objects:
    """The objects that authorise exactly these announcements."""
    return Objects(tuple(each.roa() for each in announced), tuple(_irr(announced)))


def _irr(announced: Sequence[Announcement]) -> Iterator[str]:
    for each in announced:
        kind = "route:" if each.prefix.version == 4 else "route6:"
        yield f"{kind:<9}{each.prefix}\norigin:  AS{each.origin}"
    for origin in sorted({each.origin for each in announced}):
        # Only the ASN's holder can create a set with the ASN in its name (RFC 2622, section 5). A
        # plain AS-NAME may exist at another registry with another holder.
        yield f"as-set:  AS{origin}:AS-MESH\nmembers: AS{origin}"
