"""Joining: what a token proves, and to whom.

Two keys come from a token. The *join key* stays with node and operator, and authenticates the
node's facts by HMAC: the operator verifies it, so that a registry that is broken into can enrol
nobody. The *proof key* is a signing key whose public half the operator gives to the registries:
with it a node that has not joined yet may ask which node it is, and a registry can check that
without holding a secret.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.facts import Facts
from mesh.trust import keys
from mesh.trust.documents import JoinRequest
from mesh.trust.encoding import Malformed, b64, canonical, dump, parse, unb64

_MAC = b"anycast-mesh/v1/join-mac"
_PROOF = b"anycast-mesh/v1/join-proof"


def join_request(token: str, node: str, facts: Facts) -> JoinRequest:
    """A node's facts under its token's HMAC."""
    text = dump(facts).decode("ascii")
    return JoinRequest(node, text, b64(_mac(token, node, text)))


def stated_facts(request: JoinRequest) -> Facts:
    """The facts in a request; :class:`mesh.trust.encoding.Malformed` where they are none. Parsed
    after the HMAC has been verified over their text, and not before."""
    return parse(Facts, request.facts)


def is_authentic(token: str, request: JoinRequest) -> bool:
    """Whether who made this request holds the node's token. In constant time."""
    try:
        theirs = unb64(request.mac)
    except Malformed:
        return False
    return hmac.compare_digest(theirs, _mac(token, request.node, request.facts))


def proof_private(token: str) -> str:
    """The signing key by which a node shows that it holds its token."""
    return b64(keys.derive(unb64(token, keys.KEY_BYTES), _PROOF))


def proof_public(token: str) -> str:
    """Its public half, which the registries may know."""
    private = Ed25519PrivateKey.from_private_bytes(unb64(proof_private(token)))
    return b64(private.public_key().public_bytes_raw())


def _mac(token: str, node: str, facts: str) -> bytes:
    key = keys.derive(unb64(token, keys.KEY_BYTES), _MAC)
    text = _MAC + b"\0" + canonical({"node": node}) + b"\0" + facts.encode()
    return hmac.digest(key, text, "sha256")
