"""Existing hosts: servers that are there already, of whatever provider, delivered to over SSH."""

from __future__ import annotations

from mesh.infra.providers.description import Description
from mesh.infra.providers.resources import ResourceKind, ResourceType

DESCRIPTION = Description(
    driver="mesh.infra.providers.existing.driver:Existing",
    resources={
        # No input restarts a host.
        "pulumi-python:dynamic/host:Host": ResourceType(ResourceKind.SERVER, quiet=None),
        # The key that a host showed first: without it, the next key at that address is trusted.
        "pulumi-python:dynamic/host:HostKey": ResourceType(ResourceKind.ADDRESS, protected=True),
    },
)
