"""What a node makes of a registry's words, over a real connection."""

from __future__ import annotations

import contextlib
import math
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from mesh.agent.host import Host
from mesh.agent.registry_client import Callbacks, RegistryLink
from mesh.agent.state import Rejected, State, verified, verified_order
from mesh.registry import gate, paths
from mesh.registry.client import Client, Unreachable
from mesh.registry.store import NotStored, Store
from mesh.trust import joining, keys, signing
from mesh.trust.documents import DrainOrder, RefusedJoin, RolloutOrder
from mesh.trust.encoding import dump, parse
from mesh.trust.orders import DRAIN, ROLLOUT, OrderKind
from mesh.trust.signing import Purpose, Signed
from tests.kit.registry import certify, holding, live, shared_fleet
from tests.kit.wait import until

FLEET = shared_fleet()
OPERATOR = keys.signing_public(FLEET.key)
NODE = "lax-vultr-1"


def listening(url: str, state: State, stop: threading.Event | None = None) -> RegistryLink:
    def offered(_: OrderKind[Any], envelope: Signed, __: str) -> int:
        ordered = verified_order(OPERATOR, DRAIN, envelope)
        with contextlib.suppress(Rejected):
            state.accept_order(ordered)
        return ordered.number

    def manifest(envelope: Signed, _: str) -> int:
        known = verified(OPERATOR, envelope)
        with contextlib.suppress(Rejected):
            state.accept(known)
        return known.number

    callbacks = Callbacks(
        held=lambda: state.highest,
        ordered=state.order,
        is_member=lambda: True,
        request=lambda: None,
        offer=manifest,
        offer_order=offered,
        certificate=lambda *_: None,
    )
    return RegistryLink(url, FLEET.node(NODE), callbacks, stop or threading.Event())


@pytest.mark.parametrize("network", ["as27218-prod", "as27218-lab"])
def test_only_an_order_of_our_network_counts_in_what_is_waited_for(
    tmp_path: Path, network: str
) -> None:
    """Else a node would wait for what is above another network's number, and miss its own."""
    state = State(Host(tmp_path / "node"), OPERATOR, lambda _: True)
    state.accept(verified(OPERATOR, FLEET.generation(1).generation.manifest))
    order = DrainOrder(network, 2**40, (NODE,))
    envelope = signing.signed_document(FLEET.key, Purpose.DRAIN, order)
    with live(tmp_path / "registry", OPERATOR) as registry, registry.client() as client:
        # It knows no generation, so it cannot tell whose order it is.
        assert client.ask("PUT", "/api/v1/drain", dump(envelope)).ok
        line, began = listening(registry.url, state), time.monotonic()
        assert line.asked(DRAIN) == -math.inf
        if network == "as27218-prod":
            assert line._take_order(client, DRAIN, fresh=True) == 2**40
            assert began <= line.asked(DRAIN) <= time.monotonic()
        else:
            with pytest.raises(Unreachable, match="not ours"):
                line._take_order(client, DRAIN, fresh=True)
            assert state.order(DRAIN) is None
            assert line.asked(DRAIN) == -math.inf, "it has not said what counts"


