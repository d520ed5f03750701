"""A world under a lab name of the tests' own, so that it runs beside a user's lab."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from mesh.lab.place import Place, place
from mesh.lab.underlay import Underlay
from mesh.lab.world import clear_world, raise_world
from mesh.plan import AddressPair, Plan
from tests.lab.ground import PASSWORDS
from tests.stacks import plan_of, prod


@dataclass(frozen=True)
class Raised:
    """A world that stands."""

    name: str
    plan: Plan
    world: Underlay
    place: Place


@pytest.fixture(scope="session")
def plan() -> Plan:
    """The seed's four cities, and a node at a provider that takes no announcements."""
    plan = plan_of(prod())
    member = replace(
        plan.node("lax-vultr-1"),
        id="lax-aws-1",
        provider="aws",
        number=5,
        announced=AddressPair(IPv4Address("192.30.120.3"), IPv6Address("2620:71:4000::3")),
        upstreams=(),
    )
    nodes = sorted((*plan.nodes, member), key=lambda node: node.id)
    return replace(plan, nodes=tuple(nodes))


@pytest.fixture(scope="session")
def raised(plan: Plan) -> Iterator[Raised]:
    """The world of that plan, without a node in it."""
    name = f"test-{os.getpid()}"
    clear_world(name)
    try:
        yield Raised(name, plan, raise_world(plan, name, PASSWORDS), place(name))
    finally:
        clear_world(name)
