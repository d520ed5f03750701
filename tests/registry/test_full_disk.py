"""A registry that can store nothing: every write is refused with the reason, every read answered,
and it takes what comes once there is room."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from mesh.publish.registry_pool import RegistryPool
from mesh.registry import paths
from mesh.registry.client import Answer
from mesh.trust.documents import DrainOrder
from mesh.trust.encoding import dump, sha256
from mesh.trust.orders import DRAIN
from mesh.trust.requests import Signer
from tests.kit.registry import Fleet, Live

NODE = "lax-vultr-1"
FULL, READ_ONLY = "database or disk is full", "attempt to write a readonly database"
_PRAGMA = {FULL: "PRAGMA max_page_count=1", READ_ONLY: "PRAGMA query_only=1"}
BUNDLE = b"a newer bundle" * 1000


@contextmanager
def refusing(registry: Live, fleet: Fleet, reason: str) -> Iterator[None]:
    """Its database takes no page more, or nothing at all."""
    engine = registry.registry.store._engine
    if reason == FULL:
        _use_free_pages(registry, fleet)

    def refuse(connection: Any, _: object) -> None:
        connection.execute(_PRAGMA[reason])

    event.listen(engine, "connect", refuse)
    engine.dispose()
    yield
    event.remove(engine, "connect", refuse)
    engine.dispose()


def _use_free_pages(registry: Live, fleet: Fleet) -> None:
    """A small write would find room in them."""
    for node in ("ord-vultr-1", "mia-vultr-1"):
        with registry.client(fleet.node(node)) as client:
            body = dump(fleet.report(node, fleet.fifth))
            assert client.ask("POST", paths.REPORT, body, signed=True).ok
    with registry.registry.store._engine.connect() as connection:
        connection.exec_driver_sql("VACUUM")


def written(registry: Live, fleet: Fleet, what: str) -> Answer:
    report = fleet.report(NODE, fleet.fifth)
    order = DRAIN.signed(fleet.key, DrainOrder(fleet.network, 1, (NODE,)))
    requests: dict[str, tuple[Signer | None, str, str, bytes]] = {
        "a report": (fleet.node(NODE), "POST", paths.REPORT, dump(report)),
        "an order": (None, "PUT", paths.DRAIN, dump(order)),
        "the planned nodes": (fleet.operator, "PUT", paths.PLANNED, dump(fleet.planned())),
        "a generation": (fleet.operator, "PUT", paths.PACKED, dump(fleet.seventh.generation)),
        "a bundle": (fleet.operator, "PUT", f"{paths.BUNDLE}/{sha256(BUNDLE)}", BUNDLE),
        "a content": (fleet.operator, "PUT", f"{paths.CONTENT}/{'0' * 64}/0", b"x" * 9000),
    }
    signer, method, target, body = requests[what]
    with registry.client(signer) as client:
        return client.ask(method, target, body, signed=signer is not None)


def state(registry: Live, fleet: Fleet) -> Any:
    with registry.client(fleet.operator) as client:
        return json.loads(client.ask("GET", f"{paths.API}/status", signed=True).body)["refuses"]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        *((what, FULL) for what in ("a report", "a generation", "a bundle", "a content")),
        *((what, READ_ONLY) for what in ("a report", "an order", "the planned nodes")),
        *((what, READ_ONLY) for what in ("a generation", "a bundle", "a content")),
    ],
)
def test_what_cannot_be_stored_is_refused_with_the_reason_and_taken_later(
    registry: Live, fleet: Fleet, what: str, reason: str
) -> None:
    with refusing(registry, fleet, reason):
        answer = written(registry, fleet, what)
        assert answer.status == 507
        assert answer.why().startswith(f'HTTP 507 {{"error":"cannot be stored: {reason}; on its')
        assert paths.MAKE_ROOM in answer.why(), "what to do fits into a line"
        assert state(registry, fleet) == reason
        with registry.client(fleet.operator) as client:
            for place in (paths.MANIFEST, paths.REPORTS, paths.packed(5)):
                assert client.ask("GET", place, signed=True).ok
    assert written(registry, fleet, what).ok
    assert state(registry, fleet) == ""


@pytest.mark.parametrize("reason", [FULL, READ_ONLY])
def test_the_operator_is_told_which_registry_it_is_and_what_to_do(
    registry: Live, fleet: Fleet, reason: str
) -> None:
    pool = RegistryPool(fleet.key, {NODE: registry.url})
    with refusing(registry, fleet, reason):
        assert not written(registry, fleet, "a report").ok
        assert pool.full() == {NODE: f"takes no writes: {reason}; {paths.MAKE_ROOM}"}
        assert not pool.reasons, "it answers all the same"
    assert written(registry, fleet, "a report").ok
    assert pool.full() == {}
    pool.close()
