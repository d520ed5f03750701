"""What programs under mocks find outside them, and what need not be done for each of them anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mesh.infra import sources
from tests.kit.vultr_api import Vultr, answering


@pytest.fixture(scope="module", autouse=True)
def vultr() -> Iterator[Vultr]:
    """Vultr's API, which every preview asks: an account of each module's own."""
    with answering(Vultr()) as served, pytest.MonkeyPatch.context() as environment:
        for name, value in served.environment.items():
            environment.setenv(name, value)
        yield served.vultr


@pytest.fixture(scope="session", autouse=True)
def this_checkout_is_read_once() -> Iterator[None]:
    """It does not change while tests run."""
    known = sources.written()
    with pytest.MonkeyPatch.context() as environment:
        environment.setattr(sources, "written", lambda: known)
        yield
