"""Clock differences, measured by nodes and this machine against the registries' clocks."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.trust.documents import CLOCKS_DIFFER, Health


def ahead_of_ours(health: Health, ahead: Mapping[str, float]) -> float | None:
    """Seconds by which a node's clock is ahead of this machine's (behind where it is negative), 0
    where they agree; None where unknown. ``ahead`` is by how much this machine's is ahead of each
    registry's, by URL.

    Registries are not trusted: this is shown only, and decides nothing.
    """
    if health.clocks is None or not ahead:
        return None
    # A registry that a node does not report agrees with it, or was not asked by it.
    url = next((one for one in sorted(ahead) if one in health.clocks), min(ahead))
    seconds = health.clocks.get(url, 0) - ahead[url]
    return round(seconds) if abs(seconds) >= CLOCKS_DIFFER else 0.0


def off(ahead: Mapping[str, float]) -> float:
    """Seconds by which this machine's clock is ahead of the registry's that agrees with it best
    (behind where it is negative); 0 where none is known. ``ahead`` is as above: one registry that
    states a wrong time decides nothing, while another one agrees with us.
    """
    return min(ahead.values(), key=abs, default=0.0)
