"""Protection from deletion."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.spec.problems import Problem
from mesh.spec.section import Sections


def check_protect(sections: Sections) -> Iterator[Problem]:
    """Protection that is off is said at every look at the stack file."""
    if sections.get("protect") is False:
        yield Problem(
            "mesh:protect", "false",
            "neither addresses nor the operator's key are protected: a node that leaves the stack "
            "file by mistake, or `pulumi destroy`, gives them up for good",
            "remove it (pulumi config rm mesh:protect); a network is ended by `mesh destroy`, "
            "which wants no key of the stack file",
            "warning",
        )  # fmt: skip
