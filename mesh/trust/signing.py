"""Signatures, each for one purpose: a signature for one is never valid for another."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from cryptography.exceptions import InvalidSignature

from mesh.trust import keys
from mesh.trust.encoding import Malformed, b64, dump, parse, unb64
from mesh.trust.envelopes import Signed as Signed

T = TypeVar("T")
SIGNATURE_BYTES = 64


class Purpose(StrEnum):
    """What a signature is for. The name and a NUL precede the signed text, so that no signed text
    of one purpose is one of another."""

    BLACKHOLE = "anycast-mesh/v1/blackhole"
    DRAIN = "anycast-mesh/v1/drain"
    HOLD = "anycast-mesh/v1/hold"
    MANIFEST = "anycast-mesh/v1/manifest"
    REPORT = "anycast-mesh/v1/report"
    REQUEST = "anycast-mesh/v1/request"
    ROLLOUT = "anycast-mesh/v1/rollout"


class BadSignature(Exception):
    """The signature is not valid for this key, text and purpose."""


def sign(private: str, purpose: Purpose, text: bytes) -> str:
    """Ed25519 over purpose and text, base64."""
    return b64(keys.signing_key(private).sign(_bound(purpose, text)))


def verify(public: str, purpose: Purpose, text: bytes, signature: str) -> None:
    """Raises :class:`BadSignature` if the signature is not valid."""
    try:
        raw = unb64(signature, SIGNATURE_BYTES)
        keys.verifying_key(public).verify(raw, _bound(purpose, text))
    except (InvalidSignature, Malformed):
        raise BadSignature(f"no valid signature for {purpose.value}") from None


def signed_document(private: str, purpose: Purpose, document: object) -> Signed:
    """A document, signed."""
    text = dump(document)
    return Signed(text.decode("ascii"), sign(private, purpose, text))


def opened(public: str, purpose: Purpose, signed: Signed, kind: type[T]) -> T:
    """The document of an envelope, after its signature has been verified."""
    text = signed.payload.encode()
    verify(public, purpose, text, signed.signature)
    return parse(kind, text)


def _bound(purpose: Purpose, text: bytes) -> bytes:
    return purpose.value.encode() + b"\0" + text
