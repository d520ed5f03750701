"""Blackhole orders at a registry: relayed as drain orders are, and counted apart from them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from mesh.limits import MAX_BLACKHOLES
from mesh.registry.client import Client
from mesh.trust import keys, signing
from mesh.trust.documents import Blackhole, BlackholeOrder, DrainOrder
from mesh.trust.encoding import Malformed, dump, parse
from mesh.trust.keys import signing_public
from mesh.trust.orders import BLACKHOLE, DRAIN
from mesh.trust.requests import Signer
from mesh.trust.signing import Purpose, Signed
from tests.kit.registry import Fleet, Live, live
from tests.kit.wait import PATIENCE

PATH, NETWORK = "/api/v1/blackhole", "as27218-prod"


def entry(last: int = 200, until: int = 2_000_000_000) -> Blackhole:
    return Blackhole(ip_address(f"192.30.120.{last}"), until, "a flood")


def order(fleet: Fleet, number: int, *entries: Blackhole, network: str = NETWORK) -> Signed:
    return BLACKHOLE.signed(fleet.key, BlackholeOrder(network, number, entries))


def put(client: Client, envelope: Signed) -> int:
    return client.ask("PUT", PATH, dump(envelope)).status


def held(client: Client, after: int = 0) -> BlackholeOrder | None:
    answer = client.ask("GET", f"{PATH}?after={after}", signed=True)
    if answer.status == 204:
        return None
    assert answer.status == 200
    return parse(BlackholeOrder, parse(Signed, answer.body).payload)


def test_the_highest_order_counts_and_drain_orders_are_counted_apart(
    registry: Live, fleet: Fleet
) -> None:
    with registry.client(fleet.operator) as client:
        assert held(client) is None
        assert put(client, order(fleet, 3, entry())) == 201
        assert put(client, order(fleet, 3, entry())) == 204
        assert put(client, order(fleet, 2)) == 409
        drain = DRAIN.signed(fleet.key, DrainOrder(NETWORK, 1, ()))
        assert client.ask("PUT", "/api/v1/drain", dump(drain)).status == 201
        assert held(client) == BlackholeOrder(NETWORK, 3, (entry(),))
        assert held(client, after=3) is None


def test_why_and_what_is_discarded_is_read_by_members_and_the_operator_only(
    registry: Live, fleet: Fleet
) -> None:
    with registry.client() as anybody:
        assert put(anybody, order(fleet, 3, entry())) == 201
        assert anybody.ask("GET", PATH).status == 401
        assert b"flood" not in anybody.ask("GET", f"{PATH}?after=0").body
    for signer in (fleet.operator, fleet.node("ord-vultr-1")):
        with registry.client(signer) as client:
            assert held(client) == BlackholeOrder(NETWORK, 3, (entry(),))
    with registry.client(fleet.candidate("ord-vultr-1")) as client:
        assert client.ask("GET", PATH, signed=True).status == 401


def refused(fleet: Fleet) -> dict[str, Signed]:
    good = order(fleet, 6, entry())
    stranger, document = keys.new_operator_key()[0], BlackholeOrder(NETWORK, 6, (entry(),))
    drain = DrainOrder(NETWORK, 6, ())
    return {
        "a lower number": order(fleet, 4, entry(7)),
        "the same number with other entries": order(fleet, 5, entry(7)),
        "signed by a stranger": BLACKHOLE.signed(stranger, document),
        "signed as a drain order": signing.signed_document(fleet.key, Purpose.DRAIN, document),
        "a drain order": signing.signed_document(fleet.key, Purpose.BLACKHOLE, drain),
        "another network's": order(fleet, 2**53 - 1, entry(), network="as27218-lab"),
        "a changed order": replace(good, payload=good.payload.replace("flood", "food.")),
        "more than there may be": order(fleet, 6, *map(entry, range(MAX_BLACKHOLES + 1))),
    }


@pytest.mark.parametrize("case", ["a lower number", "the same number with other entries",
    "signed by a stranger", "signed as a drain order", "a drain order", "another network's",
    "a changed order", "more than there may be"])  # fmt: skip
def test_what_is_not_the_operators_highest_changes_nothing(
    registry: Live, fleet: Fleet, case: str
) -> None:
    with registry.client(fleet.operator) as client:
        assert put(client, order(fleet, 5, entry())) == 201
        assert put(client, refused(fleet)[case]) in (400, 403, 409)
        assert held(client) == BlackholeOrder(NETWORK, 5, (entry(),))


def test_who_waits_for_a_generation_hears_of_a_blackhole_order_at_once(
    registry: Live, fleet: Fleet
) -> None:
    answers: list[tuple[int, float]] = []

    def wait() -> None:
        with registry.client() as client:
            target = "/api/v1/manifest?after=5&wait=30&drain=0&blackhole=2"
            answer = client.ask("GET", target, timeout=PATIENCE)
            answers.append((answer.status, time.monotonic()))

    with registry.client() as client:
        assert put(client, order(fleet, 2)) == 201
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.3)  # it waits, for it knows this order
        assert not answers
        ordered = time.monotonic()
        assert put(client, order(fleet, 3, entry())) == 201
    thread.join(PATIENCE)
    assert answers[0][0] == 204
    assert answers[0][1] - ordered < 25  # and not 30, when the poll ends by itself


def test_an_order_survives_a_restart_and_is_verified_again(tmp_path: Path, fleet: Fleet) -> None:
    with live(tmp_path, signing_public(fleet.key)) as one, one.client() as client:
        assert put(client, order(fleet, 7, entry())) == 201
    with live(tmp_path, signing_public(fleet.key)) as again, again.client(fleet.operator) as client:
        assert held(client) == BlackholeOrder(NETWORK, 7, (entry(),))
    key, public = keys.new_operator_key()
    stranger = Signer("operator", "", key)
    with live(tmp_path, public) as other, other.client(stranger) as client:
        assert held(client) is None


def test_an_order_with_a_key_of_a_later_version_is_followed_all_the_same() -> None:
    text = dump(BlackholeOrder(NETWORK, 1, (entry(),))).decode()
    later = text.replace('"number"', '"later":1,"number"').replace('"until"', '"rate":5,"until"')
    assert parse(BlackholeOrder, later) == BlackholeOrder(NETWORK, 1, (entry(),))
    for wrong in ("192.30.120.0/24", "nothing", 5, "2620:71:4000::1%} ;x"):
        bad = text.replace('"192.30.120.200"', f'"{wrong}"')
        with pytest.raises(Malformed):
            parse(BlackholeOrder, bad)
