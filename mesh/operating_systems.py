"""The operating systems that a node may run, and how long a release of one is supported."""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum


class OperatingSystem(StrEnum):
    """What a node runs; the stack file's ``os`` of a node, and a fact of it."""

    DEBIAN = "debian"
    OPENBSD = "openbsd"

    @property
    def own_name(self) -> str:
        """As its project writes it."""
        return {"debian": "Debian", "openbsd": "OpenBSD"}[self.value]

    @property
    def has_glass(self) -> bool:
        """Whether nodes run a looking glass, which is set up on Debian alone."""
        return self is OperatingSystem.DEBIAN


_RELEASE = re.compile(r"([0-9]{1,2})\.([0-9])")
_KNOWN, _KNOWN_MONTH = 79, 2026 * 12 + 4
"""OpenBSD 7.9, as a number, and May 2026, in which it came out, in months of the calendar."""
_CYCLE = 6
"""Months from one release to the next: they come in or about May and November."""


def unsupported_from(system: OperatingSystem, release: str) -> date | None:
    """The first day on which a release gets no fixes any more, as far as its number tells; None
    where it does not.

    OpenBSD supports its two newest releases (FAQ 5, "Flavors"), and has had one each half year, 7.9
    in May 2026 and 8.0 after it. So a release ends with the second one after it, here with the end
    of that one's month. Nobody promises the months: a release that comes late moves what follows.
    """
    found = _RELEASE.fullmatch(release)
    if system is not OperatingSystem.OPENBSD or found is None:
        return None
    releases = int(found[1]) * 10 + int(found[2]) - _KNOWN + 2
    year, month = divmod(_KNOWN_MONTH + releases * _CYCLE + 1, 12)
    return date(year, month + 1, 1)
