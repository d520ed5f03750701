"""What the registries of the Internet should hold for a plan: ROAs at the RIR, and route objects
and an AS-SET at an IRR, for providers that build their filters from it."""

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


def objects(said: Sequence[Announcement]) -> Objects:
    """The objects that say exactly what these announcements do."""
    return Objects(tuple(each.roa() for each in said), tuple(_irr(said)))


def _irr(said: Sequence[Announcement]) -> Iterator[str]:
    for each in said:
        kind = "route:" if each.prefix.version == 4 else "route6:"
        yield f"{kind:<9}{each.prefix}\norigin:  AS{each.origin}"
    for origin in sorted({each.origin for each in said}):
        # Named after the ASN, a set is its holder's alone (RFC 2622, section 5): a flat AS-NAME
        # may stand in another registry as somebody else's.
        yield f"as-set:  AS{origin}:AS-MESH\nmembers: AS{origin}"
