"""What Vultr has to offer, asked through its provider: images and plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pulumi import Output

from mesh.infra.providers.vultr import account, sdk
from mesh.plan import Node
from mesh.spec import Problem, Spec

NOTHING = "no results were found"
"""terraform-provider-vultr, of every data source to whose filter nothing fits."""


def image(name: str) -> Output[int]:
    """The id of an image, by its name: ids differ between accounts' catalogues and over time."""
    return sdk.get_os_output(filters=_named(name)).id.apply(int)


def problems(spec: Spec, nodes: Sequence[Node]) -> Iterator[Problem]:
    """An unknown image or plan, a plan that is not sold in a region, a refused key: each distinct
    thing is asked once. Where the key is refused, that is all there is to say."""
    try:
        if _ask(sdk.get_os, "name", spec.providers.vultr.image) is None:
            yield Problem(
                "mesh:providers.vultr.image",
                spec.providers.vultr.image,
                "Vultr has no image of this name",
                'write it as Vultr does, for example "Debian 13 x64 (trixie)"',
            )
        yield from _places(spec, nodes)
    except Unanswered as error:
        yield error.problem


class Unanswered(Exception):
    """Vultr did not answer the question."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _places(spec: Spec, nodes: Sequence[Node]) -> Iterator[Problem]:
    sizes = {(node.size, node.bare_metal) for node in nodes}
    sold = {size: _locations(*size) for size in sorted(sizes)}
    for size, locations in sold.items():
        of_size = [node for node in nodes if (node.size, node.bare_metal) == size]
        if locations is None:
            kind = "bare metal plan" if size[1] else "plan"
            yield Problem(
                _plan_key(spec, of_size[0]),
                size[0],
                f"Vultr has no {kind} of this name",
                "take one from vultr.com/pricing, for example vc2-1c-1gb",
            )
            continue
        for node in of_size:
            if node.place not in locations:
                yield Problem(
                    _plan_key(spec, node),
                    node.size,
                    f"Vultr does not sell this plan in {node.place}, where {node.id} is",
                    f"give {node.id} another plan; this one is sold in {', '.join(locations)}",
                )


def _plan_key(spec: Spec, node: Node) -> str:
    """Where the stack file says how large a node is."""
    own = spec.nodes[node.id].plan is not None
    return f"mesh:nodes.{node.id}.plan" if own else "mesh:providers.vultr.plan"


def _locations(size: str, bare_metal: bool) -> list[str] | None:
    """Where a plan is sold; None where there is no such plan."""
    found = _ask(sdk.get_bare_metal_plan if bare_metal else sdk.get_plan, "id", size)
    return None if found is None else sorted(found.locations)


def _named(value: str, by: str = "name") -> list[dict[str, Any]]:
    return [{"name": by, "values": [value]}]


def _ask(question: Callable[..., Any], by: str, value: str) -> Any:
    """The answer of a data source, None where nothing fits; Unanswered for all else."""
    try:
        return question(filters=_named(value, by))
    except Exception as error:  # the SDK raises no class of its own
        said = str(error)
        if NOTHING in said:
            return None
        raise Unanswered(account.refusal(said)) from None
