"""Since when BGP sessions are what they are, in BIRD's list of protocols."""

from __future__ import annotations

import re
from collections.abc import Mapping

_JITTER = 0.1
"""Seconds. BIRD reckons the time anew whenever it is asked, as its clock less the session's age
(``tm_format_time`` in its sources): the last digit differs now and then."""
_ROW = re.compile(r"(\S+) +BGP +\S+ +\S+ +(\d\d):(\d\d):(\d\d\.\d+) *(\S*)")


def since(shown: str) -> dict[str, float]:
    """When each session became what it is, in seconds of the day, from ``show protocols``."""
    return {name: when for name, (when, _) in _rows(shown).items()}


def up_since(shown: str) -> dict[str, float]:
    """The same of the sessions that are up."""
    return {name: when for name, (when, state) in _rows(shown).items() if state == "Established"}


def restarted(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """The sessions that are not what they were before, or are on one side alone."""
    assert before, "there was a session before"
    both = before.keys() & now.keys()
    stood = {name for name in both if abs(now[name] - before[name]) <= _JITTER}
    return sorted((before.keys() | now.keys()) - stood)


def _rows(shown: str) -> dict[str, tuple[float, str]]:
    rows = (match.groups() for match in map(_ROW.match, shown.splitlines()) if match)
    return {
        name: (int(hours) * 3600 + int(minutes) * 60 + float(seconds), state)
        for name, hours, minutes, seconds, state in rows
    }
