"""What each version of BIRD supports, so that each is rendered a configuration that it accepts.

Sources: BIRD's NEWS of 2.14 to 2.17 and of 3.1, and ``bird -p`` of the series in Debian (12: 2.0;
13: 2.17, and 3.1 as bird3), as measured on 2.0.12, 2.17.5 and 3.1.7.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature that not every BIRD has: from ``since`` on, in 3.x from ``since3`` on.

    ``lack`` is the effect on a node without it, for an operator; empty if there is none.
    """

    name: str
    since: Version
    since3: Version
    lack: str = ""

    def there(self, version: Version) -> bool:
        """Whether that version has it."""
        return version >= (self.since3 if version[0] >= 3 else self.since)


NEVER: Version = (99,)
"""No version of that series is known to have the feature."""

FEATURES: tuple[Feature, ...] = (
    Feature("return_types", (2, 14), (3, 0)),
    Feature("authentication", (2, 17), (3, 1)),
    Feature(
        "send_hold_time", (2, 15), (3, 0),
        "a neighbor that stops reading, but keeps its session alive, is not noticed (RFC 9687)",
    ),
    # BIRD waits for syslog, and does not wait for a datagram.
    Feature(
        "log_udp", (2, 17), (3, 1),
        "refused routes, warnings and what neighbors notify are not logged, for its log would "
        "keep it from its sessions; refused routes are kept with the reason (birdc show route "
        "filtered all), and birdc show protocols has each session's last error",
    ),
    # 3.1.7 stops at the limit, and then repeats the announcements thousands of times a second.
    Feature(
        "export_block", (2, 0), NEVER,
        "a session that would announce more than it may is shut down, not held at the limit",
    ),
    # 3.1.7 disables for good a session that restarts within five seconds, and a neighbor above the
    # limit is above it again at once.
    Feature(
        "restart_at_limit", (2, 0), NEVER,
        "a session that brings more prefixes than mesh:routing.maxPrefixes is not started again; "
        "what is above the limit is passed over",
    ),
    Feature(
        "room_again", NEVER, (3, 1),
        "a session that has brought more prefixes than mesh:routing.maxPrefixes takes no new ones, "
        "even when it has room again, until it restarts or somebody runs `birdc reload in`",
    ),
    Feature(
        "restricted_socket", (2, 16), (3, 0),
        "the looking glass shows what the agent sees, and no routes",
    ),
    Feature("restrict_ends", (2, 18), (3, 1)),
    # 2.16 and 3.1 had it first; from these versions on it follows the draft, as measured.
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
"""A feature that a template asks for is one line here."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The features of one version, for the templates."""

    version: str
    features: frozenset[str]

    def can(self, name: str) -> bool:
        """Whether it has a feature of :data:`FEATURES`."""
        assert any(feature.name == name for feature in FEATURES), name
        return name in self.features

    @property
    def to_bool(self) -> str:
        """The return type of a function that is a condition: 2.17 warns without it, 2.0 refuses
        it."""
        return " -> bool" if self.can("return_types") else ""

    @property
    def to_int(self) -> str:
        """The return type of a function that returns a number."""
        return " -> int" if self.can("return_types") else ""


DEBIAN: dict[str, str] = {
    "2.0.12": "Debian 12",
    "2.17.5": "Debian 13",
    "3.1.7": "Debian 13, bird3",
}
"""The measured versions, and the release with their series, maybe with a later point release."""


def capabilities(version: str) -> Capabilities:
    """The features of a version, which is written as ``bird --version`` prints it (``2.17.1``)."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3]) or (0,)
    return Capabilities(version, frozenset(each.name for each in FEATURES if each.there(numbers)))
