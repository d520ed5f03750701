"""What strangers may do to a registry's connections."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import resource
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from mesh.registry import paths, serve, tls
from mesh.registry.connections import PER_MEMBER, PER_STRANGER, STRANGERS
from mesh.registry.known_networks import PER_SIGNER
from mesh.trust.encoding import dump, sha256
from mesh.trust.keys import signing_public
from mesh.trust.requests import Signer
from tests.kit.registry import PLACES, Fleet, Live, live
from tests.kit.wait import PATIENCE, until

STATUS = f"{paths.API}/status"
HEALTH = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections have the time that a busy machine takes to make dozens of them."""
    monkeypatch.setattr(tls, "HANDSHAKE", PATIENCE)
    monkeypatch.setattr(tls, "HEAD", PATIENCE)


def plain(live: Live, source: str) -> socket.socket:
    """A connection whose handshake has not begun."""
    return socket.create_connection(
        ("127.0.0.1", live.port), timeout=PATIENCE, source_address=(source, 0)
    )


def line(live: Live, source: str) -> ssl.SSLSocket:
    """A connection over TLS that has asked for nothing yet."""
    return ssl._create_unverified_context().wrap_socket(plain(live, source))


def called(live: Live, source: str) -> bool:
    """Whether a new connection from there is served."""
    try:
        with line(live, source) as connection:
            return answered(connection)
    except OSError:
        return False


