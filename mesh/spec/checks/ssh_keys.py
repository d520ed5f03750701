"""SSH public keys, of people and of hosts."""

from __future__ import annotations

import base64
import binascii


def key_body(key: str) -> str | None:
    """The base64 body of an OpenSSH public key; None where it is not one (RFC 4253, 6.6)."""
    parts = key.split()
    if len(parts) < 2 or "\n" in key:
        return None
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        return None
    kind = parts[0].encode()
    well_formed = blob.startswith(len(kind).to_bytes(4, "big") + kind) and len(blob) > 32
    return parts[1] if well_formed else None
