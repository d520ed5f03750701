"""A cache of answers that stay the same until the next generation."""

from __future__ import annotations

from collections import OrderedDict

HELD = 8 << 20
"""Bytes of cached answers."""


class Answers:
    """The last requested bodies of one generation, up to ``held`` bytes."""

    def __init__(self, held: int = HELD) -> None:
        self._held = held
        self._generation = ""
        self._bodies: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._size = 0

    def get(self, generation: str, kind: str, name: str) -> bytes | None:
        """The body of that kind for that name, in the generation of that manifest hash."""
        if generation != self._generation:
            return None
        body = self._bodies.get((kind, name))
        if body is not None:
            self._bodies.move_to_end((kind, name))
        return body

    def put(self, generation: str, kind: str, name: str, body: bytes) -> None:
        """Caches a body, and drops those of another generation."""
        if generation != self._generation:
            self._bodies.clear()
            self._generation, self._size = generation, 0
        self._size += len(body) - len(self._bodies.pop((kind, name), b""))
        self._bodies[kind, name] = body
        while self._size > self._held:
            _, oldest = self._bodies.popitem(last=False)
            self._size -= len(oldest)
