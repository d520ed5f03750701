"""Signatures, sealing, joining: what a forger, a relay or a thief can do with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.render import placeholder_facts
from mesh.trust import joining, keys, sealing, signing
from mesh.trust.documents import JoinRequest
from mesh.trust.encoding import b64, dump, unb64
from mesh.trust.sealing import NotForUs, seal, unseal
from mesh.trust.signing import BadSignature, Purpose, Signed
from tests.kit.stacks import plan_of, prod

PRIVATE, PUBLIC = keys.new_operator_key()
FACTS = placeholder_facts(plan_of(prod()))["lax-vultr-1"]


@pytest.mark.parametrize("made_for", list(Purpose))
@pytest.mark.parametrize("shown_as", list(Purpose))
def test_a_signature_of_one_kind_is_never_valid_as_another(
    made_for: Purpose, shown_as: Purpose
) -> None:
    signature = signing.sign(PRIVATE, made_for, b"text")
    if made_for is shown_as:
        signing.verify(PUBLIC, shown_as, b"text", signature)
        return
    with pytest.raises(BadSignature):
        signing.verify(PUBLIC, shown_as, b"text", signature)


def test_no_purpose_can_be_stretched_into_another() -> None:
    """What is signed is the purpose, a NUL, the text: no purpose holds a NUL or begins another."""
    names = [purpose.value for purpose in Purpose]
    assert not any("\0" in name for name in names)
    assert not any(a != b and a.startswith(b) for a in names for b in names)


@given(text=st.binary(min_size=1, max_size=100), data=st.data())
def test_one_flipped_bit_anywhere_breaks_it(text: bytes, data: st.DataObject) -> None:
    signature = signing.sign(PRIVATE, Purpose.REPORT, text)
    at = data.draw(st.integers(0, len(text) * 8 - 1))
    with pytest.raises(BadSignature):
        signing.verify(PUBLIC, Purpose.REPORT, _flipped(text, at), signature)
    at = data.draw(st.integers(0, 64 * 8 - 1))
    with pytest.raises(BadSignature):
        signing.verify(PUBLIC, Purpose.REPORT, text, b64(_flipped(unb64(signature), at)))


def test_another_operator_is_not_ours() -> None:
    stranger, _ = keys.new_operator_key()
    forged = Signed("{}", signing.sign(stranger, Purpose.MANIFEST, b"{}"))
    with pytest.raises(BadSignature):
        signing.opened(PUBLIC, Purpose.MANIFEST, forged, dict)


# --- sealing -------------------------------------------------------------------------------------

THEIRS, OURS = keys.new_exchange_key()
OTHERS, _ = keys.new_exchange_key()
PLACE = {"node": "lax-vultr-1", "generation": 7, "path": "/etc/bird/mesh/secrets.conf"}


@given(st.binary(max_size=300))
def test_what_is_sealed_comes_out_for_its_node_as_it_went_in(text: bytes) -> None:
    box = seal(OURS, **PLACE, text=text)  # type: ignore[arg-type]
    assert unseal(THEIRS, **PLACE, box=box) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [{"node": "ord-vultr-1"}, {"generation": 8}, {"path": "/etc/bird/mesh/other.conf"}],
    ids=["another node", "another generation", "another file"],
)
def test_a_sealed_file_cannot_be_passed_off_as_something_else(changed: dict[str, object]) -> None:
    box = seal(OURS, **PLACE, text=b"hunter2")  # type: ignore[arg-type]
    with pytest.raises(NotForUs):
        unseal(THEIRS, **(PLACE | changed), box=box)  # type: ignore[arg-type]


def test_another_key_cannot_open_it() -> None:
    with pytest.raises(NotForUs):
        unseal(OTHERS, **PLACE, box=seal(OURS, **PLACE, text=b"x"))  # type: ignore[arg-type]


@given(st.data())
def test_a_tampered_box_does_not_open(data: st.DataObject) -> None:
    box = seal(OURS, **PLACE, text=b"hunter2")  # type: ignore[arg-type]
    ciphertext = unb64(box.ciphertext)
    at = data.draw(st.integers(0, len(ciphertext) * 8 - 1))
    with pytest.raises(NotForUs):
        unseal(THEIRS, **PLACE, box=replace(box, ciphertext=b64(_flipped(ciphertext, at))))  # type: ignore[arg-type]


@pytest.mark.parametrize("ephemeral", ["", "AAAA", b64(bytes(32)), b64(bytes([1]) + bytes(31))])
def test_a_degenerate_key_in_a_box_is_refused(ephemeral: str) -> None:
    """Points of small order would make the shared secret known (RFC 7748, section 6.1)."""
    box = replace(seal(OURS, **PLACE, text=b"x"), ephemeral=ephemeral)  # type: ignore[arg-type]
    with pytest.raises(NotForUs):
        unseal(THEIRS, **PLACE, box=box)  # type: ignore[arg-type]


def test_sealing_the_same_twice_gives_different_boxes() -> None:
    """The cipher's nonce is fixed, so a key that came twice would give the content away."""
    boxes = [seal(OURS, **PLACE, text=b"same") for _ in range(50)]  # type: ignore[arg-type]
    assert len({box.ephemeral for box in boxes}) == len({box.ciphertext for box in boxes}) == 50
    assert bytes(12) == sealing._NONCE


