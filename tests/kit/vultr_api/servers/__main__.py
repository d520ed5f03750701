"""The production program without its generation: what it makes at the provider, and no more.

Nobody joins and nothing is published, so that an `up` takes seconds and needs no node.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pulumi import ResourceOptions

from mesh.infra import configured
from mesh.infra import mesh as program


def nothing(*_arguments: Any) -> None:
    """In the place of a resource."""


for name in ("Candidate", "Publish"):
    setattr(program, name, nothing)

configuration = replace(configured(Path(__file__).parents[4]), bundle="0" * 64)

program.Mesh("mesh", program.MeshArgs(configuration), ResourceOptions())