@pytest.mark.parametrize("earlier", [False, True])
def test_a_node_that_sends_from_another_address_than_planned_is_heard_by_the_operator(
    tmp_path: Path, earlier: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry of an earlier version does not listen; the node goes on asking it."""
    state = State(Host(tmp_path / "node"), OPERATOR, lambda _: False)
    if earlier:
        later = tuple(door for door in gate.DOORS if not door.path.fullmatch(paths.REFUSED_JOINS))
        monkeypatch.setattr(gate, "DOORS", later)
    node = "ord-vultr-1"  # planned at 127.0.0.2
    with live(tmp_path / "registry", OPERATOR) as registry, registry.client() as client:
        with registry.client(FLEET.operator) as operator:
            assert operator.ask("PUT", paths.PLANNED, dump(FLEET.planned()), signed=True).ok
        line = listening(registry.url, state)
        request = joining.join_request(FLEET.token(node), node, FLEET.facts[node])
        line._callbacks = replace(
            line._callbacks, request=lambda: request, candidate=FLEET.candidate(node)
        )
        for _ in range(2):
            with pytest.raises(Unreachable, match=r"403 .*not a planned node at this address"):
                line._join(client, fresh=False, member=False)
        heard = registry.registry.refused_joins()
    assert heard == ([] if earlier else [RefusedJoin(IPv4Address("127.0.0.1"), request)])


@contextlib.contextmanager
def lying(
    folder: Path, answers: Mapping[str, bytes], nonce: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """A registry that answers at once, and always the same: a document where it has one, else that
    nothing is new; to a signed request only where it gives a nonce. Its URL, and what it is
    asked."""
    asked: list[str] = []

    class Liar(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            body = answers.get(self.path.partition("?")[0])
            self.send_response(204 if body is None else 200)
            if nonce:
                self.send_header(paths.NONCE_HEADER, nonce)
            if body is not None:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body or b"")

        def do_PUT(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204)
            self.end_headers()

        def do_POST(self) -> None:
            self.do_PUT()

        def log_message(self, *_: object) -> None:
            pass

    certify(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def drain(number: int) -> bytes:
    return dump(DRAIN.signed(FLEET.key, DrainOrder("as27218-prod", number, (NODE,))))


def obeyed(state: State, number: int) -> bool:
    held = state.order(DRAIN)
    return held is not None and held.number == number


LIES: dict[str, dict[str, bytes]] = {
    "nothing new, at once": {},
    "an old order": {paths.DRAIN: drain(3)},
    "an old generation": {paths.MANIFEST: dump(FLEET.generation(1).generation.manifest)},
    "both": {
        paths.DRAIN: drain(3),
        paths.MANIFEST: dump(FLEET.generation(1).generation.manifest),
    },
    "an order that we hold": {paths.DRAIN: drain(7)},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_registry_that_answers_at_once_without_news_is_asked_less_and_less(
    tmp_path: Path, lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However it is done: what the operator has signed once stays validly signed for ever."""
    state = State(Host(tmp_path / "node"), OPERATOR, lambda _: True)
    state.accept(verified(OPERATOR, FLEET.generation(2).generation.manifest))
    state.accept_order(verified_order(OPERATOR, DRAIN, parse(Signed, drain(7))))
    stop = threading.Event()
    with lying(tmp_path / "liar", LIES[lie]) as (url, asked):
        line = listening(url, state, stop)
        thread = threading.Thread(target=line._listen, daemon=True)
        thread.start()
        try:
            until(lambda: len(asked) >= 10, 20, "it is asked again")
            stop.wait(2)  # by then a line without pauses has asked hundreds of times
            assert len(asked) <= 60
        finally:
            stop.set()
    assert len([record for record in caplog.records if record.thread == thread.ident]) <= 2
    held = state.order(DRAIN)
    assert held is not None and held.number == 7


@pytest.mark.parametrize(("ipv6", "wait"), [(True, 25), (False, 1)])
def test_a_member_that_has_just_connected_looks_again_soon_for_its_ipv6_address(
    tmp_path: Path, ipv6: bool, wait: int
) -> None:
    """Where it has one, it need not look: that takes five processes."""
    found = FLEET.facts[NODE]
    facts = found if ipv6 else replace(found, ipv6=None, gateway6=None)
    request = joining.join_request(FLEET.token(NODE), NODE, facts)
    state = State(Host(tmp_path / "node"), OPERATOR, lambda _: True)
    with lying(tmp_path / "registry", {}, nonce="0" * 96) as (url, asked):
        line = listening(url, state)
        line._callbacks = replace(line._callbacks, request=lambda: request)
        with Client(url, FLEET.node(NODE)) as client:
            line._round(client, fresh=True)
    assert [path for path in asked if f"wait={wait}&" in path], asked


def test_who_is_answered_early_because_of_an_order_takes_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mesh.agent.registry_client.PATIENCE", (600.0, 600.0)
    )  # so long is no order waited for
    state = State(Host(tmp_path / "node"), OPERATOR, lambda _: True)
    state.accept(verified(OPERATOR, FLEET.generation(1).generation.manifest))
    stop = threading.Event()
    with live(tmp_path / "registry", OPERATOR) as registry, registry.client() as client:
        line = listening(registry.url, state, stop)
        threading.Thread(target=line._listen, daemon=True).start()
        try:
            for number in range(1, 9):
                assert client.ask("PUT", paths.DRAIN, drain(number)).ok
                until(partial(obeyed, state, number), 1, "it is taken")
        finally:
            stop.set()


