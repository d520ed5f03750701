"""RTR as servers speak it, well and badly: raw PDUs of RFC 8210 and RFC 6810 from a socket."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.rpki import SourceError, Vrp, VrpList, read
from mesh.rpki.rtr import ask
from mesh.rpki.selection import Selection
from mesh.spec.vrps import VrpServer
from tests.kit.wait import PATIENCE, until
from tests.rpki.vrps import vrp, vrps

OURS = (ip_network("192.30.120.0/23"), ip_network("2620:71:4000::/48"))
KNOWN = vrps("192.30.120.0/23-24 27218", "2620:71:4000::/48 27218", "203.0.113.0/24 4294967295")
READ = VrpList(frozenset(KNOWN[:2]), seen=3, expired=0)
SESSION = 7


def header(version: int, kind: int, field: int, length: int) -> bytes:
    return struct.pack("!BBHI", version, kind, field, length)


def prefix(version: int, each: Vrp, flags: int = 1) -> bytes:
    four = each.prefix.version == 4
    address = each.prefix.network_address.packed
    said = struct.pack("!BBBx", flags, each.prefix.prefixlen, each.max_length)
    return (
        header(version, 4 if four else 6, 0, 20 if four else 32)
        + said
        + address
        + struct.pack("!I", each.asn)
    )


def begin(version: int) -> bytes:
    return header(version, 3, SESSION, 8)


def end(version: int, session: int = SESSION) -> bytes:
    timers = struct.pack("!III", 3600, 600, 7200) if version else b""
    return header(version, 7, session, 12 + len(timers)) + struct.pack("!I", 1) + timers


def data(version: int) -> bytes:
    return begin(version) + b"".join(prefix(version, each) for each in KNOWN) + end(version)


def notify(version: int) -> bytes:
    return header(version, 0, SESSION, 12) + struct.pack("!I", 1)


def error(version: int, code: int, text: str = "", quoted: bytes = b"") -> bytes:
    body = struct.pack("!I", len(quoted)) + quoted + struct.pack("!I", len(text)) + text.encode()
    return header(version, 10, code, 8 + len(body)) + body


def router_key() -> bytes:
    return header(1, 9, 0x100, 8 + 20 + 4 + 91) + bytes(20 + 4 + 91)


Talk = Callable[[socket.socket, bytes], None]
"""What a server does with a connection after its query of eight bytes."""


class Server:
    """Speaks with one client after the other; ``queries`` is what they asked."""

    def __init__(self, talk: Talk) -> None:
        self.queries: list[bytes] = []
        self.over = threading.Event()
        self._talk = talk
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.source = VrpServer("127.0.0.1", self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE)
                try:
                    query = connection.recv(8)
                    self.queries.append(query)
                    self._talk(connection, query)
                except OSError:
                    continue  # the client has had enough

    def close(self) -> None:
        self.over.set()
        # Closing alone would not wake who waits in accept().
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(PATIENCE)


Serve = Callable[[Talk], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(talk: Talk) -> Server:
        servers.append(Server(talk))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def reset(connection: socket.socket) -> None:
    """End a connection the hard way."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def resets_version_1(connection: socket.socket, query: bytes) -> None:
    if query[0]:
        reset(connection)
    else:
        connection.sendall(data(0))


@pytest.fixture
def serve_once(serve: Serve) -> Callable[[bytes], Server]:
    """One server for many answers, one after the other."""
    answer = b""
    server = serve(lambda connection, _: connection.sendall(answer))

    def say(next_answer: bytes) -> Server:
        nonlocal answer
        answer = next_answer
        return server

    return say


def says(answer: bytes) -> Talk:
    return lambda connection, _: connection.sendall(answer)


def by_version(answers: dict[int, bytes]) -> Talk:
    """An answer to each version, then the end of the connection."""
    return lambda connection, query: connection.sendall(answers[query[0]])


