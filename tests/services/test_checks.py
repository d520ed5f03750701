"""What checks make of answers: good ones, bad ones, and what is no answer at all."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.services.checks import dns_message
from mesh.services.checks.check import Target
from mesh.services.checks.dns import DnsCheck
from mesh.services.checks.exec import ExecCheck, unsafe
from mesh.services.checks.http import HttpCheck
from mesh.services.checks.https import HttpsCheck
from mesh.services.checks.udp import UdpCheck
from tests.kit.daemons import authority, certificate
from tests.kit.wait import PATIENCE, until

NODE = "lax-vultr-1"
HERE = Target(IPv4Address("127.0.0.1"), NODE)
HERE6 = Target(IPv6Address("::1"), NODE)
QUICK = 0.3


@contextmanager
def serving(serve: Callable[[socket.socket], None], family: int = socket.AF_INET) -> Iterator[int]:
    """A TCP server that hands over each connection, one after the other; its port."""
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((address, 0), family=socket.AddressFamily(family)) as server:

        def loop() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        serve(connection)

        threading.Thread(target=loop, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


# --- HTTP ----------------------------------------------------------------------------------------


@contextmanager
def web(answer: bytes, stays: bool = False) -> Iterator[tuple[int, list[bytes]]]:
    """A server of one answer; its port, and the requests that came."""
    requests: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        requests.append(connection.recv(4096))
        connection.sendall(answer)
        if stays:
            connection.recv(1)

    with serving(serve) as port:
        yield port, requests


def chunked(*parts: bytes) -> bytes:
    """An answer in chunks."""
    body = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "a status that is asked for": (b"HTTP/1.1 401 No\r\n\r\n", {"status": (200, 401)}, ""),
    "another one": (b"HTTP/1.1 204 No\r\n\r\n", {"status": (200, 401)},
                    "status 204, expected 200 or 401"),
    "a text": (OK + b"\r\nWelcome to the blog", {"contains": "to the"}, ""),
    "no such text": (OK + b"\r\nIt works!", {"contains": "blog"},
                     "the answer does not contain 'blog'"),
    "a text in the head alone": (OK + b"X: blog\r\n\r\nno", {"contains": "blog"},
                                 "the answer does not contain 'blog'"),
    "a text over two chunks": (chunked(b"Welc", b"ome"), {"contains": "Welcome"}, ""),
    "a size of a chunk that is none": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nblog",
                                       {"contains": "blog"}, "the answer does not contain 'blog'"),
    "a text after 64 KiB": (OK + b"\r\n" + b"x" * 65536 + b"blog", {"contains": "blog"},
                            "the answer does not contain 'blog'"),
    "a text up to there": (OK + b"\r\n" + b"x" * 65532 + b"blog", {"contains": "blog"}, ""),
    "a head that does not end": (OK + b"x" * 300_000, {"contains": "blog"},
                                 "the answer does not contain 'blog'"),
    "a status of many digits": (b"HTTP/1.1 2" + b"0" * 4000 + b"\r\n\r\n", {}, "status 200000"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "keys", "problem"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_good_by_its_status_and_text(
    answer: bytes, keys: dict[str, Any], problem: str
) -> None:
    with web(answer) as (port, _):
        assert HttpCheck(port=port, timeout=PATIENCE, **keys).problem(HERE) == problem


def test_where_the_whole_body_has_come_a_server_that_stays_is_not_waited_for() -> None:
    for answer in (OK + b"Content-Length: 2\r\n\r\nno", chunked(b"no")):
        with web(answer, stays=True) as (port, _):
            check = HttpCheck(port=port, contains="blog", timeout=PATIENCE)
            assert check.problem(HERE) == "the answer does not contain 'blog'"


def test_the_request_names_the_host_or_the_address() -> None:
    with web(OK + b"\r\n") as (port, requests):
        for keys in ({}, {"host": "www.example.net"}):
            assert HttpCheck(port=port, timeout=PATIENCE, **keys).problem(HERE) == ""  # type: ignore[arg-type]
    hosts = [line for each in requests for line in each.split(b"\r\n") if line[:4] == b"Host"]
    assert hosts == [b"Host: 127.0.0.1:%d" % port, b"Host: www.example.net:%d" % port]


def test_the_source_is_loopback_in_both_families() -> None:
    sources: list[str] = []

    def serve(connection: socket.socket) -> None:
        sources.append(connection.getpeername()[0])
        connection.sendall(OK + b"\r\n")

    for family, target in ((socket.AF_INET, HERE), (socket.AF_INET6, HERE6)):
        with serving(serve, family) as port:
            assert HttpCheck(port=port, timeout=PATIENCE).problem(target) == ""
    assert sources == ["127.0.0.1", "::1"]


# --- HTTPS ---------------------------------------------------------------------------------------


@contextmanager
def secure(files: Mapping[str, str], folder: Path) -> Iterator[int]:
    """A server with that certificate."""
    for path, content in files.items():
        (folder / Path(path).name).write_text(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as stream:
            stream.recv(4096)
            stream.sendall(OK + b"\r\n")

    with serving(serve) as port:
        yield port


def https(port: int, **keys: Any) -> HttpsCheck:
    usual: dict[str, Any] = {"host": "www.example.net", "ca": authority(), "timeout": PATIENCE}
    return HttpsCheck(**(usual | {"port": port} | keys))


def test_a_certificate_for_the_name_is_good_and_one_for_another_name_is_not(tmp_path: Path) -> None:
    with secure(certificate("www.example.net"), tmp_path) as port:
        assert https(port).problem(HERE) == ""
        assert https(port).warning(HERE) == ""
        wrong = https(port, host="example.org").problem(HERE)
        assert wrong == "the certificate is for www.example.net, not example.org"


def test_a_certificate_of_an_unknown_authority_is_not_trusted(tmp_path: Path) -> None:
    with secure(certificate("www.example.net"), tmp_path) as port:
        problem = https(port, ca=None).problem(HERE)
    assert problem.startswith("the certificate is not trusted: ")


@pytest.mark.parametrize(
    ("days", "since", "warning"),
    [
        (-3, 30, "the certificate ended on "),
        (12, 30, "the certificate ends in 12 days, on "),
        (30, -2, "the certificate is valid from "),
    ],
)
def test_dates_of_a_certificate_warn_and_take_nothing_down(
    tmp_path: Path, days: int, since: int, warning: str
) -> None:
    with secure(certificate("www.example.net", days, since), tmp_path) as port:
        assert https(port).problem(HERE) == ""
        assert https(port).warning(HERE).startswith(warning)
        assert https(port, daysLeft=0, host="www.example.net").problem(HERE) == ""


def test_what_is_no_tls_is_said(tmp_path: Path) -> None:
    with web(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _):
        assert https(port).problem(HERE) == "the answer is not TLS"


# --- DNS -----------------------------------------------------------------------------------------

SOA = b"\x02ns\xc0\x0c\x0ahostmaster\xc0\x0c" + struct.pack("!5I", 42, 3600, 600, 604800, 300)


def answer(
    query: bytes, *, flags: int = 0x8400, kind: int = 6, records: int = 1, rcode: int = 0,
    nsid: bytes | None = NODE.encode(), data: bytes = SOA,
) -> bytes:  # fmt: skip
    """An answer to a query, with a record of that type for the name of the question."""
    end = query.index(b"\0", 12) + 5
    record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 300, len(data)) + data
    option = b"" if nsid is None else struct.pack("!HH", 3, len(nsid)) + nsid
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, rcode >> 4 << 24, len(option)) + option
    head = query[:2] + struct.pack("!5H", flags | (rcode & 15), 1, records, 0, 1)
    return head + query[12:end] + record * records + opt


Reply = Callable[[bytes], bytes]


@contextmanager
def names(by_udp: Reply, by_tcp: Reply | None = None, source: str = "") -> Iterator[int]:
    """A DNS server that makes its answers so; its port."""

    def tcp(connection: socket.socket) -> None:
        query = connection.recv(4096)[2:]
        reply = (by_tcp or by_udp)(query)
        connection.sendall(struct.pack("!H", len(reply)) + reply)

    with ExitStack() as stack:
        while True:
            attempt = ExitStack()
            port = attempt.enter_context(serving(tcp))
            try:
                attempt.enter_context(datagrams_at(port, by_udp, source))
            except OSError:
                attempt.close()  # somebody else has the port for UDP
                continue
            stack.push(attempt)
            break
        yield port


@contextmanager
def datagrams_at(port: int, reply: Reply, source: str = "") -> Iterator[int]:
    """A UDP server, which answers from that address; its port."""
    with ExitStack() as stack:
        made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made.bind(("127.0.0.1", port))
        answering = made
        if source:
            answering = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            answering.bind((source, 0))
        ends = threading.Event()

        def loop() -> None:
            while not ends.is_set():
                query, asking = made.recvfrom(4096)
                if query != b"end":
                    answering.sendto(reply(query), asking)

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        yield made.getsockname()[1]
        ends.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", made.getsockname())
        thread.join(PATIENCE)


def zone(port: int, **keys: Any) -> DnsCheck:
    usual: dict[str, Any] = {"name": "example.net", "timeout": PATIENCE}
    return DnsCheck(**(usual | {"port": port} | keys))


REPLIES: dict[str, tuple[Reply, dict[str, Any], str]] = {
    "good": (answer, {"nsid": True}, ""),
    "an older serial": (answer, {"serial": 43}, ""),
    "SERVFAIL": (lambda q: answer(q, rcode=2, records=0), {}, "SERVFAIL"),
    "REFUSED": (lambda q: answer(q, rcode=5, records=0), {}, "REFUSED"),
    "an extended rcode": (lambda q: answer(q, rcode=23, records=0), {}, "rcode 23"),
    "no authority": (lambda q: answer(q, flags=0x8000), {}, "the answer is not authoritative"),
    "no record": (lambda q: answer(q, records=0), {}, "the answer has no record of type SOA"),
    "another type": (lambda q: answer(q, kind=16), {}, "the answer has no record of type SOA"),
    "no NSID": (lambda q: answer(q, nsid=None), {"nsid": True},
                f"the answer has no NSID, expected {NODE}"),
    "NSID of another": (lambda q: answer(q, nsid=b"ord\x1b[31m\xff"), {"nsid": True},
                        f"NSID ord\N{REPLACEMENT CHARACTER}, expected {NODE}"),
    "a cut record": (lambda q: answer(q)[:-30], {}, "the answer is cut off"),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "keys", "problem"), REPLIES.values(), ids=REPLIES)
def test_a_dns_server_is_healthy_by_its_answer(
    reply: Reply, keys: dict[str, Any], problem: str
) -> None:
    with names(reply) as port:
        assert zone(port, **keys).problem(HERE) == (problem and f"TCP: {problem}")
    with names(reply, answer) as port:
        assert zone(port, **keys).problem(HERE) == (problem and f"UDP: {problem}")


@pytest.mark.parametrize(
    "other",
    [
        lambda q: bytes([q[0] ^ 1]) + answer(q)[1:],
        lambda q: answer(q.replace(b"example", b"exemple")),
        lambda q: q,
        lambda q: b"",
        lambda q: b"\xff" * 600,
    ],
    ids=["another id", "another question", "a query", "nothing", "rubbish"],
)
def test_what_is_no_answer_is_waited_out_by_udp_and_ends_tcp(other: Reply) -> None:
    with names(other, answer) as port:
        late = f"no answer within {QUICK:g} s"

        def said() -> str:
            # TCP comes first, and has its answer in time but on a busy machine.
            problem = zone(port, timeout=QUICK).problem(HERE)
            return "" if problem == f"TCP: {late}" else problem or "nothing"

        assert until(said, 5, "TCP is answered in time") == f"UDP: {late}"
    with names(answer, other) as port:
        assert zone(port).problem(HERE) == "TCP: the answer is to another question"


def test_an_answer_that_is_too_long_for_udp_has_to_come_by_tcp() -> None:
    def short(query: bytes) -> bytes:
        return answer(query, flags=0x8600, records=0)

    with names(short, answer) as port:
        assert zone(port).problem(HERE) == ""
    with names(short) as port:
        assert zone(port).problem(HERE) == "TCP: the answer is truncated"


def test_a_dns_server_that_answers_by_udp_alone_is_not_healthy() -> None:
    with datagrams_at(0, answer) as port:
        assert zone(port).problem(HERE) == "TCP: connection refused"


@pytest.mark.parametrize(
    ("expected", "warning"),
    [(43, "serial 42, expected 43 or more"), (42, ""), (4294967290, ""), (None, "")],
)
def test_an_older_zone_is_warned_of(expected: int | None, warning: str) -> None:
    with names(answer) as port:
        assert zone(port, serial=expected).warning(HERE) == warning


QUERY = dns_message.question(7, "example.net", "SOA")


@given(st.binary(max_size=600), st.booleans())
def test_whatever_a_server_sends_is_read_or_refused(data: bytes, begun: bool) -> None:
    """Also after a beginning as it should be."""
    head = answer(QUERY, records=0)[:-11] if begun else b""
    with suppress(dns_message.Malformed):
        dns_message.read(head + data, QUERY)


@given(st.data())
def test_an_answer_with_changed_bytes_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(answer(QUERY))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(dns_message.Malformed):
        dns_message.read(bytes(whole[: data.draw(st.integers(0, len(whole)))]), QUERY)


# --- UDP -----------------------------------------------------------------------------------------


def test_a_datagram_is_answered_with_what_is_expected() -> None:
    with datagrams_at(0, lambda query: b"pong " + query) as port:
        check = UdpCheck(port=port, send="0x00ff", expect="0xff", timeout=PATIENCE)
        assert check.problem(HERE) == ""
        check = UdpCheck(port=port, send="ping", expect="nothing", timeout=PATIENCE)
        assert check.problem(HERE) == "the answer does not contain 'nothing'"
        assert UdpCheck(port=port, send="ping", timeout=PATIENCE).problem(HERE) == ""
    closed = UdpCheck(port=port, send="ping", timeout=PATIENCE)
    assert closed.problem(HERE) == "connection refused"


def test_an_answer_from_another_address_or_port_is_no_answer() -> None:
    with datagrams_at(0, answer, source="127.0.0.7") as port:
        check = UdpCheck(port=port, send=f"0x{QUERY.hex()}", timeout=PATIENCE)
        assert check.problem(HERE) == "the answer came from 127.0.0.7"
    with names(answer, source="127.0.0.7") as port:
        assert zone(port).problem(HERE) == "UDP: the answer came from 127.0.0.7"
    with names(answer, source="127.0.0.1") as port:
        problem = zone(port).problem(HERE)
        assert problem.startswith("UDP: the answer came from port ")
        assert problem.endswith(f" in place of {port}")


def test_silence_ends_with_the_time() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        began = time.monotonic()
        problem = UdpCheck(port=silent.getsockname()[1], send="x", timeout=QUICK).problem(HERE)
    assert problem == f"no answer within {QUICK:g} s"
    assert time.monotonic() - began < PATIENCE


# --- programs ------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: None, ""),
        (lambda file: file.unlink(), "{file}: no such file or directory"),
        (lambda file: file.chmod(0o775), "{file} may be written by others than root (chmod go-w)"),
        (lambda file: file.chmod(0o757), "{file} may be written by others than root (chmod go-w)"),
        (lambda file: file.chmod(0o644), "{file} is not executable (chmod +x)"),
        (lambda file: os.chown(file, 65534, 65534), "{file} does not belong to root"),
        (lambda file: file.rename(file.with_name("b")).with_name("a").symlink_to("b"),
         "{file} is not a regular file"),
        (lambda file: file.parent.chmod(0o777),
         "{folder} may be written by others than root (chmod go-w)"),
    ],
)  # fmt: skip
def test_a_program_that_others_could_have_put_there_is_not_run(
    tmp_path: Path, change: Callable[[Path], object], reason: str
) -> None:
    folder = tmp_path / "checks"
    folder.mkdir(mode=0o755)
    file = folder / "a"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    change(file)
    assert unsafe(folder, "a") == reason.format(file=file, folder=folder)


def test_a_program_gets_its_arguments_as_they_are_written() -> None:
    """systemd puts values in place of $NAME; $$ stands for a dollar sign (systemd.service(5))."""
    check = ExecCheck(command="mail", arguments=("$HOME", "-x", "--property=User=root", "a b"))
    command = check._command()
    assert command[command.index("--") + 1 :] == [
        "/usr/bin/env", "-i", "/etc/anycast-mesh/checks/mail",
        "$$HOME", "-x", "--property=User=root", "a b",
    ]  # fmt: skip


def test_a_program_that_is_not_there_is_named() -> None:
    problem = ExecCheck(command="no-such-check").problem(HERE)
    assert "no such file or directory" in problem
    assert problem.startswith("/etc/anycast-mesh/checks")
