"""Rollout orders at a registry: relayed as drain orders are, to members only, for all nodes."""

from __future__ import annotations

import threading
import time

from mesh.registry.client import Client
from mesh.trust.documents import MAX_RELEASED, DrainOrder, RolloutOrder
from mesh.trust.encoding import dump, parse
from mesh.trust.orders import DRAIN, ROLLOUT
from mesh.trust.signing import Signed
from tests.kit.registry import Fleet, Live

PATH, NETWORK = "/api/v1/rollout", "as27218-prod"


def order(number: int, *released: str) -> RolloutOrder:
    return RolloutOrder(NETWORK, number, 6, "0" * 64, released)


def put(client: Client, fleet: Fleet, document: RolloutOrder) -> int:
    return client.ask("PUT", PATH, dump(ROLLOUT.signed(fleet.key, document))).status


def held(client: Client, after: int = 0) -> RolloutOrder | None:
    answer = client.ask("GET", f"{PATH}?after={after}", signed=True)
    if answer.status == 204:
        return None
    assert answer.status == 200
    return parse(RolloutOrder, parse(Signed, answer.body).payload)


def test_the_highest_order_counts_and_other_kinds_are_counted_apart(
    registry: Live, fleet: Fleet
) -> None:
    with registry.client(fleet.operator) as client:
        assert held(client) is None
        assert put(client, fleet, order(3, "lax-vultr-1")) == 201
        assert put(client, fleet, order(3, "lax-vultr-1")) == 204
        assert put(client, fleet, order(2)) == 409
        drain = DRAIN.signed(fleet.key, DrainOrder(NETWORK, 1, ()))
        assert client.ask("PUT", "/api/v1/drain", dump(drain)).status == 201
        assert held(client) == order(3, "lax-vultr-1")
        assert held(client, after=3) is None


def test_members_and_the_operator_read_it_and_nobody_else(registry: Live, fleet: Fleet) -> None:
    with registry.client() as anybody:
        assert put(anybody, fleet, order(3)) == 201
        assert anybody.ask("GET", PATH).status == 401
    for signer in (fleet.operator, fleet.node("ord-vultr-1")):
        with registry.client(signer) as client:
            assert held(client) == order(3)
    with registry.client(fleet.candidate("ord-vultr-1")) as client:
        assert client.ask("GET", PATH, signed=True).status == 401


def test_an_order_for_all_nodes_of_the_largest_network_is_relayed(
    registry: Live, fleet: Fleet
) -> None:
    nodes = tuple(f"longest-name-of-city-vultr-{n:05}" for n in range(MAX_RELEASED))
    witnesses = dict.fromkeys(nodes, nodes[:2])
    largest = RolloutOrder(NETWORK, 3, 6, "0" * 64, nodes, nodes, False, witnesses)
    with registry.client(fleet.operator) as client:
        assert put(client, fleet, largest) == 201
        assert held(client) == largest


def test_who_waits_for_a_generation_hears_of_a_rollout_order_at_once(
    registry: Live, fleet: Fleet
) -> None:
    with registry.client() as client, registry.client() as operator:
        assert put(operator, fleet, order(1)) == 201
        release = threading.Timer(0.3, put, (operator, fleet, order(2, "lax-vultr-1")))
        began = time.monotonic()
        release.start()
        assert client.ask("GET", "/api/v1/manifest?after=99&wait=30&rollout=1").status == 204
        assert 0.2 < time.monotonic() - began < 25  # and not 30, when the poll ends by itself
        release.join()
