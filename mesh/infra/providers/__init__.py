"""The drivers: a module per provider, imported with its SDK only when a node needs it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from pulumi import ResourceOptions

from mesh.infra.providers import plugins
from mesh.infra.providers.protocol import Driver, Machine, Reserved, Setting
from mesh.plan import Node, Plan
from mesh.spec import Note, Problem

__all__ = [
    "DRIVERS",
    "Driver",
    "Machine",
    "Reserved",
    "Setting",
    "driver_name",
    "load",
    "make",
    "problems",
    "used",
]

DRIVERS: dict[str, str] = {
    "lab": "mesh.infra.providers.lab:Lab",
    "vultr": "mesh.infra.providers.vultr.driver:Vultr",
    "aws": "mesh.infra.providers.aws.driver:Aws",
    "gcp": "mesh.infra.providers.gcp.driver:Gcp",
    "existing": "mesh.infra.providers.existing:Existing",
}
"""Where each driver lives."""


def driver_name(plan: Plan, node: Node) -> str:
    """The driver that makes a node: in a twin the lab's, whatever its provider."""
    if plan.twin is not None:
        return "lab"
    return "existing" if node.existing else node.provider


def make(name: str, setting: Setting, opts: ResourceOptions) -> dict[str, Driver]:
    """The drivers that a plan needs, by their names in the table; ``problems`` was asked before.

    What a driver makes for all of its nodes is named after ``name``.
    """
    return {each: load(each)(f"{name}-{each}", setting, opts) for each in used(setting.plan)}


def used(plan: Plan) -> list[str]:
    """The names of the drivers that a plan needs, sorted."""
    return sorted({driver_name(plan, node) for node in plan.nodes})


def problems(setting: Setting) -> Iterator[Problem | Note]:
    """What the providers themselves would refuse of this stack, and what they tell of it. Of one
    whose plugin is broken, nothing more is asked."""
    for name in used(setting.plan):
        unusable = list(plugins.problems(name, setting.spec))
        yield from unusable
        if all(problem.severity == "warning" for problem in unusable):
            yield from load(name).problems(setting)


def load(name: str) -> type[Driver]:
    """The class of a driver; its provider's SDK is imported by this."""
    module, _, kind = DRIVERS[name].partition(":")
    found: type[Driver] = getattr(import_module(module), kind)
    return found
