"""What each provider can do, as facts: a file and a line each."""

from __future__ import annotations

from mesh.spec.providers.aws import AWS
from mesh.spec.providers.communities import Communities, Community, Scope
from mesh.spec.providers.existing import EXISTING
from mesh.spec.providers.gcp import GCP
from mesh.spec.providers.provider import Provider, Upstream, Vpc
from mesh.spec.providers.vultr import VULTR

__all__ = [
    "EXISTING",
    "PROVIDERS",
    "Communities",
    "Community",
    "Provider",
    "Scope",
    "Upstream",
    "Vpc",
]

PROVIDERS: dict[str, Provider] = {provider.name: provider for provider in (VULTR, AWS, GCP)}
"""The table: a new provider is one line here, and a driver of the same name."""
