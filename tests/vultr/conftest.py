"""An account of its own for each test, and this process as the one that runs our resources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.infra.dynamic.vultr import account
from mesh.infra.providers.vultr.v2 import Client, connect, making, waiting
from mesh.infra.providers.vultr.v2 import client as client_module
from tests.kit.vultr_api import KEY, Served, Vultr, answering


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture
def served(certificates: Path) -> Iterator[Served]:
    with answering(Vultr(), certificates) as served:
        yield served


@pytest.fixture
def vultr(served: Served) -> Vultr:
    return served.vultr


@pytest.fixture(autouse=True)
def at_home(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The API's address and certificate as an operator gives them; pauses are short."""
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(client_module, "AWAY", (0.05, 0.05))
    monkeypatch.setattr(client_module, "RATE", 1000)
    monkeypatch.setattr(client_module, "SHORTEST_PAUSE", 0.05)
    monkeypatch.setattr(making, "PAUSES", (0.02, 0.02))
    monkeypatch.setattr(waiting, "FIRST", 0.02)
    account.use("")
    account.use(KEY)
    yield
    account.use("")


@pytest.fixture
def client() -> Iterator[Client]:
    with connect(KEY) as client:
        yield client
