"""The providers' facts: a file and a line for each."""

from __future__ import annotations

from importlib import import_module

from mesh.spec.providers.communities import Communities, Community, Scope
from mesh.spec.providers.existing import ASNS, EXISTING, LAB_NUMBERS
from mesh.spec.providers.provider import Provider, Upstream, Vpc

__all__ = [
    "EXAMPLE",
    "EXISTING",
    "PROVIDERS",
    "Communities",
    "Community",
    "Provider",
    "Scope",
    "Upstream",
    "Vpc",
    "lab_number",
    "public_asn",
]

NAMES = (
    "vultr",
    "aws",
    "gcp",
)
"""The table: a new provider is one line here, a module of that name beside this one with its
``FACTS``, and a driver of that name in ``mesh/infra/providers``."""

PROVIDERS: dict[str, Provider] = {name: import_module(f"{__name__}.{name}").FACTS for name in NAMES}

EXAMPLE = next(name for name, facts in PROVIDERS.items() if facts.announces)
"""The provider that examples name."""


def public_asn(provider: str) -> int | None:
    """The ASN that a provider uses on the Internet, where it is known."""
    facts = PROVIDERS.get(provider)
    return ASNS.get(provider) if facts is None else facts.asn


def lab_number(provider: str) -> int | None:
    """A provider's number in the lab's IPv6 addresses, where it has one."""
    facts = PROVIDERS.get(provider)
    return LAB_NUMBERS.get(provider) if facts is None else facts.lab_number
