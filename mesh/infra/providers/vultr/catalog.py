"""Compares Vultr's regions, images and plans with those that the stack file asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from mesh.infra.providers.vultr import images
from mesh.infra.providers.vultr.v2.answers import Image, Plan, Region
from mesh.plan import Node
from mesh.spec import Problem, Spec
from mesh.spec.problems import KEEPS

DDOS = "ddos_protection"
"""What a region's options and a server's features call it."""
SWITCH = "mesh:providers.vultr.ddosProtection"


@dataclass(frozen=True)
class Catalog:
    """What is sold: plans of instances and of bare metal by their ids."""

    regions: Sequence[Region]
    images: Sequence[Image]
    plans: Mapping[str, Plan]
    metal_plans: Mapping[str, Plan]

    def plan(self, size: str, bare_metal: bool) -> Plan | None:
        """The plan of a server; None where there is none of this name."""
        return (self.metal_plans if bare_metal else self.plans).get(size)


def problems(
    spec: Spec, nodes: Sequence[Node], catalog: Catalog, running: AbstractSet[str] = frozenset()
) -> Iterator[Problem]:
    """An unknown image, region or plan; a plan that is not sold in a region; DDoS protection where
    there is none. ``running`` are nodes whose server exists as configured: it stays, whatever is
    sold now."""
    for os in images.systems(nodes):
        lacking = images.problem(spec, catalog.images, os)
        if lacking is not None:
            mine = [node.id for node in nodes if node.os is os]
            # A name can be corrected; what Vultr has no longer stops no network that runs.
            running_on = images.named(spec, os) is None and running >= set(mine)
            yield from (_kept(lacking, each) for each in mine) if running_on else (lacking,)
    for problem, node in _places(spec, nodes, catalog):
        yield _kept(problem, node) if node in running else problem
    if spec.providers.vultr.ddos_protection:
        yield from _protected(nodes, catalog)


def _places(spec: Spec, nodes: Sequence[Node], catalog: Catalog) -> Iterator[tuple[Problem, str]]:
    """The problems with each node's region and plan, with the node."""
    known = {region.id for region in catalog.regions}
    for node in nodes:
        plan = catalog.plan(node.size, node.bare_metal)
        if plan is None:
            yield _no_plan(spec, node), node.id
        elif node.place not in known:
            yield _nowhere(node, known), node.id
        elif node.place not in plan.locations:
            yield _not_there(spec, node, plan), node.id


def _kept(problem: Problem, node: str) -> Problem:
    """The problem as a warning: the server runs, but could not be made again."""
    reason = f"{problem.reason}; {node} {KEEPS}"
    return replace(problem, reason=reason, severity="warning")


def _no_plan(spec: Spec, node: Node) -> Problem:
    kind = "bare metal plan" if node.bare_metal else "plan"
    return Problem(
        _plan_key(spec, node), node.size, f"Vultr has no {kind} of this name",
        "take one from vultr.com/pricing, for example vc2-1c-1gb",
    )  # fmt: skip


def _nowhere(node: Node, known: set[str]) -> Problem:
    return Problem(
        f"mesh:regions.{node.region}.at.vultr", node.place, "Vultr has no region of this name",
        f"name one of {', '.join(sorted(known))}",
    )  # fmt: skip


def _not_there(spec: Spec, node: Node, plan: Plan) -> Problem:
    sold = ", ".join(sorted(plan.locations))
    elsewhere = f"this one is sold in {sold}" if sold else "this one is sold out everywhere"
    return Problem(
        _plan_key(spec, node),
        node.size,
        f"Vultr does not sell this plan in {node.place}, where {node.id} is",
        f"give {node.id} another plan; {elsewhere}",
    )


def _protected(nodes: Sequence[Node], catalog: Catalog) -> Iterator[Problem]:
    """The nodes that cannot have DDoS protection: bare metal, and those in regions that the API
    lists without it."""
    able = {region.id for region in catalog.regions if DDOS in region.options}
    for node in nodes:
        if node.bare_metal:
            reason = f"Vultr has no DDoS protection for bare metal, which {node.id} is"
        elif node.place not in able:
            reason = f"Vultr has no DDoS protection in {node.place}, where {node.id} is"
        else:
            continue
        yield Problem(SWITCH, "true", reason, f"set it to false, or leave {node.id} out")


def _plan_key(spec: Spec, node: Node) -> str:
    """The key of the stack file that sets a node's plan."""
    own = spec.nodes[node.id].plan is not None
    return f"mesh:nodes.{node.id}.plan" if own else "mesh:providers.vultr.plan"
