"""Whose clock is off: by what nodes and this machine see of the registries' clocks."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.trust.documents import CLOCKS_DIFFER, Health


def ahead_of_ours(health: Health, ahead: Mapping[str, float]) -> float | None:
    """Seconds by which a node's clock is ahead of this machine's (behind where it is negative), 0
    where they agree; None where nobody can tell. ``ahead`` is by how much this machine's is ahead
    of each registry's, by URL.

    Both are told by a registry, which need not be right or honest: so this is for people to read,
    and decides nothing.
    """
    if health.clocks is None or not ahead:
        return None
    # A registry that a node does not name agrees with it, or is one that it has not asked.
    url = next((one for one in sorted(ahead) if one in health.clocks), min(ahead))
    seconds = health.clocks.get(url, 0) - ahead[url]
    return round(seconds) if abs(seconds) >= CLOCKS_DIFFER else 0.0
