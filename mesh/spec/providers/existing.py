"""Hosts without an API: whatever provider's server exists already and is reached over SSH.

Its provider's name is whatever the stack file says (``buyvm``); what it can do is in the host's
own section, as the provider's panel shows it.
"""

from __future__ import annotations

from mesh.spec.providers.provider import Provider
from mesh.spec.section import Section

ASNS = {"azure": 8075, "buyvm": 53667, "hetzner": 24940}
"""The AS that such a provider shows to the Internet, by the name that stack files use."""

LAB_NUMBERS = {"azure": 4}
"""The third group of IPv6 addresses in the lab, where it is not made of the name."""

EXAMPLE = "buyvm"
"""The provider of existing hosts that examples name."""


class Options(Section):
    """Nothing that all existing hosts share."""


EXISTING = Provider(
    name="existing",
    announces=True,
    mtu=1500,
    user_data_limit=1 << 20,
    regions={},
    at={},
    options=Options,
)
