"""Numbers that plan, orders and nodes have to agree on."""

from __future__ import annotations

MAX_BLACKHOLES = 20
"""Addresses that are discarded at the same time. Upstreams take a few more-specifics of ours and
no table of them, and the limit of what is sent to them counts with this number."""
