"""The generation number of the kernel's nftables ruleset. It grows with each change of any table by
a program, and not with elements that packets add to sets. Reading it starts no process."""

from __future__ import annotations

import socket
import struct

_NETFILTER = 12
_GET = 0x0A10
"""NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN."""
_NEW = 0x0A0F
_REQUEST = 1
_ID = 1
"""The attribute NFTA_GEN_ID."""
_PATIENCE = 2.0


def ruleset_id() -> int | None:
    """The number; None if the kernel does not answer."""
    request = struct.pack("=IHHIIBBH", 20, _GET, _REQUEST, 1, 0, socket.AF_UNSPEC, 0, 0)
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER
        ) as one:
            one.settimeout(_PATIENCE)
            one.send(request)
            answer = one.recv(4096)
    except OSError:
        return None
    if len(answer) < 28 or struct.unpack_from("=H", answer, 4)[0] != _NEW:
        return None
    length, kind = struct.unpack_from("=HH", answer, 20)
    if (length, kind) != (8, _ID):
        return None
    return int(struct.unpack_from(">I", answer, 24)[0])
