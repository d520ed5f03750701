"""The API's paths and limits, for server, agent and operator."""

from __future__ import annotations

API = "/api/v1"

HEALTH = f"{API}/health"
NONCE = f"{API}/nonce"
MANIFEST = f"{API}/manifest"
DRAIN = f"{API}/drain"
BLACKHOLE = f"{API}/blackhole"
HOLD = f"{API}/hold"
ROLLOUT = f"{API}/rollout"
BUNDLE = f"{API}/bundle"
JOIN = f"{API}/join"
JOINS = f"{API}/joins"
REFUSED_JOINS = f"{JOINS}/refused"
PLANNED = f"{API}/planned"
GENERATION = f"{API}/generation"
PACKED = f"{API}/generation/packed"
PARTS = f"{API}/parts"
REPORT = f"{API}/report"
REPORTS = f"{API}/reports"
CONTENT = f"{API}/content"


def order(key: str) -> str:
    """Where orders of that kind (:class:`mesh.trust.orders.OrderKind`) are."""
    return f"{API}/{key}"


def max_order(key: str) -> int:
    """Bytes of an order of that kind, at most."""
    return MAX_ROLLOUT if order(key) == ROLLOUT else MAX_SMALL


def packed(number: int) -> str:
    """Where a generation that is held, the highest or one before it, is for the operator."""
    return f"{PACKED}/{number}"


MAKE_ROOM = "on its node: `df -h`, `dmesg`; `journalctl --vacuum-size=100M` makes room"
"""What to do where a registry can store nothing, in its answer and in `mesh status`."""

NONCE_HEADER = "replay-nonce"
"""Every answer carries a fresh nonce (the idea of RFC 8555, section 6.5)."""

CHUNK = 1 << 20
"""Bytes of a content that travel in one request: few enough for a slow line."""
MAX_BUNDLE = 16 << 20
MAX_GENERATION = 64 << 20
MAX_MANIFEST = 1 << 20
MAX_SMALL = 64 << 10
MAX_ROLLOUT = 1 << 20
"""A rollout order may name all nodes of a network, and witnesses of each."""
MAX_ANSWER = 64 << 20
MAX_WAIT = 30.0
"""Longest long-poll, seconds."""
