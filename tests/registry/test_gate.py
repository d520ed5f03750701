"""Who may ask what: the table of the design, against every trick with headers."""

from __future__ import annotations

import json
import socket
import ssl

import pytest

from mesh.trust import keys
from mesh.trust.encoding import dump
from mesh.trust.requests import Nonces, Signer
from tests.kit.registry import Fleet, Live
from tests.kit.wait import PATIENCE

HASH = "0" * 64
CLOSED = [
    ("GET", "/api/v1/nodes/lax/config"),
    ("GET", "/api/v1/nodes/lax-vultr-1/wireguard"),
    ("GET", "/api/v1/firewall/rules"),
    ("POST", "/api/v1/nodes/discover"),
    ("GET", "/api/v1/nodes/lax-vultr-1/cloud-init"),
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/joins"),
    ("GET", "/api/v1/reports"),
    ("GET", "/api/v1/parts/lax-vultr-1"),
    ("POST", "/api/v1/report"),
    ("PUT", "/api/v1/planned"),
    ("PUT", "/api/v1/generation"),
    ("PUT", "/api/v1/generation/packed"),
    ("GET", "/api/v1/generation/packed/5"),
    ("PUT", "/api/v1/bundle"),
    ("PUT", f"/api/v1/bundle/{HASH}"),
    ("GET", "/api/v1/blackhole"),
    ("GET", "/api/v1/joins/refused"),
    ("GET", "/api/v1/planned"),
    ("POST", "/api/v1/joins/refused"),
    # Nothing is there, and nobody learns that.
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/api/v1/secrets"),
    ("GET", "/api/v2/status"),
    ("DELETE", "/api/v1/manifest"),
    ("POST", "/api/v1/manifest"),
    ("GET", "/api/v1/bundle"),
    # Other ways to write an open or a closed path.
    ("GET", "//api/v1/status"),
    ("GET", "/api/v1/status/"),
    ("GET", "/api/v1//status"),
    ("GET", "/api/v1/./status"),
    ("GET", "/api/v1/health/../status"),
    ("GET", "/api/v1/health%2f..%2fstatus"),
    ("GET", "/api/v1/STATUS"),
    ("GET", "/api/v1/nodes/lax%2Dvultr%2D1/config?x=/api/v1/health"),
]
TRICKS = {
    "nothing": {},
    "forwarded for a node": {"X-Forwarded-For": "127.0.0.1"},
    "forwarded for many": {"X-Forwarded-For": "127.0.0.1, 127.0.0.2, ::1"},
    "forwarded by RFC 7239": {"Forwarded": "for=127.0.0.1;proto=https;by=127.0.0.1"},
    "real ip": {"X-Real-IP": "127.0.0.1", "True-Client-IP": "127.0.0.1"},
    "original url": {"X-Original-URL": "/api/v1/health", "X-Rewrite-URL": "/api/v1/health"},
    "another method": {"X-HTTP-Method-Override": "GET", "X-Method-Override": "GET"},
    "another host": {"Host": "localhost"},
    "a bearer": {"Authorization": "Bearer operator"},
    "basic": {"Authorization": "Basic b3BlcmF0b3I6"},
    "an empty claim": {"Authorization": "Mesh "},
    "the operator's name": {"Authorization": "Mesh signer=operator:"},
    "an empty signature": {
        "Authorization": f"Mesh signer=operator:,nonce={'0' * 96},sha256={HASH},"
        f"signature={'A' * 86}=="
    },
    "a cookie": {"Cookie": "session=operator"},
    "an upgrade": {"Connection": "Upgrade", "Upgrade": "websocket"},
}


@pytest.mark.parametrize("trick", TRICKS)
def test_without_a_signature_everything_but_the_open_doors_is_401(
    registry: Live, trick: str
) -> None:
    before = registry.memory()
    for method, target in CLOSED if trick == "nothing" else CLOSED[:16]:
        status, body, _ = registry.raw(method, target, TRICKS[trick])
        assert (status, body) == (401, b'{"error":"a signed request is needed"}'), (method, target)
    assert registry.memory() == before


