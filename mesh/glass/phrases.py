"""Numbers and times as text for the pages. Any number of others is fit: each function says
something of it."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN = "unknown"
_STEPS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """So many seconds, in the two largest units that are not zero."""
    left = round(abs(seconds))
    if left < 1:
        return "0 s"
    found = []
    for length, unit in _STEPS:
        whole, left = divmod(left, length)
        if whole:
            found.append(f"{count(whole)} {unit}")
        elif found:
            break
    return " ".join(found[:2])


def ago(moment: float, now: float) -> str:
    """How long ago a moment is, ``unknown`` for 0. Clocks differ: one that is to come is now."""
    if not moment:
        return UNKNOWN
    return duration(max(0.0, now - moment))


def left(moment: float, now: float) -> str:
    """How long it is until a moment, or that it is over."""
    return f"in {duration(moment - now)}" if moment > now else "over"


def instant(moment: float) -> str:
    """A moment in UTC, to be read; ``unknown`` for 0 and for what is no date."""
    try:
        return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else UNKNOWN
    except (OverflowError, ValueError, OSError):
        return UNKNOWN


def machine(moment: float) -> str:
    """A moment as HTML's ``datetime`` has it (RFC 3339); empty for what is no date."""
    try:
        return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}" if moment else ""
    except (OverflowError, ValueError, OSError):
        return ""


def count(number: int) -> str:
    """A number with its thousands apart."""
    return f"{number:,}"


def size(number: int) -> str:
    """Bytes in the unit that leaves up to three digits before the point."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.0f} PB"


def milliseconds(seconds: float) -> str:
    """How long something took."""
    return f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def few(number: int, one: str, several: str = "") -> str:
    """A number with its noun: ``1 node``, ``2 nodes``."""
    return f"{count(number)} {one if number == 1 else several or one + 's'}"
