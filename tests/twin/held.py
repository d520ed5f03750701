"""Nodes that are held while a test works on them by hand: they would put it right again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_BUNDLE = ("python3", "/var/lib/anycast-mesh/bundle.pyz")


@contextmanager
def held(execute: Callable[..., str], *nodes: str) -> Iterator[None]:
    """``execute`` runs a command on a node."""
    for node in nodes:
        execute(node, *_BUNDLE, "hold", "10m")
    try:
        yield
    finally:
        for node in nodes:
            execute(node, *_BUNDLE, "unhold")