def test_open_doors_tell_nothing_that_is_not_signed_or_hashed(registry: Live) -> None:
    assert registry.raw("GET", "/api/v1/health")[:2] == (200, b'{"status":"ok"}')
    assert registry.raw("GET", "/api/v1/nonce")[:2] == (204, b"")
    status, body, headers = registry.raw("GET", "/api/v1/manifest")
    assert status == 200
    assert set(__import__("json").loads(body)) == {"payload", "signature"}
    assert "server" not in {name.lower() for name in headers}


SIGNERS = {
    "a stranger as operator": lambda f: Signer("operator", "", keys.new_signing_key()[0]),
    "a stranger as node": lambda f: Signer("node", "lax-vultr-1", keys.new_signing_key()[0]),
    "an unknown node": lambda f: Signer("node", "eu-vultr-1", keys.new_signing_key()[0]),
    "another node's name": lambda f: Signer("node", "lax-vultr-1", f.identities["ord-vultr-1"]),
    "a node as operator": lambda f: Signer("operator", "", f.identities["lax-vultr-1"]),
    "the operator as node": lambda f: Signer("node", "lax-vultr-1", f.key),
    "a token as node": lambda f: Signer("node", "lax-vultr-1", f.candidate("lax-vultr-1").private),
    "a token as operator": lambda f: Signer("operator", "", f.candidate("lax-vultr-1").private),
    "another node's token": lambda f: Signer(
        "token", "lax-vultr-1", f.candidate("ord-vultr-1").private
    ),
}


@pytest.mark.parametrize("who", SIGNERS)
def test_a_signature_by_the_wrong_key_is_as_good_as_none(
    registry: Live, fleet: Fleet, who: str
) -> None:
    before = registry.memory()
    with registry.client(SIGNERS[who](fleet)) as client:
        for method, target in CLOSED[:16]:
            assert client.ask(method, target, signed=True).status == 401, (method, target)
    assert registry.memory() == before


MEMBERS = CLOSED[:6]
OPERATORS = [CLOSED[6], CLOSED[7], *CLOSED[10:14]]


def test_a_member_reads_what_members_read_and_no_more(registry: Live, fleet: Fleet) -> None:
    with registry.client(fleet.node("ord-vultr-1")) as client:
        for method, target in MEMBERS:
            assert client.ask(method, target, signed=True).status == 200, target
        for method, target in OPERATORS:
            assert client.ask(method, target, signed=True).status == 403, target
        assert client.ask("GET", "/api/v1/blackhole", signed=True).status == 204
        assert client.ask("GET", "/api/v1/parts/ord-vultr-1", signed=True).status == 200
        assert client.ask("GET", "/api/v1/parts/lax-vultr-1", signed=True).status == 403


def test_a_token_says_which_node_one_is_and_no_more(registry: Live, fleet: Fleet) -> None:
    before = registry.memory()
    with registry.client(fleet.candidate("lax-vultr-1")) as client:
        assert client.ask("POST", "/api/v1/nodes/discover", signed=True).status == 200
        for method, target in CLOSED[:16]:
            if "discover" not in target:
                assert client.ask(method, target, signed=True).status == 401, target
    assert registry.memory() == before


def test_who_has_a_token_hears_on_the_registrys_node_who_is_planned(
    registry: Live, fleet: Fleet
) -> None:
    with registry.client(fleet.candidate("lax-vultr-1")) as client:
        answer = client.ask("GET", "/api/v1/planned", signed=True)
    assert set(json.loads(answer.body)) >= {"127.0.0.1", "127.0.0.2"}


def test_a_request_that_was_heard_cannot_be_sent_again(registry: Live, fleet: Fleet) -> None:
    nonce = registry.raw("GET", "/api/v1/nonce")[2]["replay-nonce"]
    header = fleet.operator.header("GET", "/api/v1/status", b"", nonce)
    assert registry.raw("GET", "/api/v1/status", {"Authorization": header})[0] == 200
    assert registry.raw("GET", "/api/v1/status", {"Authorization": header})[0] == 401


