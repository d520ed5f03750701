"""The drivers: one line per provider, and its SDK is imported only when a node needs it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from pulumi import ResourceOptions

from mesh.infra.providers.protocol import Driver, Machine, Reserved, Setting
from mesh.plan import Node, Plan
from mesh.spec import Problem

__all__ = [
    "DRIVERS",
    "Driver",
    "Machine",
    "Reserved",
    "Setting",
    "driver_name",
    "load",
    "make",
    "missing",
]

DRIVERS: dict[str, str] = {
    "lab": "mesh.infra.providers.lab:Lab",
}
"""Where each driver lives."""


def driver_name(plan: Plan, node: Node) -> str:
    """The driver that makes a node: in a twin the lab's, whatever its provider."""
    return node.provider if plan.twin is None else "lab"


def make(name: str, setting: Setting, opts: ResourceOptions) -> dict[str, Driver]:
    """The drivers that a plan needs, by their names in the table; ``missing`` was asked before.

    What a driver makes for all of its nodes is named after ``name``.
    """
    plan = setting.plan
    names = sorted({driver_name(plan, node) for node in plan.nodes})
    return {each: load(each)(f"{name}-{each}", setting, opts) for each in names}


def load(name: str) -> type[Driver]:
    """The class of a driver; its provider's SDK is imported by this."""
    module, _, kind = DRIVERS[name].partition(":")
    found: type[Driver] = getattr(import_module(module), kind)
    return found


def missing(plan: Plan) -> Iterator[Problem]:
    """A problem for each provider whose nodes nothing here can make."""
    for provider in sorted({node.provider for node in plan.nodes}):
        nodes = [n.id for n in plan.nodes if n.provider == provider]
        if driver_name(plan, plan.node(nodes[0])) not in DRIVERS:
            yield Problem(
                "mesh:nodes",
                ", ".join(nodes),
                f"this version has no driver for {provider} yet, so nothing makes their servers",
                "there is nothing to use instead; `make up` deploys the network's twin on this "
                "machine",
            )