@pytest.mark.parametrize(
    ("talk", "asked"),
    [
        pytest.param(says(data(1)), [1], id="version 1"),
        pytest.param(says(notify(1) + data(1)), [1], id="notified before"),
        pytest.param(says(begin(1) + router_key() + data(1)[8:]), [1], id="router keys of BGPsec"),
        pytest.param(says(data(0)), [1], id="version 0 at once"),
        pytest.param(says(notify(0) + data(0)), [1], id="version 0, notified before"),
        pytest.param(
            by_version({1: error(0, 4, "no"), 0: data(0)}), [1, 0], id="version 0 after an error"
        ),
        pytest.param(
            by_version({1: error(1, 4, "no"), 0: data(0)}), [1, 0], id="its error in version 1"
        ),
        pytest.param(by_version({1: b"", 0: data(0)}), [1, 0], id="version 0 after a closing"),
        pytest.param(resets_version_1, [1, 0], id="version 0 after a reset"),
    ],
)
def test_all_vrps_are_read(serve: Serve, talk: Talk, asked: list[int]) -> None:
    server = serve(talk)
    assert read(server.source, OURS, Path()) == READ
    assert server.queries == [header(version, 2, 0, 8) for version in asked]


def test_an_answer_in_pieces_is_read(serve: Serve) -> None:
    def talk(connection: socket.socket, _: bytes) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(data(1))):
            connection.sendall(data(1)[at : at + 1])

    assert read(serve(talk).source, OURS, Path()) == READ


WRONG = vrp("192.30.120.0/23-24 27218")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(error(1, 2, "not yet"), "no data yet", id="no data"),
        pytest.param(error(1, 1, "out of order"), "internal error (out of order)", id="internal"),
        pytest.param(error(1, 3, "", bytes(8)), "refuses: invalid request", id="without a text"),
        pytest.param(error(1, 99), "refuses: error 99", id="unknown error"),
        pytest.param(begin(1) + error(1, 0, "oh"), "corrupt data (oh)", id="error amid the data"),
        pytest.param(header(1, 10, 1, 8), "refuses: internal error", id="error without a body"),
        pytest.param(
            header(1, 10, 1, 16) + b"\xff" * 8, "refuses: internal error", id="error that lies"
        ),
        pytest.param(
            error(1, 1, "::error::\x1b[31mred"), "internal error (: :error::red)", id="colours"
        ),
        pytest.param(header(1, 8, 0, 8), "no data for us", id="cache reset"),
        pytest.param(begin(1), "closed amid the data, after 0 VRPs", id="ends at once"),
        pytest.param(data(1)[:-24], "closed amid the data, after 3 VRPs", id="no end of data"),
        pytest.param(data(1)[:-1], "closed amid a PDU", id="truncated"),
        pytest.param(data(1)[:30], "closed amid a PDU", id="truncated in a prefix"),
        pytest.param(data(1)[:-24] + end(1, 8), "session 8 ends where 7 began", id="session"),
        pytest.param(data(1)[8:], "type 4 before the cache response", id="no cache response"),
        pytest.param(data(1)[:-24] + end(0), "version 0 where it began with 1", id="two versions"),
        pytest.param(begin(1) + notify(1), "type 0 amid the data", id="notified amid the data"),
        pytest.param(begin(1) + begin(1), "type 3 amid the data", id="two beginnings"),
        pytest.param(
            begin(1) + header(1, 4, 0, 24) + bytes(16), "has 24 bytes, not 20", id="long prefix"
        ),
        pytest.param(
            begin(1) + prefix(1, WRONG, flags=0), "withdraws what it has not", id="withdrawal"
        ),
        pytest.param(
            begin(1) + prefix(1, WRONG)[:9] + b"\x21" + prefix(1, WRONG)[10:],
            "VRP 1: maxLength 24 is not between /33 and /32",
            id="length",
        ),
        pytest.param(
            begin(1) + prefix(1, WRONG)[:12] + b"\xff\xff\xff\xff" + prefix(1, WRONG)[16:],
            "VRP 1: the prefix has bits set beyond",
            id="host bits",
        ),
        pytest.param(begin(1) + header(1, 4, 0, 7), "does not speak RTR", id="no length"),
        pytest.param(begin(1) + header(1, 9, 0, 1 << 20), "does not speak RTR", id="endless PDU"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak RTR", id="a Web server"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2p1\r\n", "does not speak RTR", id="sshd"),
        pytest.param(b"", "neither version 1 nor version 0", id="closes always"),
        pytest.param(begin(1) + end(1), "holds no VRP at all", id="nothing in it"),
    ],
)
def test_what_is_no_answer_is_refused_with_the_reason(
    serve: Serve, answer: bytes, reason: str
) -> None:
    with pytest.raises(SourceError) as refused:
        read(serve(says(answer)).source, OURS, Path())
    assert reason in str(refused.value)
    assert '""' not in str(refused.value)
    assert refused.value.cure


