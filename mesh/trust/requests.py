"""Signed requests: method, target, body and a nonce of the server. No clock is needed.

``Authorization: Mesh signer=<kind>:<id>,nonce=…,sha256=…,signature=…``. The server checks the
signature over the *stated* hash before it reads the body, and the body against the hash
afterwards: an unauthenticated client cannot make it read a body.
"""

from __future__ import annotations

import hmac
import re
import secrets
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal

from mesh.trust import signing
from mesh.trust.encoding import canonical, sha256
from mesh.trust.signing import Purpose

Kind = Literal["operator", "node", "token"]
_HEADER = re.compile(
    r"Mesh signer=(operator|node|token):([a-z0-9-]{0,32}),nonce=([0-9a-f]{96}),"
    r"sha256=([0-9a-f]{64}),signature=([A-Za-z0-9+/]{86}==)"
)


@dataclass(frozen=True, slots=True)
class Signer:
    """Who sends a request: the operator (no id), a member by its identity key, or a node by the
    proof key of its token."""

    kind: Kind
    id: str
    private: str

    def header(self, method: str, target: str, body: bytes, nonce: str) -> str:
        """The Authorization header of one request. ``target`` is path and query as sent."""
        digest = sha256(body)
        text = _text(self.kind, self.id, method, target, digest, nonce)
        signature = signing.sign(self.private, Purpose.REQUEST, text)
        return (
            f"Mesh signer={self.kind}:{self.id},nonce={nonce},sha256={digest},signature={signature}"
        )

    def __repr__(self) -> str:
        return f"Signer({self.kind}:{self.id})"


@dataclass(frozen=True, slots=True)
class Claim:
    """What an Authorization header claims, not yet verified."""

    kind: Kind
    id: str
    nonce: str
    sha256: str
    signature: str

    @staticmethod
    def parsed(header: str) -> Claim | None:
        """The claim of a header; None if it has another form."""
        match = _HEADER.fullmatch(header)
        if match is None:
            return None
        kind, name, nonce, digest, signature = match.groups()
        return Claim(kind, name, nonce, digest, signature)  # type: ignore[arg-type]

    def holds(self, public: str, method: str, target: str) -> bool:
        """Whether that key signed this request."""
        text = _text(self.kind, self.id, method, target, self.sha256, self.nonce)
        try:
            signing.verify(public, Purpose.REQUEST, text, self.signature)
        except signing.BadSignature:
            return False
        return True


def _text(kind: str, name: str, method: str, target: str, digest: str, nonce: str) -> bytes:
    return canonical([kind, name, method, target, digest, nonce])


class Nonces:
    """Nonces of one server, for single use, in bounded memory.

    A nonce contains its time and the server's MAC, so that issuing one takes no memory and a flood
    of requests invalidates none. Only nonces used under a valid signature are remembered, until
    they would have expired, and so many of ``each`` signer: none keeps the others out by asking
    without an end. A restart makes all older ones invalid.
    """

    def __init__(
        self,
        lifetime: float = 60.0,
        limit: int = 65536,
        each: int = 32768,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret = secrets.token_bytes(32)
        self._lifetime, self._limit, self._each, self._clock = lifetime, limit, each, clock
        self._spent: dict[str, tuple[float, Hashable]] = {}
        self._by = Counter[Hashable]()
        self._lock = threading.Lock()

    def fresh(self) -> str:
        """A new nonce, hex."""
        head = struct.pack(">d", self._clock()) + secrets.token_bytes(8)
        return (head + self._mac(head)).hex()

    def valid(self, nonce: str) -> bool:
        """Whether this nonce is ours, not expired and not used."""
        raw = bytes.fromhex(nonce)
        head, mac = raw[:16], raw[16:]
        if not hmac.compare_digest(mac, self._mac(head)):
            return False
        (issued,) = struct.unpack(">d", head[:8])
        with self._lock:
            return self._clock() - issued <= self._lifetime and nonce not in self._spent

    def spend(self, nonce: str, signer: Hashable) -> bool:
        """Marks a valid nonce as used by this signer. False if another request has used it, or if
        a limit of remembered nonces is reached: of all, or of this signer."""
        now = self._clock()
        with self._lock:
            self._forget(now)
            full = len(self._spent) >= self._limit or self._by[signer] >= self._each
            if full or nonce in self._spent:
                return False
            self._spent[nonce] = now, signer
            self._by[signer] += 1
            return True

    def _forget(self, now: float) -> None:
        """Forgets the nonces that have expired; the first to be used are the first to go."""
        while self._spent:
            oldest = next(iter(self._spent))
            used, signer = self._spent[oldest]
            if now - used <= self._lifetime:
                break
            del self._spent[oldest]
            self._by[signer] -= 1
            if not self._by[signer]:
                del self._by[signer]

    def _mac(self, head: bytes) -> bytes:
        return hmac.digest(self._secret, head, "sha256")
