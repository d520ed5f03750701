"""Ports that are chosen here and bound later, by another process or a part of the product."""

from __future__ import annotations

import socket
from contextlib import suppress
from random import SystemRandom

_BELOW = range(10_000, 32_768)
"""The kernel gives none of these to who connects or asks for any port (ip_local_port_range)."""


def free_port() -> int:
    """A TCP port that is free at all addresses, and stays so among processes that use any port."""
    while True:
        port = SystemRandom().choice(_BELOW)
        with suppress(OSError), socket.create_server(("", port)):
            return port
