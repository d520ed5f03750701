"""The real engine on the program, with a lab of the tests' own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from mesh.lab.world import clear_world
from tests.kit.engine import Engine, engine_of
from tests.kit.lab_node import own_name

LAB = own_name("engine")


@pytest.fixture(scope="module")
def own_lab(request: pytest.FixtureRequest) -> Iterator[None]:
    """A lab name of these tests, their module's ``LAB``; whatever happens, nothing of it stays."""
    name: str = request.module.LAB
    before = os.environ.get("MESH_LAB")
    os.environ["MESH_LAB"] = name
    clear_world(name)
    try:
        yield
    finally:
        clear_world(name)
        os.environ.pop("MESH_LAB")
        if before is not None:
            os.environ["MESH_LAB"] = before


@pytest.fixture(scope="module")
def engine(own_lab: None, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A fresh stack of which nothing exists."""
    return engine_of(tmp_path_factory.mktemp("state"))
