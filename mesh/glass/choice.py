"""Why BIRD prefers one route to another: the steps of its decision, in words (RFC 4271, 9.1.2)."""

from __future__ import annotations

from collections.abc import Callable

from mesh.glass.parsing import Found
from mesh.glass.words import Kind

NEAREST = 1000000
"""The local preference of a way without cost on the tunnels (mates.conf)."""
Step = Callable[[Found, Found], str]


def lost(route: Found, best: Found, kind: Kind) -> str:
    """The step by which ``route`` loses to ``best``."""
    if route.preference != best.preference:
        return f"lower preference of its source: {route.preference}, not {best.preference}"
    for step in _STEPS:
        if why := step(route, best):
            return _as_cost(why, route, best) if kind == "tunnel" else why
    return "all else is equal: the neighbor's lower router id or address decides"


def _as_cost(why: str, route: Found, best: Found) -> str:
    """The preference between tunnels is what a way costs."""
    if not why.startswith("lower local preference"):
        return why
    return f"a longer way: cost {_cost(route)}, not {_cost(best)}"


def _cost(route: Found) -> int:
    return NEAREST - (route.local_pref or 0)


def _reachable(route: Found, best: Found) -> str:
    is_worse = route.dest == "unreachable" and best.dest != "unreachable"
    return "its next hop is not reached" if is_worse else ""


def _preferred(route: Found, best: Found) -> str:
    one, other = route.local_pref, best.local_pref
    if one is None or other is None or one >= other:
        return ""
    return f"lower local preference: {one}, not {other}"


def _shorter(route: Found, best: Found) -> str:
    one, other = len(route.path), len(best.path)
    if route.has_set or best.has_set or route.path_is_cut or best.path_is_cut or one <= other:
        return ""
    return f"a longer path: {one} ASNs, not {other}"


def _better_origin(route: Found, best: Found) -> str:
    return "a worse origin of BGP" if route.origin_code > best.origin_code else ""


def _lower_med(route: Found, best: Found) -> str:
    """Compared between paths from the same neighbor network only."""
    one, other = route.number("med") or 0, best.number("med") or 0
    if route.path[:1] != best.path[:1] or one <= other:
        return ""
    return f"a higher MED: {one}, not {other}"


def _external(route: Found, best: Found) -> str:
    """A path of iBGP may begin with another network's ASN, and ours have none."""
    is_worse = not route.path and bool(best.path)
    return "of iBGP, where the other is of eBGP" if is_worse else ""


def _nearer(route: Found, best: Found) -> str:
    one, other = route.igp_metric, best.igp_metric
    if one is None or other is None or one <= other:
        return ""
    return f"a farther next hop: cost {one}, not {other}"


def _fewer_reflections(route: Found, best: Found) -> str:
    one = len(route.attributes.get("cluster_list", "").split())
    other = len(best.attributes.get("cluster_list", "").split())
    return "reflected more often" if one > other else ""


_STEPS: tuple[Step, ...] = (
    _reachable,
    _preferred,
    _shorter,
    _better_origin,
    _lower_med,
    _external,
    _nearer,
    _fewer_reflections,
)
