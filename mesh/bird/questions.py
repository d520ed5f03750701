"""Queries about the routes and the configuration that BIRD runs with."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

from mesh.bird.client import Ask

NO_SUCH_ROUTE = 8001
"""Reply code of ``show route``: no route of the table matches."""

_PREFIX = re.compile(r"[0-9a-f.:]+/[0-9]+")


def is_exported(ask: Ask, session: str, prefix: IPv4Network | IPv6Network) -> bool | None:
    """Whether BIRD has exported this prefix on a session; None if BIRD refuses to answer.

    ``exported`` shows the routes that BIRD has exported; ``export`` would show those that pass the
    export policy, also if a limit blocks them. Measured with 2.0.12, 2.17.6 and 3.1.8. BIRD looks
    the prefix up, and does not walk the whole table.
    """
    reply = ask(f"show route {prefix} exported {session}")
    refusal = next((code for code, _ in reply.lines if code >= 8000), None)
    if refusal is not None:
        # Any other refusal, as for a session that is down by now, gives no answer.
        return False if refusal == NO_SUCH_ROUTE else None
    return any(code == 1007 and _network(text) == prefix for code, text in reply.lines)


def constant(ask: Ask, name: str) -> bool:
    """A constant of the configuration that BIRD runs with; False if it has none of that name. The
    files may differ: BIRD may have refused them, or undone them. Measured with 2.0.12, 2.17.6 and
    3.1.8."""
    return any(code == 23 and text == "TRUE" for code, text in ask(f"eval {name}").lines)


def prefixes(ask: Ask, name: str) -> frozenset[IPv4Network | IPv6Network]:
    """A constant that is a set of prefixes, none of them a pattern; empty if there is none of that
    name. BIRD prints ``[192.0.2.1/32{0.0.0.1}]``. Measured with 2.0.12, 2.17.6 and 3.1.8."""
    values = "".join(text for code, text in ask(f"eval {name}").lines if code == 23)
    return frozenset(ip_network(found) for found in _PREFIX.findall(values))


def _network(line: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(line.split(maxsplit=1)[0])
    except (ValueError, IndexError):
        return None
