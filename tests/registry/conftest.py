"""A registry with a generation in it, fresh for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.trust.encoding import dump
from mesh.trust.keys import signing_public
from tests.registry.live import Fleet, Live, live


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def empty(tmp_path: Path, fleet: Fleet) -> Iterator[Live]:
    """A registry that knows the operator's key and nothing else."""
    with live(tmp_path, signing_public(fleet.key), b"a bundle") as one:
        yield one


@pytest.fixture
def registry(empty: Live, fleet: Fleet) -> Live:
    """A registry that holds generation 5."""
    with empty.client(fleet.operator) as client:
        assert client.ask("PUT", "/api/v1/planned", dump(fleet.planned()), signed=True).ok
        body = dump(fleet.fifth.generation)
        assert client.ask("PUT", "/api/v1/generation/packed", body, signed=True).status == 201
    return empty
