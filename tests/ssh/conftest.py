"""One host for all tests of this folder: each leaves it as it was, which is a test by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit import existing_host


@pytest.fixture(scope="session")
def box() -> Iterator[existing_host.ExistingHost]:
    """A host that exists already."""
    with existing_host.host("deliver") as found:
        yield found
