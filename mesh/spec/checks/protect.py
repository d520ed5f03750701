"""Protection from deletion."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.spec.problems import Problem
from mesh.spec.section import Sections


def check_protect(sections: Sections) -> Iterator[Problem]:
    """A warning while protection is off."""
    if sections.get("protect") is False:
        yield Problem(
            "mesh:protect", "false",
            "neither addresses nor the operator's key are protected: a node that leaves the stack "
            "file by mistake, or `pulumi destroy`, deletes them for good",
            "remove it (pulumi config rm mesh:protect); to end the network, use `mesh destroy`, "
            "which needs no change of the stack file",
            "warning",
        )  # fmt: skip
