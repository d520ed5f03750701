"""Addresses on an interface of the node."""

from __future__ import annotations

import json
from typing import Literal

from mesh.agent.host import CommandFailed, Host


def addresses_on(host: Host, interface: str) -> frozenset[str]:
    """Addresses on an interface, without link-local ones; none if it does not exist. Raises
    CommandFailed."""
    return shown_on(host, interface) or frozenset()


def shown_on(host: Host, interface: str) -> frozenset[str] | None:
    """The same, and None if the interface does not exist."""
    result = host.run("ip", "-json", "address", "show", "dev", interface)
    if result.code == 1 and "does not exist" in result.err:
        return None
    if result.code != 0:
        raise CommandFailed(f"ip: {result.why()}")
    try:
        return frozenset(
            str(address["local"])
            for link in json.loads(result.out or "[]")
            for address in link.get("addr_info", [])
            if "local" in address and address.get("scope") != "link"
        )
    except ValueError:
        raise CommandFailed(f"ip: {result.out[:100]!r} is not its JSON") from None


def line(verb: Literal["replace", "del"], address: str, interface: str) -> str:
    """A line for ``ip -batch``. An IPv6 address of a service is deprecated, so that it is not the
    source of what the node sends by itself (RFC 6724, rule 3)."""
    if ":" in address:
        flags = " nodad preferred_lft 0" if verb == "replace" else ""
        return f"address {verb} {address}/128 dev {interface}{flags}"
    return f"address {verb} {address}/32 dev {interface}"
