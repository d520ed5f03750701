"""Joining a network with a token.

Two keys are derived from a token. The *join key* is known to node and operator only, and
authenticates the node's facts by HMAC: a compromised registry can enrol no node. The *proof key* is
a signing key; the operator gives its public half to the registries. With it a node that has not
joined yet shows which node it is, and a registry checks that without a secret.
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
    """The facts in a request. Raises :class:`mesh.trust.encoding.Malformed`. Parse them only after
    the HMAC over their text has been verified."""
    return parse(Facts, request.facts)


def is_authentic(token: str, request: JoinRequest) -> bool:
    """Whether this request was made with the node's token. In constant time."""
    try:
        theirs = unb64(request.mac)
    except Malformed:
        return False
    return hmac.compare_digest(theirs, _mac(token, request.node, request.facts))


def proof_private(token: str) -> str:
    """The signing key by which a node shows that it holds its token."""
    return b64(keys.derive(unb64(token, keys.KEY_BYTES), _PROOF))


def proof_public(token: str) -> str:
    """The public half of that key, for the registries."""
    private = Ed25519PrivateKey.from_private_bytes(unb64(proof_private(token)))
    return b64(private.public_key().public_bytes_raw())


def _mac(token: str, node: str, facts: str) -> bytes:
    key = keys.derive(unb64(token, keys.KEY_BYTES), _MAC)
    text = _MAC + b"\0" + canonical({"node": node}) + b"\0" + facts.encode()
    return hmac.digest(key, text, "sha256")
