"""The lab on this machine, with every node of a twin."""

from __future__ import annotations

from mesh.infra.providers.description import Description
from mesh.infra.providers.inputs import given
from mesh.infra.providers.resources import NETWORK, ResourceKind, ResourceType

DESCRIPTION = Description(
    driver="mesh.infra.providers.lab.driver:Lab",
    resources={
        "pulumi-python:dynamic/lab:World": NETWORK,
        "pulumi-python:dynamic/lab:Instance": ResourceType(ResourceKind.SERVER, quiet=None),
        "pulumi-python:dynamic/lab:Address": ResourceType(
            ResourceKind.ADDRESS, protected=True, reserved=True, has_ipv6=given("with_ipv6")
        ),
    },
)
