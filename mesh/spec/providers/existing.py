"""Existing hosts, of any provider, which are reached over SSH and made by no API.

The provider's name is the one in the node's id (``buyvm``); what the host can do is in its own
section of the stack file.
"""

from __future__ import annotations

from mesh.spec.providers.provider import Provider
from mesh.spec.section import Section

ASNS = {"azure": 8075, "buyvm": 53667, "hetzner": 24940}
"""The ASNs of such providers on the Internet, by the name in stack files."""

LAB_NUMBERS = {"azure": 4}
"""The third group of IPv6 addresses in the lab, where it is not derived from the name."""

EXAMPLE = "buyvm"
"""The provider of existing hosts that examples name."""


class Options(Section):
    """There are no options of existing hosts."""


EXISTING = Provider(
    name="existing",
    announces=True,
    mtu=1500,
    user_data_limit=1 << 20,
    regions={},
    at={},
    options=Options,
)
