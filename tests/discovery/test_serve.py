"""What strangers may do to a registry's connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path

import pytest

from mesh.discovery import serve
from tests.discovery.live import Live

HEALTH = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"


def line(live: Live, source: str) -> ssl.SSLSocket:
    """A connection over TLS that has asked for nothing yet."""
    context = ssl._create_unverified_context()
    plain = socket.create_connection(
        ("127.0.0.1", live.port), timeout=10, source_address=(source, 0)
    )
    return context.wrap_socket(plain)


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


def test_one_source_does_not_hold_all_connections(empty: Live) -> None:
    lines = [line(empty, "127.0.0.7") for _ in range(serve.PER_SOURCE)]
    assert not answered(line(empty, "127.0.0.7"))
    assert answered(line(empty, "127.0.0.8"))
    assert answered(lines[0])
    for one in lines[:3]:
        one.close()
    time.sleep(0.3)
    assert answered(line(empty, "127.0.0.7"))
    for one in lines[3:]:
        one.close()


def test_a_connection_that_ends_no_exchange_is_cut(
    empty: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "PATIENCE", 0.6)
    with line(empty, "127.0.0.7") as silent, line(empty, "127.0.0.7") as busy:
        silent.sendall(HEALTH[:9])
        for _ in range(4):
            time.sleep(0.3)
            assert answered(busy)
        assert not answered(silent)


def test_few_large_bodies_of_strangers_are_held_at_once(empty: Live) -> None:
    large = b"PUT /api/v1/manifest HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\nx"
    lines = [line(empty, "127.0.0.7") for _ in range(3)]
    for one in lines:
        one.sendall(large)
        time.sleep(0.3)
    assert lines[2].recv(64).startswith(b"HTTP/1.1 429")
    assert empty.raw("PUT", "/api/v1/manifest", body=b"{}", source="127.0.0.8")[0] == 400
    lines[0].close()
    time.sleep(0.3)
    assert empty.raw("PUT", "/api/v1/manifest", body=b"{}", source="127.0.0.7")[0] == 400
    for one in lines[1:]:
        one.close()
