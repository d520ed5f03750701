"""What each version of BIRD can do, so that each is given a configuration that it reads.

Sources: BIRD's NEWS of 2.14 to 2.17 and of 3.1, and ``bird -p`` of the series that Debian carries
(12: 2.0; 13: 2.17, and 3.1 as bird3), as measured on 2.0.12, 2.17.5 and 3.1.7.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that not every BIRD can do: from ``since`` on, in 3.x from ``since3`` on.

    ``lack`` is what a node does without it, in an operator's words; empty where nothing is lost.
    """

    name: str
    since: Version
    since3: Version
    lack: str = ""

    def there(self, version: Version) -> bool:
        """Whether that version has it."""
        return version >= (self.since3 if version[0] >= 3 else self.since)


NEVER: Version = (99,)
"""Of a feature that no version of that series was seen to have."""

FEATURES: tuple[Feature, ...] = (
    Feature("return_types", (2, 14), (3, 0)),
    Feature("authentication", (2, 17), (3, 1)),
    Feature(
        "send_hold_time", (2, 15), (3, 0),
        "a neighbor that stops reading, but keeps its session alive, is not noticed (RFC 9687)",
    ),
    # Syslog is waited for, datagrams are not.
    Feature(
        "log_udp", (2, 17), (3, 1),
        "refused routes, warnings and what neighbors notify are not logged, for its log would "
        "keep it from its sessions; refused routes are kept with the reason (birdc show route "
        "filtered all), and birdc show protocols has each session's last error",
    ),
    # 3.1.7 stops at the limit, and then announces the same thousands of times a second.
    Feature(
        "export_block", (2, 0), NEVER,
        "a session that would announce more than it may is shut down, not held at the limit",
    ),
    # 3.1.7 disables a session that is started again within five seconds, for good; whoever brings
    # too much does so again at once.
    Feature(
        "restart_at_limit", (2, 0), NEVER,
        "a session that brings more prefixes than mesh:routing.maxPrefixes is not started again; "
        "what is above the limit is passed over",
    ),
    Feature(
        "room_again", NEVER, (3, 1),
        "a session that has brought more prefixes than mesh:routing.maxPrefixes takes no new ones, "
        "even when it has room again, until it starts anew or somebody says `birdc reload in`",
    ),
    # 2.16 and 3.1 had it first; these are where drawn paths were judged as the draft says.
    Feature(
        "aspa", (2, 17, 4), (3, 1, 7),
        "paths are not checked against ASPA records; origins are (RFC 6811)",
    ),
    Feature(
        "aspa_at_once", (2,), NEVER,
        "when ASPA records change twice within two seconds, paths may be judged by the second "
        "change only with the next one",
    ),
)  # fmt: skip
"""The table: a feature that a template asks for is one line here."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one version can do, as the templates ask for it."""

    version: str
    features: frozenset[str]

    def can(self, name: str) -> bool:
        """Whether it has a feature of the table."""
        assert any(feature.name == name for feature in FEATURES), name
        return name in self.features

    @property
    def to_bool(self) -> str:
        """What stands behind a predicate's parameters: 2.17 warns without, 2.0 refuses it."""
        return " -> bool" if self.can("return_types") else ""

    @property
    def to_int(self) -> str:
        """The same for a function that counts."""
        return " -> int" if self.can("return_types") else ""


DEBIAN: dict[str, str] = {
    "2.0.12": "Debian 12",
    "2.17.5": "Debian 13",
    "3.1.7": "Debian 13, bird3",
}
"""The versions that this was measured on, and which release carries their series: it may have a
later point release by now."""


def capabilities(version: str) -> Capabilities:
    """What a version can do; it is written as ``bird --version`` prints it (``2.17.1``,
    ``3.1.7``)."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3]) or (0,)
    return Capabilities(version, frozenset(each.name for each in FEATURES if each.there(numbers)))
