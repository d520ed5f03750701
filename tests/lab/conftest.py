"""A world under a lab name of the tests' own, so that it runs beside a user's lab."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mesh.lab.lab_files import LabFiles, files_of
from mesh.lab.underlay import World
from mesh.lab.world import clear_world, raise_world
from mesh.plan import Plan
from tests.kit.stacks import example, plan_of
from tests.lab.speaker import PASSWORDS


@dataclass(frozen=True)
class Raised:
    """A world that stands."""

    name: str
    plan: Plan
    world: World
    place: LabFiles


@pytest.fixture(scope="session")
def plan() -> Plan:
    """The seed's four cities, members at AWS and GCP, and a host at BuyVM."""
    return plan_of(example("mixed"), "mixed")


@pytest.fixture(scope="session")
def raised(plan: Plan) -> Iterator[Raised]:
    """The world of that plan, without a node in it."""
    name = f"test-{os.getpid()}"
    clear_world(name)
    try:
        yield Raised(name, plan, raise_world(plan, name, PASSWORDS), files_of(name))
    finally:
        clear_world(name)
