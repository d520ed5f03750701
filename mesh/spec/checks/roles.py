"""``reflectors``, ``registries`` and ``without``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.limits import MOST_DIRECT
from mesh.spec.ids import split_id
from mesh.spec.model import Node
from mesh.spec.problems import Problem
from mesh.spec.section import Sections


def check_roles(sections: Sections) -> Iterator[Problem]:
    """Reflectors, registries and nodes of ``without`` are in the stack."""
    nodes: Mapping[str, Node] | None = sections.get("nodes")
    if nodes is None:
        return
    for key in ("reflectors", "registries", "without"):
        names: tuple[str, ...] = sections.get(key) or ()
        for name in names:
            if name not in nodes:
                yield Problem(
                    f"mesh:{key}", name, "there is no such node",
                    f"name one of {', '.join(sorted(nodes))}",
                )  # fmt: skip
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield Problem(f"mesh:{key}", name, "it is listed twice", "name it once")
    if len(sections.get("reflectors") or ()) == 1 and len(nodes) > 1:
        lost = "a node that reaches no registry learns of no blackhole"
        if len(nodes) > MOST_DIRECT:
            lost = "no service can move between nodes"
        yield Problem(
            "mesh:reflectors", sections["reflectors"][0],
            f"while the only reflector is away, {lost}",
            _second("name a second one in another region", sections["reflectors"][0], nodes),
            severity="warning",
        )  # fmt: skip
    left_out = set(sections.get("without") or ()) & set(sections.get("registries") or ())
    for name in sorted(left_out):
        yield Problem(
            "mesh:without", name, "a registry cannot be left out of its own generation",
            "name another registry first",
        )  # fmt: skip


def _second(cure: str, first: str, nodes: Mapping[str, Node]) -> str:
    """The cure with a node in another region, where there is one: the first by number, since the
    engine does not keep the order of the file."""
    others = (node for node in nodes if split_id(node)[0] != split_id(first)[0])
    other = min(others, key=lambda node: nodes[node].number, default=None)
    return cure if other is None else f"{cure}, for example mesh:reflectors: [{first}, {other}]"
