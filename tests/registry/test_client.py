"""A registry that lies holds up nobody."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mesh.registry import client as client_module
from mesh.registry.client import Answer, Client, Unreachable
from tests.kit.registry import Live, certify
from tests.kit.wait import PATIENCE

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@pytest.fixture
def dribbler(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that answers with a beginning, and then the next byte just before each timeout."""
    certify(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    listening = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            connection = context.wrap_socket(listening.accept()[0], server_side=True)
            connection.recv(4096)
            connection.sendall(request.param)
            while not stop.wait(0.1):
                connection.sendall(b"x")

    threading.Thread(target=serve, daemon=True).start()
    yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    stop.set()
    listening.close()


@pytest.mark.parametrize("dribbler", [HEAD, b"HTTP/1.1 200 OK\r\nX: "], indirect=True)
def test_an_answer_that_dribbles_has_an_end(dribbler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A second in all, although each byte of it may take our patience.
    monkeypatch.setattr(client_module, "SLOWEST", 1.0 - PATIENCE)
    began = time.monotonic()
    with (
        Client(dribbler, timeout=PATIENCE) as client,
        pytest.raises(Unreachable, match=r"timed out|does not end"),
    ):
        client.ask("GET", "/api/v1/manifest")
    assert 0.9 < time.monotonic() - began < PATIENCE


@pytest.mark.parametrize(
    "dribbler",
    [
        b"HTTP/1.1 2\x1b[2J\x9b\r\n",
        b"\x1b]0;x\x07\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \x1b[31m\r\n\r\n" + b"\x1b[2J" * 2_000_000,
    ],
    indirect=True,
)
def test_a_registry_does_not_speak_to_the_terminal(dribbler: str) -> None:
    """Neither by its status line, nor by what the connection says of it."""
    with Client(dribbler, timeout=PATIENCE) as client, pytest.raises(Unreachable) as caught:
        client.ask("GET", "/api/v1/manifest", limit=1000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_its_answers_are_one_line() -> None:
    why = Answer(409, "no\x1b[2J\r\nway \u202eout\x9b".encode()).why()
    assert why == "HTTP 409 no way out"


def test_a_kept_connection_that_was_closed_is_opened_again(registry: Live) -> None:
    with registry.client() as client:
        assert client.ask("GET", "/api/v1/manifest").ok
        assert client._connection is not None
        client._connection.sock.shutdown(socket.SHUT_RDWR)
        assert client.ask("GET", "/api/v1/manifest").ok


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 9.5),
        ("Sun, 06 Nov 1994 08:49:57 GMT", -10.5),
        ("", None),
        ("yesterday", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
        (None, None),
    ],
)
def test_a_registrys_date_tells_how_far_our_clock_is_ahead(
    date: str | None, ahead: float | None
) -> None:
    assert client_module._ahead(date, 784111787.0, 784111787.0) == ahead


@pytest.mark.parametrize("second", [0, 12, 25])
def test_the_date_of_an_answer_that_was_waited_for_is_of_any_moment_meanwhile(second: int) -> None:
    """A registry's news come after 25 s, with the date of the question."""
    date = f"Sun, 06 Nov 1994 08:49:{second:02d} GMT"
    assert client_module._ahead(date, 784111740.0, 784111765.9) == 0


def test_a_registry_tells_its_time(empty: Live) -> None:
    with empty.client() as client:
        assert client.ask("GET", "/api/v1/health").ok
        assert client.ahead is not None
        assert abs(client.ahead) < PATIENCE
