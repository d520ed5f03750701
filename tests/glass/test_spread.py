"""Glasses of several nodes, and nodes that answer as no glass does."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from mesh.glass import calls
from mesh.glass.answers import Answer, NodeAnswer
from mesh.glass.snapshot import Snapshot
from tests.glass.glasses import (
    END,
    EWR,
    LAX,
    MIA,
    ORD,
    get,
    network,
    place,
    running,
    says,
    snapshot_of,
    waits,
)
from tests.kit.ports import free_port
from tests.kit.wait import BUSY, PATIENCE

SECONDS = 2.2
"""For a page, whoever does not answer; more where this machine is busy."""

WAY = """\
1007-Table master4:
 127.0.7.2/32         unicast [u_mia_vultr_1 1795993300] * (100/57) [AS4200000002i]
 \tvia fe80::3 on wg-mia-vultr-1
1008-\tType: BGP univ
1012-\tBGP.as_path: 4200000003 4200000002
 \tBGP.next_hop: :: fe80::3
 \tBGP.local_pref: 999943
"""


def nodes(port: int, target: str = "nodes") -> dict[str, Any]:
    found = get(port, f"/api/v1/{target}").json()["nodes"]
    assert isinstance(found, dict)
    return found


@pytest.fixture(autouse=True)
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a node too long is said by tests of their own."""
    waits(monkeypatch)


@contextmanager
def mesh(folder: Path, port: int, *which: str, **answers: Any) -> Iterator[None]:
    """The glasses of these nodes."""
    with ExitStack() as stack:
        for node in which:
            known = answers.get(node.replace("-", "_"), says())
            snapshot = snapshot_of(node, time.time())
            stack.enter_context(running(folder / node, network(port), node, known, snapshot))
        # Each would listen at loopback; the first one there answers.
        yield


