"""Signed requests and their nonces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.trust import keys
from mesh.trust.encoding import sha256
from mesh.trust.requests import Claim, Nonces, Signer

PRIVATE, PUBLIC = keys.new_operator_key()
SIGNER = Signer("node", "lax-vultr-1", PRIVATE)
NONCES = Nonces()


def claim(body: bytes = b"") -> Claim:
    made = Claim.parsed(SIGNER.header("PUT", "/api/v1/a?b=c", body, NONCES.fresh()))
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("method", "target", "holds"),
    [
        ("PUT", "/api/v1/a?b=c", True),
        ("POST", "/api/v1/a?b=c", False),
        ("PUT", "/api/v1/a", False),
        ("PUT", "/api/v1/a?b=d", False),
        ("PUT", "/api/v1/b?b=c", False),
    ],
)
def test_a_signature_is_for_one_method_and_target(method: str, target: str, holds: bool) -> None:
    assert claim().holds(PUBLIC, method, target) is holds


def test_a_signature_binds_who_signs_what_body_and_which_nonce() -> None:
    made = claim(b"body")
    assert made.sha256 == sha256(b"body")
    for changed in (
        Claim("operator", "", made.nonce, made.sha256, made.signature),
        Claim("node", "ord-vultr-1", made.nonce, made.sha256, made.signature),
        Claim("token", made.id, made.nonce, made.sha256, made.signature),
        Claim(made.kind, made.id, NONCES.fresh(), made.sha256, made.signature),
        Claim(made.kind, made.id, made.nonce, sha256(b"other"), made.signature),
    ):
        assert not changed.holds(PUBLIC, "PUT", "/api/v1/a?b=c")


@given(st.text(max_size=400))
def test_no_other_header_is_taken_for_a_claim(text: str) -> None:
    assert Claim.parsed(text) is None
    assert Claim.parsed(f"Bearer {text}") is None


def test_a_header_with_anything_added_is_no_claim() -> None:
    header = SIGNER.header("GET", "/", b"", NONCES.fresh())
    assert Claim.parsed(header) is not None
    for changed in (header + " ", " " + header, header + "\n", header.replace("Mesh", "mesh")):
        assert Claim.parsed(changed) is None


def test_the_signer_never_shows_its_key() -> None:
    assert PRIVATE not in repr(SIGNER)
    assert PRIVATE not in SIGNER.header("GET", "/", b"", NONCES.fresh())


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_nonce_is_good_once() -> None:
    nonces = Nonces()
    nonce = nonces.fresh()
    assert nonces.valid(nonce)
    assert nonces.spend(nonce, SIGNER.id)
    assert not nonces.valid(nonce)
    assert not nonces.spend(nonce, SIGNER.id)


def test_a_nonce_grows_old_and_is_forgotten_only_when_it_could_not_come_back() -> None:
    clock = Clock()
    nonces = Nonces(lifetime=60, clock=clock)
    used, unused = nonces.fresh(), nonces.fresh()
    clock.now += 59
    assert nonces.spend(used, SIGNER.id)
    clock.now += 2
    assert not nonces.valid(unused)
    assert not nonces.valid(used)
    clock.now += 60
    assert nonces.spend(nonces.fresh(), SIGNER.id)
    assert not nonces.valid(used)


def test_nobody_else_makes_our_nonces() -> None:
    assert not NONCES.valid(Nonces().fresh())
    assert not NONCES.valid("00" * 48)
    nonce = bytearray(bytes.fromhex(NONCES.fresh()))
    nonce[0] ^= 1  # a later birth
    assert not NONCES.valid(nonce.hex())


def test_a_flood_of_strangers_pushes_nobodys_nonce_out() -> None:
    nonces = Nonces(limit=10)
    mine = nonces.fresh()
    for _ in range(10_000):
        nonces.fresh()
    assert nonces.valid(mine)
    assert nonces.spend(mine, SIGNER.id)
    assert len(nonces._spent) == 1


def test_when_too_many_are_remembered_it_refuses_instead_of_forgetting() -> None:
    clock = Clock()
    nonces = Nonces(lifetime=60, limit=3, clock=clock)
    spent = [nonces.fresh() for _ in range(3)]
    assert all(nonces.spend(nonce, SIGNER.id) for nonce in spent)
    assert not nonces.spend(nonces.fresh(), SIGNER.id)
    assert not any(nonces.valid(nonce) for nonce in spent)
    clock.now += 61
    assert nonces.spend(nonces.fresh(), SIGNER.id)


def test_one_signer_that_asks_without_an_end_keeps_nobody_else_out() -> None:
    clock = Clock()
    nonces = Nonces(lifetime=60, limit=10, each=3, clock=clock)
    spent = [nonces.spend(nonces.fresh(), ("node", "lax-vultr-1")) for _ in range(5)]
    assert spent == [True] * 3 + [False] * 2
    assert nonces.spend(nonces.fresh(), ("operator", ""))
    clock.now += 61
    assert nonces.spend(nonces.fresh(), ("node", "lax-vultr-1"))
    assert nonces._by == {("node", "lax-vultr-1"): 1}, "who asks no more takes no memory"
