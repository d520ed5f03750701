"""Numbers that plan, orders and nodes have to agree on."""

from __future__ import annotations

MAX_BLACKHOLES = 20
"""Addresses that are discarded at the same time. Upstreams take a few more-specifics of ours and
no table of them, and the limit of what is sent to them counts with this number."""

BIRD_LOG_PORT = 717
"""UDP port of 127.0.0.1 to which BIRD sends what neighbours can make it say, and where the agent
listens: nobody's at IANA, and below 1024, so that only root can take it."""
