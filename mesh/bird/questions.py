"""Single questions about the routes and the configuration that BIRD has in force."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from mesh.bird.client import Ask

NO_SUCH_ROUTE = 8001
"""Of ``show route``: the table has no such route, or it is not among those asked for."""


def is_exported(ask: Ask, session: str, prefix: IPv4Network | IPv6Network) -> bool | None:
    """Whether BIRD has exported this prefix on a session; None where it does not say.

    ``exported`` asks for what BIRD has marked as handed to the session; ``export`` would ask what
    its filter would let pass, which is also so where a limit holds it back. Measured with 2.0.12,
    2.17.6 and 3.1.8. The prefix is looked up, so that a full table is not walked through.
    """
    reply = ask(f"show route {prefix} exported {session}")
    refusal = next((code for code, _ in reply.lines if code >= 8000), None)
    if refusal is not None:
        # Any other refusal, as for a session that has gone down since, says nothing.
        return False if refusal == NO_SUCH_ROUTE else None
    return any(code == 1007 and _network(text) == prefix for code, text in reply.lines)


def constant(ask: Ask, name: str) -> bool:
    """A constant of the configuration that BIRD runs by; False where it has none of that name. The
    files may say something else: BIRD may have refused them, or gone back. Measured with 2.0.12,
    2.17.6 and 3.1.8."""
    return any(code == 23 and text == "TRUE" for code, text in ask(f"eval {name}").lines)


def _network(line: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(line.split(maxsplit=1)[0])
    except (ValueError, IndexError):
        return None
