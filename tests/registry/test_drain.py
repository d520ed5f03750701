"""Drain orders at a registry: the operator's highest counts, and who waits hears of it at once."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.registry.client import Client
from mesh.trust import keys, signing
from mesh.trust.documents import DrainOrder
from mesh.trust.encoding import dump, parse
from mesh.trust.keys import signing_public
from mesh.trust.signing import Purpose, Signed
from tests.kit.registry import Fleet, Live, live
from tests.kit.wait import PATIENCE, until

PATH = "/api/v1/drain"


def order(fleet: Fleet, number: int, *nodes: str) -> Signed:
    document = DrainOrder("as27218-prod", number, nodes)
    return signing.signed_document(fleet.key, Purpose.DRAIN, document)


def put(client: Client, envelope: Signed) -> int:
    return client.ask("PUT", PATH, dump(envelope)).status


def held(client: Client, after: int = 0) -> DrainOrder | None:
    answer = client.ask("GET", f"{PATH}?after={after}")
    if answer.status == 204:
        return None
    assert answer.status == 200
    return parse(DrainOrder, parse(Signed, answer.body).payload)


def test_nobody_is_drained_until_the_operator_says_so(registry: Live) -> None:
    with registry.client() as client:
        assert held(client) is None


def test_a_higher_order_replaces_a_lower_one_and_the_same_may_come_again(
    registry: Live, fleet: Fleet
) -> None:
    with registry.client() as client:
        assert put(client, order(fleet, 3, "lax-vultr-1")) == 201
        assert put(client, order(fleet, 4)) == 201
        assert put(client, order(fleet, 4)) == 204
        assert held(client) == DrainOrder("as27218-prod", 4, ())
        assert held(client, after=4) is None
    assert registry.registry.store.counts()["drain_order"] == 1


def test_who_comes_second_is_shown_the_order_that_came_first(
    registry: Live, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the registry still reads back what it has just stored."""
    load = registry.registry._load

    def slowly() -> None:
        time.sleep(0.5)
        load()

    monkeypatch.setattr(registry.registry, "_load", slowly)

    def first() -> None:
        with registry.client() as client:
            put(client, order(fleet, 3, "lax-vultr-1"))

    thread = threading.Thread(target=first)
    thread.start()
    until(lambda: registry.registry.store.counts()["drain_order"], 5, "the first order is stored")
    with registry.client() as client:
        assert put(client, order(fleet, 3, "mia-vultr-1")) == 409
        assert held(client) == DrainOrder("as27218-prod", 3, ("lax-vultr-1",))
    thread.join(PATIENCE)


def refused(fleet: Fleet) -> dict[str, Signed]:
    good = order(fleet, 6, "lax-vultr-1")
    foreign = DrainOrder("as27218-lab", 2**53 - 1, ())
    stranger, document = keys.new_operator_key()[0], DrainOrder("as27218-prod", 6, ())
    return {
        "a lower number": order(fleet, 4, "mia-vultr-1"),
        "the same number with other nodes": order(fleet, 5, "mia-vultr-1"),
        "signed by a stranger": signing.signed_document(stranger, Purpose.DRAIN, document),
        "signed as a manifest": signing.signed_document(fleet.key, Purpose.MANIFEST, document),
        "another network's": signing.signed_document(fleet.key, Purpose.DRAIN, foreign),
        "a changed order": replace(good, payload=good.payload.replace("lax", "mia")),
        "a generation": fleet.generation(9).generation.manifest,
    }


@pytest.mark.parametrize("case", ["a lower number", "the same number with other nodes",
    "signed by a stranger", "signed as a manifest", "another network's", "a changed order",
    "a generation"])  # fmt: skip
def test_what_is_not_the_operators_highest_changes_nothing(
    registry: Live, fleet: Fleet, case: str
) -> None:
    with registry.client() as client:
        assert put(client, order(fleet, 5, "lax-vultr-1")) == 201
        before = registry.memory()
        assert put(client, refused(fleet)[case]) in (400, 403, 409)
        assert held(client) == DrainOrder("as27218-prod", 5, ("lax-vultr-1",))
    assert registry.memory() == before


def test_another_networks_order_that_came_first_stands_in_nobodys_way(
    empty: Live, fleet: Fleet
) -> None:
    """A registry that is fresh does not know yet which network is its own."""
    foreign = DrainOrder("as27218-lab", 2**53 - 1, ())
    with empty.client(fleet.operator) as client:
        assert put(client, signing.signed_document(fleet.key, Purpose.DRAIN, foreign)) == 201
        body = dump(fleet.generation(5).generation)
        assert client.ask("PUT", "/api/v1/generation/packed", body, signed=True).ok
        assert held(client) is None
        assert put(client, order(fleet, 1, "lax-vultr-1")) == 201
        assert held(client) == DrainOrder("as27218-prod", 1, ("lax-vultr-1",))


def test_who_waits_for_a_generation_hears_of_a_drain_order_at_once(
    registry: Live, fleet: Fleet
) -> None:
    answers: list[tuple[int, float]] = []

    def wait() -> None:
        with registry.client() as client:
            answer = client.ask("GET", "/api/v1/manifest?after=5&wait=30&drain=2", timeout=PATIENCE)
            answers.append((answer.status, time.monotonic()))

    with registry.client() as client:
        assert put(client, order(fleet, 2)) == 201
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.3)  # it waits, for it knows this order
        assert not answers
        ordered = time.monotonic()
        assert put(client, order(fleet, 3, "lax-vultr-1")) == 201
    thread.join(PATIENCE)
    assert answers[0][0] == 204
    assert answers[0][1] - ordered < 25  # and not 30, when the poll ends by itself


def test_an_order_survives_a_restart_and_is_verified_again(tmp_path: Path, fleet: Fleet) -> None:
    with live(tmp_path, signing_public(fleet.key)) as one, one.client() as client:
        assert put(client, order(fleet, 7, "lax-vultr-1")) == 201
    with live(tmp_path, signing_public(fleet.key)) as again, again.client() as client:
        assert held(client) == DrainOrder("as27218-prod", 7, ("lax-vultr-1",))
    # On the disk of another network's registry it is nobody's word.
    with live(tmp_path, keys.new_operator_key()[1]) as other, other.client() as client:
        assert held(client) is None
        assert other.registry.store.counts()["drain_order"] == 0