def answered(connection: ssl.SSLSocket) -> bool:
    try:
        connection.sendall(HEALTH)
        answer = b""
        while not answer.endswith(b"}") and (piece := connection.recv(4096)):
            answer += piece
        return answer.startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def test_an_answer_in_two_writes_does_not_wait_for_the_first_ones_ack(tmp_path: Path) -> None:
    """Its connections have TCP_NODELAY, as asyncio sets it where it knows them for TCP."""

    async def accepted() -> int:
        found = asyncio.get_running_loop().create_future()

        def look(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = writer.get_extra_info("socket")
            found.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        (listening,) = serve.sockets(serve.Settings(tmp_path, "", 0, "", ("127.0.0.1",)))
        async with await asyncio.start_server(look, sock=listening):
            with socket.create_connection(listening.getsockname()):
                return int(await found)

    assert asyncio.run(accepted())


@pytest.mark.usefixtures("unhurried")
def test_one_source_does_not_hold_all_connections(empty: Live) -> None:
    lines = [line(empty, "127.0.0.7") for _ in range(PER_STRANGER)]
    with line(empty, "127.0.0.8") as other:
        assert called(empty, "127.0.0.7")
        assert not answered(lines[0]), "the oldest makes room"
        assert answered(lines[1])
        assert answered(other)
    for one in lines:
        one.close()


@pytest.mark.usefixtures("unhurried")
def test_an_operator_gets_in_and_stays_behind_an_address_that_others_fill(
    registry: Live, fleet: Fleet
) -> None:
    """They hold all that the address may have, and go on coming."""
    with ExitStack() as held:
        for _ in range(PER_STRANGER):
            held.enter_context(plain(registry, "127.0.0.7"))
        with line(registry, "127.0.0.7") as mine:
            assert signed(mine, fleet) == 200
            for _ in range(2 * PER_MEMBER):
                held.enter_context(plain(registry, "127.0.0.7"))
            assert signed(mine, fleet) == 200
        until(
            lambda: asked(registry, fleet, "127.0.0.7") == 200, 10, "another one of his is served"
        )


def test_a_stolen_key_makes_few_networks_known(
    registry: Live, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each address of IPv4 is a network; a known one holds more connections than a stranger's."""
    monkeypatch.setattr(tls, "HANDSHAKE", 60.0)
    thief = fleet.node("lax-vultr-1")
    sources = [f"127.0.1.{1 + n}" for n in range(PER_SIGNER + 1)]
    with ExitStack() as held:
        first = {}
        for source in sources:
            assert asked(registry, fleet, source, thief) == 200
            first[source] = held.enter_context(plain(registry, source))
            for _ in range(PER_STRANGER):
                held.enter_context(plain(registry, source))
        assert ended(first[sources[-1]])
        assert [is_open(first[source]) for source in sources[:-1]] == [True] * PER_SIGNER


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_a_connection_that_ends_no_exchange_is_cut(
    empty: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "IDLE", 1.0)

    def only_the_silent_one_is_cut() -> bool:
        with line(empty, "127.0.0.7") as silent, line(empty, "127.0.0.7") as busy:
            assert answered(silent)
            silent.sendall(HEALTH[:9])
            for _ in range(10):
                time.sleep(0.2)
                if not answered(busy):
                    return False  # where this test gets no processor, it is silent as well
            return not answered(silent)

    until(only_the_silent_one_is_cut, 5, "one is cut, and the other is not")


def test_who_asks_for_nothing_is_cut(empty: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HEAD", 0.2)
    with line(empty, "127.0.0.7") as silent:
        silent.sendall(HEALTH[:9])
        assert ended(silent)


def test_a_handshake_that_does_not_end_is_cut(empty: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE", 0.2)
    with plain(empty, "127.0.0.7") as silent, plain(empty, "127.0.0.7") as dribbling:
        dribbling.sendall(b"\x16\x03\x01")
        assert ended(silent) and ended(dribbling)


def test_many_hosts_half_open_connections_cost_little_and_lock_nobody_out(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as many as strangers have places, of hosts that are each within the limits. Whoever
    comes then is served: strangers, nodes, and an operator whose address nobody knows."""
    monkeypatch.setattr(serve, "TIDY", 0.5)
    operator = signing_public(fleet.key)
    with live(tmp_path, operator) as registry, ExitStack() as held:
        with registry.client(fleet.operator) as client:
            assert client.ask("PUT", "/api/v1/planned", dump(fleet.planned()), signed=True).ok
        before = resident()
        for number in range(2 * STRANGERS):
            held.enter_context(plain(registry, f"127.1.0.{1 + number // 20}"))
        assert called(registry, PLACES["ord-vultr-1"])
        until(lambda: called(registry, "127.0.0.8"), 5, "a stranger is served")
        until(lambda: asked(registry, fleet, "127.0.0.9") == 200, 5, "the operator is served")
        assert resident() - before < 128
        held.close()
        until(lambda: resident() - before < 24, 5, "the memory is given back")


def asked(live: Live, fleet: Fleet, source: str, signer: Signer | None = None) -> int:
    """The status of a signed request from there (the operator's, unless said); 0 where nobody
    answers."""
    try:
        nonce = live.raw("GET", "/api/v1/nonce", source=source)[2]["replay-nonce"]
        header = (signer or fleet.operator).header("GET", STATUS, b"", nonce)
        return live.raw("GET", STATUS, {"Authorization": header}, source=source)[0]
    except OSError:
        return 0


def signed(connection: ssl.SSLSocket, fleet: Fleet) -> int:
    """The status of the operator's signed request over that connection."""
    nonce = exchange(connection, paths.NONCE, "")[1][paths.NONCE_HEADER]
    header = fleet.operator.header("GET", STATUS, b"", nonce)
    return exchange(connection, STATUS, f"Authorization: {header}\r\n")[0]


def exchange(connection: ssl.SSLSocket, target: str, header: str) -> tuple[int, Mapping[str, str]]:
    """Status and headers of an answer."""
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status, {name.lower(): value for name, value in response.getheaders()}


@pytest.mark.usefixtures("unhurried")
def test_who_asks_for_the_bundle_and_does_not_read_it_costs_little(
    fleet: Fleet, tmp_path: Path
) -> None:
    """The bundle is held once, whoever has asked for it."""
    large = os.urandom(8 << 20)
    ask = f"GET {paths.BUNDLE}/{sha256(large)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with live(tmp_path, signing_public(fleet.key), large) as registry, ExitStack() as held:
        before = resident()
        lines = [held.enter_context(line(registry, f"127.0.2.{n}")) for n in range(1, 33)]
        for one in lines:
            one.sendall(ask)
            assert one.recv(12) == b"HTTP/1.1 200"
        assert called(registry, "127.0.0.8")
        assert resident() - before < 64
        content = b""
        while len(content) < len(large):
            piece = lines[-1].recv(1 << 20)
            assert piece, "the answer was cut"
            content += piece
        assert content.endswith(large[-(1 << 16) :])


def test_an_answer_that_is_held_is_that_of_the_generation_in_force(
    registry: Live, fleet: Fleet
) -> None:
    node = "ord-vultr-1"
    targets = [f"{paths.PARTS}/{node}", f"{paths.API}/nodes/{node}/config", paths.MANIFEST]
    with registry.client(fleet.operator) as client:
        first = [client.ask("GET", target, signed=True).body for target in targets]
        assert [client.ask("GET", target, signed=True).body for target in targets] == first
        sixth = fleet.generation(6)
        body = dump(sixth.generation)
        assert client.ask("PUT", paths.PACKED, body, signed=True).status == 201
        part, config, manifest = (client.ask("GET", t, signed=True).body for t in targets)
    assert part.decode() == sixth.generation.part(node)
    assert json.loads(config)["generation"] == 6
    assert json.loads(manifest)["payload"] == sixth.generation.manifest.payload


def test_rows_are_counted_anew_after_a_write(registry: Live, fleet: Fleet) -> None:
    with registry.client(fleet.operator) as client:
        assert json.loads(client.ask("GET", STATUS, signed=True).body)["rows"]["bundle"] == 1
        assert client.ask("PUT", paths.BUNDLE, b"another", signed=True).ok
        assert json.loads(client.ask("GET", STATUS, signed=True).body)["rows"]["bundle"] == 2


def ended(connection: socket.socket) -> bool:
    """Whether the other end closes it, before our patience ends."""
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def resident() -> float:
    """MiB of this process, in which the registry is."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def first_word(lines: list[ssl.SSLSocket]) -> tuple[ssl.SSLSocket, bytes] | None:
    """Which of them is told something, and what."""
    for one in lines:
        with suppress(TimeoutError):
            return one, one.recv(64)
    return None


@pytest.mark.usefixtures("unhurried")
def test_few_large_bodies_of_strangers_are_held_at_once(empty: Live) -> None:
    large = b"PUT /api/v1/manifest HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\nx"
    lines = [line(empty, "127.0.0.7") for _ in range(3)]
    for one in lines:
        one.sendall(large)
        one.settimeout(0.1)
    heard, words = until(lambda: first_word(lines), 5, "one is told something")
    assert words.startswith(b"HTTP/1.1 429")
    assert empty.raw("PUT", "/api/v1/manifest", body=b"{}", source="127.0.0.8")[0] == 400
    next(one for one in lines if one is not heard).close()
    small = partial(empty.raw, "PUT", "/api/v1/manifest", body=b"{}", source="127.0.0.7")
    until(lambda: small()[0] == 400, 5, "there is room for another")
    for one in lines:
        one.close()
