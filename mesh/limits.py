"""Limits and ports that plan, orders and nodes share."""

from __future__ import annotations

MAX_BLACKHOLES = 20
"""Addresses that are blackholed at the same time. Upstreams take only a few more-specifics of ours;
the export limit of upstream sessions includes this number."""

MOST_DIRECT = 16
"""Number of nodes up to which those that are no reflectors have iBGP sessions with each other.
Sessions grow with the square: at 16 nodes they take 0.3 % of a core and 1 MB on each (measured with
BIRD 2.17.6)."""

BIRD_LOG_PORT = 717
"""UDP port of 127.0.0.1 where the agent receives BIRD's log of messages that neighbors can cause:
unassigned at IANA, and below 1024, so that only root can bind it."""

MOST_PREFIXES = 16
"""How many prefixes of a family a node announces at most: a report names them all."""

GLASS_PORT = 8080
"""TCP port of the looking glass, unless ``mesh:glass.port`` names another one."""

MAX_CONTENTS = 64
"""Contents in one manifest."""
MAX_CONTENT_BYTES = 64 * 2**20
MAX_CONTENT_FILES = 20_000
"""Of one content."""
