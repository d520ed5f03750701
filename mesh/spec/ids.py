"""The parts of a node's id: ``<region>-<provider>-<n>``."""

from __future__ import annotations


def split_id(node_id: str) -> tuple[str, str]:
    """Region and slot name of a node id: ``lax-vultr-1`` → (``lax``, ``vultr-1``)."""
    region, _, slot = node_id.partition("-")
    return region, slot


def provider_of(node_id: str) -> str:
    """The provider's name in a node id: ``lax-vultr-1`` → ``vultr``."""
    return split_id(node_id)[1].rpartition("-")[0]
