"""Sealing: encryption of a file to one node.

Ephemeral X25519, HKDF-SHA256 and ChaCha20-Poly1305 (RFC 8439). Node, generation and path are
associated data, so that a relay cannot present a sealed file as another node's, another
generation's or another file.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from mesh.trust import keys
from mesh.trust.encoding import Malformed, b64, canonical, unb64
from mesh.trust.envelopes import Box as Box

_INFO = b"anycast-mesh/v1/seal"
# Each key is derived from a fresh ephemeral key and encrypts one message, so the nonce is fixed.
_NONCE = bytes(12)


class NotForUs(Exception):
    """This box was not sealed to this key for this node, generation and path."""


def seal(public: str, node: str, generation: int, path: str, text: bytes) -> Box:
    """Seals a file's content to a node's X25519 key; a new box each time."""
    ephemeral = X25519PrivateKey.generate()
    shared = ephemeral.exchange(keys.exchange_public_key(public))
    own = ephemeral.public_key().public_bytes_raw()
    cipher = ChaCha20Poly1305(_key(shared, own, unb64(public)))
    return Box(b64(own), b64(cipher.encrypt(_NONCE, text, _bound(node, generation, path))))


def unseal(private: str, node: str, generation: int, path: str, box: Box) -> bytes:
    """The content of a box; raises :class:`NotForUs`."""
    try:
        key = X25519PrivateKey.from_private_bytes(unb64(private, keys.KEY_BYTES))
        theirs = unb64(box.ephemeral, keys.KEY_BYTES)
        shared = key.exchange(keys.exchange_public_key(box.ephemeral))
        cipher = ChaCha20Poly1305(_key(shared, theirs, key.public_key().public_bytes_raw()))
        return cipher.decrypt(_NONCE, unb64(box.ciphertext), _bound(node, generation, path))
    except (InvalidTag, Malformed, ValueError):
        raise NotForUs(f"{path}: not sealed to {node} for generation {generation}") from None


def _key(shared: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    return keys.derive(shared, _INFO, salt=ephemeral + recipient)


def _bound(node: str, generation: int, path: str) -> bytes:
    return canonical({"generation": generation, "node": node, "path": path})
