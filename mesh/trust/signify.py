"""Keys and signatures in the form of signify(1), with which OpenBSD's base system verifies them.

A file has a line of comment and a line of base64: the algorithm (``Ed``), a number by which the
signature names its key, and the raw Ed25519 key or signature. In a signature with its message,
the message follows these two lines.
"""

from __future__ import annotations

from hashlib import sha256

from mesh.trust.encoding import b64, unb64
from mesh.trust.keys import KEY_BYTES, signing_key, signing_public
from mesh.trust.signing import SIGNATURE_BYTES, Purpose

_ALGORITHM = b"Ed"
_NUMBER_BYTES = 8
_COMMENT = "untrusted comment: "


def public_key(public: str) -> str:
    """The file of a public key; signify finds its signatures by the number."""
    raw = unb64(public, KEY_BYTES)
    return _file("Anycast Mesh operator's public key", _number(public) + raw)


def embedded(private: str, message: str) -> str:
    """The message below its signature: what ``signify -V -e`` and ``signify -C`` read. Refuses a
    message that could be taken for one of a :class:`mesh.trust.signing.Purpose`."""
    if message.startswith(tuple(purpose.value for purpose in Purpose)):
        raise ValueError("the message begins as a signed document of another purpose")
    public = signing_public(private)
    signature = signing_key(private).sign(message.encode())
    return _file("verify with operator.pub", _number(public) + signature) + message


def unsigned(message: str) -> str:
    """The message below a signature that is valid for no key: for display only."""
    return _file("not signed", bytes(_NUMBER_BYTES + SIGNATURE_BYTES)) + message


def _number(public: str) -> bytes:
    """The number of a key, which follows from it."""
    return sha256(unb64(public, KEY_BYTES)).digest()[:_NUMBER_BYTES]


def _file(comment: str, content: bytes) -> str:
    return f"{_COMMENT}{comment}\n{b64(_ALGORITHM + content)}\n"