# --- joining -------------------------------------------------------------------------------------


def test_a_token_depends_on_operator_and_node_alone() -> None:
    other, _ = keys.new_operator_key()
    token = keys.join_token(PRIVATE, "lax-vultr-1")
    assert token == keys.join_token(PRIVATE, "lax-vultr-1")
    assert token != keys.join_token(PRIVATE, "ord-vultr-1")
    assert token != keys.join_token(other, "lax-vultr-1")


def test_a_request_shows_the_token_without_carrying_it() -> None:
    token = keys.join_token(PRIVATE, "lax-vultr-1")
    request = joining.join_request(token, "lax-vultr-1", FACTS)
    assert joining.is_authentic(token, request)
    wire = dump(request).decode()
    for secret in (token, joining.proof_private(token), unb64(token).hex()):
        assert secret not in wire


def stating(**changed: str) -> str:
    return dump(replace(FACTS, **changed)).decode()  # type: ignore[arg-type]


TOKEN = keys.join_token(PRIVATE, "lax-vultr-1")
REQUEST = joining.join_request(TOKEN, "lax-vultr-1", FACTS)
STRANGER = joining.join_request(b64(bytes(32)), "lax-vultr-1", FACTS)


@pytest.mark.parametrize(
    "request_",
    [
        STRANGER,
        replace(REQUEST, mac=STRANGER.mac),
        replace(REQUEST, mac=b64(bytes(32))),
        replace(REQUEST, mac=""),
        replace(REQUEST, node="ord-vultr-1"),
        replace(REQUEST, facts=stating(sealing=OURS)),
        replace(REQUEST, facts=stating(identity=PUBLIC)),
        replace(REQUEST, facts=stating(instance_id="i-other")),
        replace(REQUEST, facts=REQUEST.facts + " "),
    ],
    ids=[
        "guessed token", "mac of another", "zero mac", "no mac", "another node",
        "another sealing key", "another identity", "another instance", "another text",
    ],
)  # fmt: skip
def test_a_request_that_is_not_the_tokens_is_not_believed(request_: JoinRequest) -> None:
    assert not joining.is_authentic(TOKEN, request_)


def test_what_the_registry_knows_of_a_token_does_not_make_a_request() -> None:
    """The proof's public half, or even its private one, is no join key."""
    for known in (joining.proof_public(TOKEN), joining.proof_private(TOKEN)):
        assert not joining.is_authentic(TOKEN, joining.join_request(known, "lax-vultr-1", FACTS))


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