@given(at=st.integers(0, len(data(1)) - 1), bent=st.binary(max_size=24), cut=st.integers(0, 40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_a_server_says_is_read_or_refused(
    serve_once: Callable[[bytes], Server], at: int, bent: bytes, cut: int
) -> None:
    server = serve_once(data(1)[:at] + bent + data(1)[at + len(bent) :][cut:])
    try:
        assert read(server.source, OURS, Path()).seen > 0
    except SourceError as refused:
        assert str(refused)
        assert len(str(refused)) < 1000


def told(server: Server, deadline: float = PATIENCE, silence: float = PATIENCE) -> str:
    """Why a server could not be read."""
    with pytest.raises(SourceError) as refused:
        ask(server.source, Selection(OURS, 0), deadline, silence)
    return str(refused.value)


@pytest.mark.parametrize(
    ("first", "so_far"), [(b"", 0), (begin(1), 0), (data(1)[:-24], 3), (data(1)[:-1], 3)]
)
def test_silence_is_not_waited_for(serve: Serve, first: bytes, so_far: int) -> None:
    def talk(connection: socket.socket, _: bytes) -> None:
        connection.sendall(first)
        connection.recv(1)  # the end

    server, said = serve(talk), f"it was silent for 0.3 s after {so_far} VRPs"
    # One that has no processor for a moment is silent as well, and before it has said anything.
    until(lambda: told(server, silence=0.3) == said, 1, said)


def test_no_end_is_not_waited_for(serve: Serve) -> None:
    def talk(connection: socket.socket, _: bytes) -> None:
        connection.sendall(begin(1))
        while not server.over.wait(0.02):
            connection.sendall(prefix(1, KNOWN[0]))

    server = serve(talk)
    assert "takes too long: the time was over after" in told(server, deadline=1)


def test_a_flood_is_not_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(connection: socket.socket, _: bytes) -> None:
        connection.sendall(begin(1))
        while not server.over.is_set():
            connection.sendall(prefix(1, KNOWN[2]) * 1000)

    server = serve(talk)
    assert "takes too long" in told(server, deadline=1)
    monkeypatch.setattr("mesh.rpki.rtr.MOST", 10_000)
    assert "more than 10000 VRPs" in told(server)


def test_a_connection_that_is_reset_is_told(serve: Serve) -> None:
    def talk(connection: socket.socket, query: bytes) -> None:
        connection.sendall(begin(query[0]))
        # What lies unread at the client is lost with it: whether it began is a matter of luck.
        reset(connection)

    assert "the connection broke after" in told(serve(talk))


def test_nobody_there_is_told() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        port = bound.getsockname()[1]
        with pytest.raises(SourceError, match=r"cannot be reached .*refused"):
            read(VrpServer("127.0.0.1", port), OURS, Path())


def test_a_name_that_nobody_has_is_told() -> None:
    with pytest.raises(SourceError, match="cannot be reached"):
        read(VrpServer("rtr.invalid", 323), OURS, Path())


@pytest.mark.parametrize("times", [200, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("version", [1, 0])
def test_half_a_million_are_read_in_seconds(serve: Serve, version: int, times: int) -> None:
    """A fifth of them with every run, in a fifth of the time."""
    many = b"".join(
        prefix(version, Vrp(ip_network(f"{IPv4Address(i << 12)}/20"), 24, 64496))
        for i in range(1 << 19, (1 << 19) + 500)
    )
    answer = begin(version) + many * times + data(version)[8:]
    began = time.process_time()  # a busy machine takes none of it
    listed = read(serve(says(answer)).source, OURS, Path())
    assert time.process_time() - began < times / 50  # about a twentieth of it
    assert listed == VrpList(READ.vrps, seen=500 * times + 3, expired=0)
