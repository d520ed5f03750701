"""The production program without its generation: what it makes at the provider, and no more.

Nobody joins and nothing is published, so that an `up` takes seconds and needs no node.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pulumi import ResourceOptions

from mesh.infra import Mesh, MeshArgs, configured, network


def nothing(*_arguments: Any) -> None:
    """In the place of a resource."""


for name in ("Candidate", "Publish"):
    setattr(network, name, nothing)

configuration = configured(Path(__file__).parents[4])
configuration.stack = replace(configuration.stack, bundle="0" * 64)

Mesh("mesh", MeshArgs(configuration), ResourceOptions())
