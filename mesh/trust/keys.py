"""Keys: the operator's, a node's, and the join token.

All are raw 32-byte keys in base64: Ed25519 (RFC 8032) to sign, X25519 (RFC 7748) to seal to.
"""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mesh.trust.encoding import b64, unb64

KEY_BYTES = 32
_TOKEN = b"anycast-mesh/v1/join-token/"


def new_operator_key() -> tuple[str, str]:
    """A fresh key of a network's operator: private half and public half."""
    return new_signing_key()


def new_signing_key() -> tuple[str, str]:
    """A fresh Ed25519 key: private half and public half."""
    private = b64(Ed25519PrivateKey.generate().private_bytes_raw())
    return private, signing_public(private)


def signing_public(private: str) -> str:
    """The public half of an Ed25519 key."""
    return b64(signing_key(private).public_key().public_bytes_raw())


def signing_key(private: str) -> Ed25519PrivateKey:
    """An Ed25519 private key from base64."""
    return Ed25519PrivateKey.from_private_bytes(unb64(private, KEY_BYTES))


def verifying_key(public: str) -> Ed25519PublicKey:
    """An Ed25519 public key from base64."""
    return Ed25519PublicKey.from_public_bytes(unb64(public, KEY_BYTES))


def new_exchange_key() -> tuple[str, str]:
    """A fresh X25519 key, private and public half: a sealing key or a WireGuard key."""
    private = b64(X25519PrivateKey.generate().private_bytes_raw())
    return private, exchange_public(private)


def exchange_public(private: str) -> str:
    """The public half of an X25519 key; what ``wg pubkey`` prints for a WireGuard key."""
    key = X25519PrivateKey.from_private_bytes(unb64(private, KEY_BYTES))
    return b64(key.public_key().public_bytes_raw())


def exchange_public_key(public: str) -> X25519PublicKey:
    """An X25519 public key from base64."""
    return X25519PublicKey.from_public_bytes(unb64(public, KEY_BYTES))


def join_token(operator_private: str, node_id: str) -> str:
    """The token of a node, derived (RFC 5869) from the operator's secret and the node's id: a stack
    needs no further state, and a re-created server gets the same token."""
    secret = unb64(operator_private, KEY_BYTES)
    return b64(derive(secret, _TOKEN + node_id.encode()))


def derive(secret: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    """32 bytes by HKDF-SHA256; ``info`` keeps the uses of one secret apart."""
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)