@contextmanager
def peer(port: int, node: int, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """A node that answers as it wants."""
    with socket.create_server((str(place(node)), port)) as listener:

        def work() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        serve(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def response(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def sends(data: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(data)

    return serve


def dribbles(connection: socket.socket) -> None:
    connection.recv(4096)
    end = time.monotonic() + 4
    while time.monotonic() < end:
        connection.sendall(b"H")
        time.sleep(0.1)


def is_silent(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def answer(node: str, of: str | None = None, at: float | None = None) -> bytes:
    """A good answer of that node."""
    snapshot = snapshot_of(of or node, time.time() if at is None else at)
    made = Answer(asked={}, at=0.0, nodes={node: NodeAnswer(ok=True, data=snapshot)})
    return TypeAdapter(Answer[Snapshot]).dump_json(made)


def changed(**fields: Any) -> bytes:
    document = json.loads(answer(MIA))
    document["nodes"][MIA]["data"] |= fields
    return json.dumps(document).encode()


BROKEN: list[tuple[str, Callable[[socket.socket], None], str]] = [
    ("nothing", lambda c: c.shutdown(socket.SHUT_RDWR), "it answers nothing"),
    ("silence", is_silent, "no answer within 2 s"),
    ("a dribble", dribbles, "its answer does not end within 2 s"),
    ("HTML", sends(response(b"<html>", kind="text/html")), "its answer is no JSON (status 200)"),
    ("no HTTP", sends(b"SSH-2.0-OpenSSH_9.6\r\n"), "its answer is no HTTP"),
    ("10 MB", sends(response(b"[" * 10_000_000)), "it sends more than 256 KiB"),
    ("deep JSON", sends(response(b"[" * 100_000)), "its answer is none of this version"),
    ("half of it", sends(response(answer(MIA))[:-5]), "its answer is cut off"),
    ("another node's name", sends(response(answer(ORD))), "it answers as another node"),
    ("another's snapshot", sends(response(answer(MIA, of=ORD))), "it answers as another node"),
    ("no data", sends(response(b'{"asked":{},"at":0,"nodes":{"mia-vultr-1":{"ok":true}}}')),
     "its answer is empty"),
    ("a list", sends(response(b"[]")), "its answer is none of this version"),
    ("another type", sends(response(changed(sessions=5))), "nodes.mia-vultr-1.data.sessions"),
    ("no number", sends(response(changed(at="now"))), "nodes.mia-vultr-1.data.at"),
    ("infinity", sends(response(changed(at=math.inf))), "nodes.mia-vultr-1.data.at"),
    ("an error", sends(response(b'{"error":{"key":"a","value":"b","reason":"<b>\\u001b[1mno",'
     b'"cure":"c"}}', "503 x")), "it answers 503: <b>no"),
    ("an error page", sends(response(b"{}", "500 x")), "it answers 500"),
    ("another place", sends(response(b"{}", "302 Found")), "it answers 302"),
]  # fmt: skip


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a glass, with no other node there."""
    port = free_port()
    with mesh(tmp_path_factory.mktemp("glass"), port, LAX):
        yield port


@pytest.mark.parametrize(("serve", "why"), [row[1:] for row in BROKEN], ids=[r[0] for r in BROKEN])
def test_a_node_that_answers_as_no_glass_does_is_left_out(
    lone: int,
    serve: Callable[[socket.socket], None],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if why.endswith("within 2 s"):
        monkeypatch.setattr(calls.call, "__defaults__", (calls.SECONDS,))
    with peer(lone, 3, serve):
        begin = time.monotonic()
        found = nodes(lone)
        took = time.monotonic() - begin
    assert list(found) == [node.id for node in network().nodes]
    assert found[LAX]["ok"]
    assert not found[MIA]["ok"]
    assert why in found[MIA]["why"]
    assert found[ORD]["why"] == "its looking glass does not run"
    assert took < SECONDS * BUSY


def test_a_snapshot_of_the_future_is_shown_as_what_it_is(lone: int) -> None:
    future = sends(response(answer(MIA, at=time.time() + 1000)))
    with peer(lone, 3, future):
        found = nodes(lone)
    assert found[MIA]["ok"]
    assert "ahead of this node's clock" in found[MIA]["why"]


def test_nodes_are_asked_for_themselves_alone(lone: int) -> None:
    """There is no second hop, and the question is the parsed one."""
    heard: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        heard.append(connection.recv(4096))

    with peer(lone, 3, serve):
        nodes(lone, "route?node=all&more=0&for=2001:DB8:0::1")
    (request,) = heard
    line, host, *_ = request.decode().split("\r\n")
    assert line == "GET /api/v1/route?for=2001%3Adb8%3A%3A1&node=all&here=1 HTTP/1.1"
    assert host == f"Host: {place(3)}:{lone}"


def test_all_nodes_answer_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.glass.access.LOOPBACK", ())
    port = free_port()
    lax = {"show route for 127.0.7.2 table master4 all": WAY + END}
    with mesh(tmp_path, port, LAX, ORD, MIA, EWR, lax_vultr_1=says(lax)):
        found = get(port, "/api/v1/nodes", at=str(place(1))).json()["nodes"]
        assert isinstance(found, dict)
        assert all(found[node]["ok"] for node in (LAX, ORD, MIA, EWR))
        assert all(found[node]["data"]["node"] == node for node in (LAX, ORD, MIA, EWR))
        way = get(port, f"/api/v1/way?from={LAX}&to={ORD}", at=str(place(2))).json()["nodes"]
        assert isinstance(way, dict)
        data = way[LAX]["data"]
        assert [hop["node"] for hop in data["planned"]] == [LAX, ORD]
        assert [hop["node"] for hop in data["in_use"]] == [LAX, MIA, ORD]
        assert data["in_use"][0]["cost"] == 0 < data["in_use"][1]["cost"]


def test_a_node_that_runs_no_glass_is_asked_nothing(tmp_path: Path) -> None:
    port = free_port()
    planned = network(port)
    planned = replace(
        planned, nodes=tuple(replace(n, os="openbsd") if n.id == MIA else n for n in planned.nodes)
    )
    called: list[socket.socket] = []
    with (
        running(tmp_path, planned, LAX, says(), snapshot_of(LAX, time.time())),
        peer(port, 3, called.append),
    ):
        assert MIA not in nodes(port)
        alone = nodes(port, f"route?for=192.0.2.1&node={MIA}")[MIA]
        assert (alone["ok"], alone["why"]) == (
            False,
            "no looking glass runs there: ask another node",
        )
        with socket.create_connection((str(place(3)), port)) as last:
            assert last.recv(1) == b"", "whoever has called before was seen before"
    assert len(called) == 1


def test_the_second_address_is_called_when_the_first_does_not_answer() -> None:
    """A tunnel may carry one family alone."""
    with socket.create_server(("127.0.7.9", 0)) as server:
        port = server.getsockname()[1]

        def work() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(response(b"{}"))

        threading.Thread(target=work, daemon=True).start()
        found = calls.call({"a": (place(66), place(9))}, port, "/")
    assert found["a"].body == b"{}"


def test_a_node_that_nobody_reaches_has_the_reason() -> None:
    found = calls.call({"a": (), "b": (place(66),)}, free_port(), "/")
    assert found["a"].why == "it has no address"
    assert found["b"].why == "its looking glass does not run"


def test_more_nodes_than_are_called_at_once_are_all_called() -> None:
    most = 0
    lock = threading.Lock()
    begun: set[socket.socket] = set()

    def work(connection: socket.socket) -> None:
        with connection:
            connection.recv(4096)
            with lock:
                begun.discard(connection)
            connection.sendall(response(b"{}"))

    def accept(server: socket.socket) -> None:
        nonlocal most
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with lock:
                begun.add(connection)
                most = max(most, len(begun))
            threading.Thread(target=work, args=(connection,), daemon=True).start()

    with socket.create_server(("", 0), backlog=256) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        named = {str(n): (IPv4Address(f"127.0.9.{n}"),) for n in range(1, 201)}
        found = calls.call(named, server.getsockname()[1], "/", seconds=PATIENCE)
        server.shutdown(socket.SHUT_RDWR)
    assert {reply.body for reply in found.values()} == {b"{}"}
    assert len(found) == 200
    assert most <= calls.AT_ONCE
