"""Existing hosts: servers that are there already, of whatever provider, delivered to over SSH."""

from __future__ import annotations

from mesh.infra.providers.description import Description
from mesh.infra.providers.resources import Kind, ResourceType

DESCRIPTION = Description(
    driver="mesh.infra.providers.existing.driver:Existing",
    resources={
        # A host is not touched by the way in which it is reached.
        "pulumi-python:dynamic/host:Host": ResourceType(Kind.SERVER, quiet=None),
        # The key that a host showed first: where it is lost, whoever answers at that address next
        # is trusted.
        "pulumi-python:dynamic/host:HostKey": ResourceType(Kind.ADDRESS, protected=True),
    },
)
