"""One host for all tests of this folder: each leaves it as it was, which is a test by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit import existing_host
from tests.kit.lab_node import own_name


@pytest.fixture(scope="session")
def box() -> Iterator[existing_host.ExistingHost]:
    """A host that exists already."""
    with existing_host.host(own_name("deliver")) as found:
        yield found