def test_a_request_cannot_be_turned_into_another(registry: Live, fleet: Fleet) -> None:
    nonce = registry.raw("GET", "/api/v1/nonce")[2]["replay-nonce"]
    headers = {"Authorization": fleet.operator.header("GET", "/api/v1/status", b"", nonce)}
    for method, target, body in (
        ("GET", "/api/v1/joins", None),
        ("PUT", "/api/v1/planned", b"{}"),
        ("GET", "/api/v1/status?x", None),
    ):
        assert registry.raw(method, target, headers, body)[0] == 401
    # Nobody has spent the nonce by trying.
    assert registry.raw("GET", "/api/v1/status", headers)[0] == 200


def test_a_signed_request_with_another_body_is_refused(registry: Live, fleet: Fleet) -> None:
    before = registry.memory()
    nonce = registry.raw("GET", "/api/v1/nonce")[2]["replay-nonce"]
    body = dump(fleet.planned())
    header = {"Authorization": fleet.operator.header("PUT", "/api/v1/planned", body, nonce)}
    assert registry.raw("PUT", "/api/v1/planned", header, b'{"nodes":{}}')[0] == 401
    assert registry.memory() == before


def test_another_servers_nonce_is_refused(registry: Live, fleet: Fleet) -> None:
    header = fleet.operator.header("GET", "/api/v1/status", b"", Nonces().fresh())
    assert registry.raw("GET", "/api/v1/status", {"Authorization": header})[0] == 401


def test_two_authorizations_are_none(registry: Live, fleet: Fleet) -> None:
    nonce = registry.raw("GET", "/api/v1/nonce")[2]["replay-nonce"]
    header = fleet.operator.header("GET", "/api/v1/status", b"", nonce)
    lines = [f"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\n"]
    lines += [f"Authorization: {header}\r\nConnection: close\r\n\r\n"]
    assert b" 401 " in _spoken(registry, "".join(lines).encode())


@pytest.mark.parametrize(
    ("target", "method", "limit"),
    [
        ("/api/v1/join", "POST", 64 << 10),
        ("/api/v1/manifest", "PUT", 1 << 20),
        ("/api/v1/health", "GET", 0),
    ],
)
def test_a_body_above_its_limit_is_refused_before_it_is_read(
    registry: Live, target: str, method: str, limit: int
) -> None:
    """The answer comes although not one byte of the body has been sent."""
    before = registry.memory()
    for length in (str(limit + 1), "9" * 30, "99999999999999"):
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        first = _spoken(registry, head.encode()).split(b"\r\n")[0]
        assert b" 413 " in first or b" 400 " in first, (length, first)
    assert registry.memory() == before


@pytest.mark.parametrize(
    "target",
    ["/api/v1/generation", "/api/v1/generation/packed", "/api/v1/bundle", "/api/v1/planned"],
)
def test_a_strangers_large_body_is_never_read(registry: Live, target: str) -> None:
    """Within the operator's limit, but 401 comes before a byte of it."""
    head = f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    assert b" 401 " in _spoken(registry, head.encode())


def test_a_body_of_unstated_length_is_refused(registry: Live) -> None:
    head = "POST /api/v1/join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b" 411 " in _spoken(registry, head.encode() + b"5\r\nhello\r\n")


def test_one_source_cannot_ask_without_end_and_others_still_can(registry: Live) -> None:
    # Faster than two a second, which a slow machine may need more of than the first twenty.
    answers = (registry.raw("POST", "/api/v1/join", body=b"{}")[0] for _ in range(200))
    assert 429 in answers
    assert registry.raw("POST", "/api/v1/join", body=b"{}", source="127.0.0.2")[0] == 400


def _spoken(live: Live, data: bytes) -> bytes:
    context = ssl._create_unverified_context()
    with (
        socket.create_connection(("127.0.0.1", live.port), PATIENCE) as plain,
        context.wrap_socket(plain) as secure,
    ):
        secure.sendall(data)
        return secure.recv(65536)
