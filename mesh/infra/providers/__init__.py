"""The drivers: a folder per provider, whose SDK is imported only when a node needs it.

A folder ``mesh/infra/providers/<provider>`` has the driver's ``DESCRIPTION``. Nothing here imports
Pulumi: previews and the policy pack read the descriptions of resources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mesh.infra.ending import tolerated
from mesh.infra.providers import plugins
from mesh.infra.providers.description import Description
from mesh.infra.providers.protocol import Driver, Machine, Reserved, StackConfiguration
from mesh.infra.providers.resources import ResourceType
from mesh.spec.problems import Problem
from mesh.spec.providers import PROVIDERS

if TYPE_CHECKING:
    from pulumi import ResourceOptions

    from mesh.plan import Node, Plan
    from mesh.spec import Note

__all__ = [
    "DESCRIPTIONS",
    "RESOURCES",
    "Driver",
    "Machine",
    "Reserved",
    "StackConfiguration",
    "driver_name",
    "load",
    "make",
    "named",
    "problems",
    "used",
]

LAB, EXISTING = "lab", "existing"
"""The drivers without a provider."""

DESCRIPTIONS: Mapping[str, Description] = {
    name: import_module(f"{__name__}.{name}").DESCRIPTION for name in (*PROVIDERS, LAB, EXISTING)
}
"""Every driver."""

RESOURCES: Mapping[str, ResourceType] = {
    type_: what for each in DESCRIPTIONS.values() for type_, what in each.resources.items()
}
"""Every type of resource that a driver makes."""


def driver_name(plan: Plan, node: Node) -> str:
    """The driver that makes a node: in a twin the lab's, whatever its provider."""
    if plan.twin is not None:
        return LAB
    return EXISTING if node.existing else node.provider


def make(name: str, configuration: StackConfiguration, opts: ResourceOptions) -> dict[str, Driver]:
    """The drivers that a plan needs, by their names; call ``problems`` first.

    What a driver makes for all of its nodes is named after ``name``.
    """
    return {
        each: load(each)(f"{name}-{each}", configuration, opts) for each in used(configuration.plan)
    }


def used(plan: Plan) -> list[str]:
    """The names of the drivers that a plan needs, sorted."""
    return sorted({driver_name(plan, node) for node in plan.nodes})


def problems(configuration: StackConfiguration) -> Iterator[Problem | Note]:
    """What the providers would refuse of this stack, and their notes. A provider whose plugin is
    broken is not asked. A run that ends the network is stopped by credentials and APIs that do
    not work, and not by what the stack file asks for."""
    for name in used(configuration.plan):
        unusable = list(plugins.problems(name, DESCRIPTIONS[name].plugin, configuration.spec))
        yield from unusable
        if all(problem.severity == "warning" for problem in unusable):
            for found in load(name).problems(configuration):
                if isinstance(found, Problem) and found.key.startswith("mesh:"):
                    yield tolerated(found)
                else:
                    yield found


def load(name: str) -> type[Driver]:
    """The class of a driver; its provider's SDK is imported by this."""
    found: type[Driver] = named(DESCRIPTIONS[name].driver)
    return found


def named(path: str) -> Any:
    """The object that a description names as ``module:name``."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
