"""Addresses as text."""

from __future__ import annotations

from functools import lru_cache

from mesh.plan import Address, Network


@lru_cache(maxsize=1 << 15)
def text(address: Address | Network) -> str:
    """An address or a prefix as its files have it. Python takes longer to write one of IPv6 than to
    render the line that has it, and most stand in files of several nodes."""
    return str(address)