def test_whether_a_registry_answers_is_known_before_a_long_wait_ends(tmp_path: Path) -> None:
    state = State(Host(tmp_path / "node"), OPERATOR, lambda _: True)
    state.accept(verified(OPERATOR, FLEET.generation(1).generation.manifest))
    stop = threading.Event()
    with live(tmp_path / "registry", OPERATOR) as registry:
        line = listening(registry.url, state, stop)
        assert line.answers is None
        threading.Thread(target=line._listen, daemon=True).start()
        until(lambda: line.answers is True, 10, "it answers")
    try:
        until(lambda: line.answers is False, 30, "it is gone")
    finally:
        stop.set()


def test_a_registry_that_cannot_store_a_report_is_logged_once_and_gets_it_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.agent.registry_client.PATIENCE", (0.02, 0.02))
    tries: list[float] = []
    honest = Store.put_report

    def full(store: Store, *given: Any) -> str | None:
        tries.append(time.monotonic())
        if len(tries) <= 4:
            raise NotStored("database or disk is full")
        return honest(store, *given)

    monkeypatch.setattr(Store, "put_report", full)
    stop = threading.Event()
    (tmp_path / "registry").mkdir()
    with holding(tmp_path / "registry", FLEET) as registry:
        state = State(Host(tmp_path / "node"), OPERATOR, lambda _: True)
        line = listening(registry.url, state, stop)
        line.report(FLEET.report(NODE, FLEET.fifth))
        thread = threading.Thread(target=line._send_reports, daemon=True)
        thread.start()
        until(registry.registry.store.reports, 10, "it is held")
        stop.set()
        thread.join(10)
    said = [record.getMessage() for record in caplog.records if record.thread == thread.ident]
    assert len(said) == 1 and "HTTP 507" in said[0] and "disk is full" in said[0]


def test_the_agent_hears_of_a_registry_that_is_back(tmp_path: Path) -> None:
    """It may be another one, which has no report of this node."""
    state = State(Host(tmp_path / "node"), OPERATOR, lambda _: True)
    state.accept(verified(OPERATOR, FLEET.generation(1).generation.manifest))
    stop, told = threading.Event(), list[bool]()
    answers = {paths.DRAIN: b"no order"}
    with lying(tmp_path / "registry", answers) as (url, _):
        line = listening(url, state, stop)
        line._callbacks = replace(
            line._callbacks, is_member=lambda: False, back=lambda: told.append(not answers)
        )
        threading.Thread(target=line._listen, daemon=True).start()
        try:
            until(lambda: line.answers is False, 10, "what it says is no order")
            answers.clear()
            until(lambda: told, 10, "it is back")
        finally:
            stop.set()
    assert told[0], "and not before"


def test_a_registry_of_an_earlier_version_has_no_rollout_orders_and_is_asked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the order that the node holds nor the question for one ends the connection."""
    earlier = tuple(door for door in gate.DOORS if not door.path.fullmatch(paths.ROLLOUT))
    monkeypatch.setattr(gate, "DOORS", earlier)
    state = State(Host(tmp_path / "node"), OPERATOR, lambda _: True)
    state.accept(verified(OPERATOR, FLEET.fifth.generation.manifest))
    order = RolloutOrder(FLEET.network, 3, 5, FLEET.fifth.digest, (NODE,))
    state.accept_order(verified_order(OPERATOR, ROLLOUT, ROLLOUT.signed(FLEET.key, order)))
    with live(tmp_path / "registry", OPERATOR) as registry:
        registry.registry.accept_packed(dump(FLEET.fifth.generation))
        line = listening(registry.url, state)
        client = Client(registry.url, FLEET.node(NODE))
        assert line._take_order(client, ROLLOUT, fresh=True) == 3
        assert line.asked(ROLLOUT) == -math.inf, "it has not said that there is none"
        client.close()
