"""Numbers that plan, orders and nodes have to agree on."""

from __future__ import annotations

MAX_BLACKHOLES = 20
"""Addresses that are discarded at the same time. Upstreams take a few more-specifics of ours and
no table of them, and the limit of what is sent to them counts with this number."""

MOST_DIRECT = 16
"""Nodes up to which those that are no reflectors speak iBGP with each other. Sessions grow with the
square: at 16 nodes they cost each one 0.3 % of a core and 1 MB (measured with BIRD 2.17.6)."""

BIRD_LOG_PORT = 717
"""UDP port of 127.0.0.1 to which BIRD sends what neighbors can make it say, and where the agent
listens: nobody's at IANA, and below 1024, so that only root can take it."""
