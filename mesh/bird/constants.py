"""Names of constants that the agent writes for BIRD, and that the rendered configuration reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


def in_service(prefix: IPv4Network | IPv6Network) -> str:
    """Whether a node is in service for a prefix, where prefixes come and go each by itself:
    ``IN_SERVICE_192_30_120_0_23``."""
    return f"IN_SERVICE_{re.sub('[^0-9a-f]', '_', str(prefix))}"


def served(addresses: Iterable[IPv4Address | IPv6Address]) -> str:
    """The file with the addresses of services that a node serves now, as sets of prefixes. A set
    without an address has one that nobody has: BIRD has no empty set of prefixes."""
    every = sorted(set(addresses), key=lambda one: (one.version, int(one)))
    lines = []
    for version, nobody in ((4, "0.0.0.0/32"), (6, "::/128")):
        own = [f"{one}/{one.max_prefixlen}" for one in every if one.version == version]
        lines.append(f"define SERVED{version} = [ {', '.join(own or [nobody])} ];\n")
    return "".join(lines)
