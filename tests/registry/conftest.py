"""A registry with a generation in it, fresh for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.trust.keys import signing_public
from tests.kit.registry import BUNDLE, Fleet, Live, holding, live, shared_fleet


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return shared_fleet()


@pytest.fixture
def empty(tmp_path: Path, fleet: Fleet) -> Iterator[Live]:
    """A registry that knows the operator's key and nothing else."""
    with live(tmp_path, signing_public(fleet.key), BUNDLE) as one:
        yield one


@pytest.fixture
def registry(tmp_path: Path, fleet: Fleet) -> Iterator[Live]:
    """A registry that holds generation 5."""
    with holding(tmp_path, fleet) as one:
        yield one
