"""One host for all tests of this folder: each leaves it as it was, which is a test by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ssh import ground


@pytest.fixture(scope="session")
def box() -> Iterator[ground.Box]:
    """A host that exists already."""
    with ground.host("deliver") as found:
        yield found
