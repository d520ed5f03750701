"""Lists of VRPs from the Web: what a server may do, and how long it is waited for."""

from __future__ import annotations

import contextlib
import gzip
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mesh.rpki import SourceError, VrpList, read
from mesh.rpki.download import fetch
from mesh.spec.vrps import VrpUrl
from tests.kit.wait import PATIENCE, until
from tests.rpki.memory import measured
from tests.rpki.vrps import vrps

OURS = (ip_network("192.30.120.0/23"),)
LIST = json.dumps(
    {"roas": [{"asn": "AS27218", "prefix": "192.30.120.0/23", "maxLength": 23}] * 1000}
).encode()
ZEROS = gzip.compress(bytes(64 << 20), 1)
BOMB = gzip.compress(ZEROS)
"""A few hundred bytes of two layers, and 64 MB without them."""
TICK = 0.05


class Quiet(ThreadingHTTPServer):
    """Says nothing of clients that had enough."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.over = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None: ...


class Answers(BaseHTTPRequestHandler):
    """Does what the path says."""

    protocol_version = "HTTP/1.1"
    server: Quiet

    def do_GET(self) -> None:
        match self.path.strip("/").split("/"):
            case ["list"]:
                self.answer(LIST)
            case ["gzip"]:
                self.answer(gzip.compress(LIST), encoding="gzip")
            case ["to", port, *rest]:
                self.answer(b"", 302, location=f"http://127.0.0.1:{port}/{'/'.join(rest)}")
            case ["round"]:
                self.answer(b"", 302, location="/round")
            case ["silent"]:
                self.server.over.wait(10 * PATIENCE)
            case ["drip"]:
                self.send_response(200)
                self.end_headers()
                self.drip(b" ")
            case ["drip-headers"]:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                self.drip(b"x")
            case ["cut"]:
                self.answer(LIST, length=len(LIST) + 1)
                self.close_connection = True
            case ["bomb"]:
                self.answer(ZEROS, encoding="gzip")
            case ["layers", *layers]:
                self.answer(BOMB, encoding=", ".join(layers))
            case ["hop"]:
                self.answer(BOMB, 302, encoding="gzip, gzip", location="/list")
            case ["ends-early"]:
                self.answer(gzip.compress(LIST)[:-9], encoding="gzip")
            case ["goes-on"]:
                self.answer(gzip.compress(LIST) * 2, encoding="gzip")
            case ["no-gzip"]:
                self.answer(LIST, encoding="gzip")
            case _:
                self.answer(b"there is no such thing", 404)

    def answer(
        self,
        body: bytes,
        status: int = 200,
        length: int | None = None,
        encoding: str = "",
        location: str = "",
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, byte: bytes) -> None:
        while not self.server.over.wait(TICK):
            try:
                self.wfile.write(byte)
            except OSError:
                return

    def log_message(self, format: str, *args: object) -> None: ...


def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server's port."""
    server = Quiet()
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    try:
        yield server.server_port
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    yield from serving()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a list")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return path


@pytest.fixture(scope="module")
def tls_port(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    yield from serving(context)


@pytest.mark.parametrize("path", ["list", "gzip", "to/{port}/list", "hop"])
def test_a_list_is_read(port: int, path: str) -> None:
    url = f"http://127.0.0.1:{port}/{path.format(port=port)}"
    assert read(VrpUrl(url), OURS, Path()) == VrpList(
        frozenset(vrps("192.30.120.0/23 27218")), seen=1000, expired=0
    )


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nothing", "the server answers 404"),
        ("round", "redirects more than 5 times"),
        ("silent", "no answer within 0.5 s"),
        ("drip", "was not downloaded within 1 s"),
        ("drip-headers", "was not downloaded within 1 s"),
        ("cut", "cannot be fetched"),
        ("bomb", "larger than 4 MB"),
        ("ends-early", "its gzip ends too early"),
        ("goes-on", "there is data after the end of its gzip"),
        ("no-gzip", "its gzip is broken"),
        ("layers/deflate", "sent as deflate, which was not requested"),
        ("layers/gzip/gzip", "sent as gzip, gzip, which was not requested"),
        ("layers/br", "sent as br, which was not requested"),
    ],
)
def test_what_cannot_be_had_is_told_in_time(port: int, path: str, reason: str) -> None:
    def told() -> str:
        with pytest.raises(SourceError) as refused:
            fetch(f"http://127.0.0.1:{port}/{path}", 4 << 20, deadline=1, silence=0.5)
        assert refused.value.cure
        return str(refused.value)

    # A server that has no processor for half a second is silent as well, whatever it would say.
    until(lambda: reason in told(), 2, reason)


@pytest.mark.parametrize(
    "path", ["layers/gzip", "layers/gzip/gzip", "layers/gzip/deflate", "hop", "bomb"]
)
def test_what_is_packed_takes_no_more_memory_than_a_list_may(port: int, path: str) -> None:
    """Whatever a server packs, names as packed, or sends along with a redirection."""
    with measured() as most, contextlib.suppress(SourceError):
        fetch(f"http://127.0.0.1:{port}/{path}", 4 << 20, deadline=PATIENCE)
        assert path in ("hop", "layers/gzip")
    assert most() < 16 << 20


def test_nobody_there_is_told() -> None:
    with pytest.raises(SourceError, match=r"cannot be fetched .*refused"):
        fetch("http://127.0.0.1:1/", 1, PATIENCE)


def test_https_is_believed_by_its_certificate_only(
    tls_port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"https://127.0.0.1:{tls_port}/list"
    with pytest.raises(SourceError, match=r"cannot be fetched .*certificate"):
        fetch(url, 1 << 20, PATIENCE)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetch(url, 1 << 20, PATIENCE) == LIST


def test_https_that_leads_to_http_is_not_followed_with_trust(
    port: int, tls_port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(SourceError, match="which is not https"):
        fetch(f"https://127.0.0.1:{tls_port}/to/{port}/list", 1 << 20, PATIENCE)
