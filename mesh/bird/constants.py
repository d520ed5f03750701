"""Names of constants that the agent writes for BIRD, and that the rendered configuration reads."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network


def in_service(prefix: IPv4Network | IPv6Network) -> str:
    """Whether a node is in service for a prefix, where prefixes come and go each by itself:
    ``IN_SERVICE_192_30_120_0_23``."""
    return f"IN_SERVICE_{re.sub('[^0-9a-f]', '_', str(prefix))}"
