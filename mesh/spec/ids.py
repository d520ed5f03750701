"""The parts of a node's id: ``<region>-<provider>-<n>``."""

from __future__ import annotations

from hashlib import sha256

LONGEST = 24
"""The most characters of a node's id."""
FITS = 12
"""Characters of a name that fit into an interface's beside a prefix of three as ``wg-``: the kernel
takes 15 (IFNAMSIZ)."""


def split_id(node_id: str) -> tuple[str, str]:
    """Region and slot name of a node id: ``lax-vultr-1`` → (``lax``, ``vultr-1``)."""
    region, _, slot = node_id.partition("-")
    return region, slot


def provider_of(node_id: str) -> str:
    """The provider's name in a node id: ``lax-vultr-1`` → ``vultr``."""
    return split_id(node_id)[1].rpartition("-")[0]


def short(name: str) -> str:
    """A node id or a provider's name as part of an interface's name: where it does not fit, its
    beginning and a digest of it, so that no other name changes it."""
    if len(name) <= FITS:
        return name
    return f"{split_id(name)[0][:4]}-{sha256(name.encode()).hexdigest()[:7]}"


def interface(peer: str) -> str:
    """Name of the tunnel interface to a peer, where interfaces have free names."""
    return f"wg-{short(peer)}"


def numbered_interface(number: int) -> str:
    """Name of the tunnel interface to the peer with this tunnel number on OpenBSD, where an
    interface is called by its driver and a number (ifconfig(8), ``create``)."""
    return f"wg{number}"
