"""Asks the glasses of other nodes, and takes each answer as that node's word: parsed into the types
of answers, under its own name, and with the reason where there is none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from pydantic import ValidationError

from mesh.foreign import printable
from mesh.glass import calls
from mesh.glass.answers import Answer, NodeAnswer
from mesh.glass.bird import Busy
from mesh.glass.calls import Reply
from mesh.glass.network import Node
from mesh.glass.snapshot import Snapshot
from mesh.trust.encoding import adapter

T = TypeVar("T")
API = "/api/v1/"
AT_ONCE = 8
"""Questions to other nodes at the same time; each has a connection to every node, and a process
1024 files."""


class Spread:
    """Questions to other nodes, at this port of theirs."""

    def __init__(self, port: int, at_once: int = AT_ONCE) -> None:
        self._port = port
        self._slots = threading.BoundedSemaphore(at_once)

    def ask(
        self, nodes: Iterable[Node], target: str, kind: type[Answer[T]]
    ) -> dict[str, NodeAnswer[T]]:
        """What each node says for itself; ``target`` is a path below :data:`API`. Raises
        :class:`Busy`."""
        called = {node.id: node.tunnel for node in nodes}
        if not self._slots.acquire(timeout=calls.SECONDS):
            raise Busy
        try:
            joint = "&" if "?" in target else "?"
            replies = calls.call(called, self._port, f"{API}{target}{joint}here=1")
        finally:
            self._slots.release()
        return {name: _answer(name, reply, kind) for name, reply in replies.items()}


def _answer(name: str, reply: Reply, kind: type[Answer[T]]) -> NodeAnswer[T]:
    if reply.why:
        return NodeAnswer(ok=False, why=reply.why, took_ms=reply.took_ms)
    if reply.status != 200:
        return NodeAnswer(ok=False, why=_refusal(reply), took_ms=reply.took_ms)
    try:
        answer = adapter(kind).validate_json(reply.body)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        why = f"its answer is none of this version: {printable(where)}"[:200]
        return NodeAnswer(ok=False, why=why, took_ms=reply.took_ms)
    return _named(name, reply, answer)


def _named(name: str, reply: Reply, answer: Answer[T]) -> NodeAnswer[T]:
    """The answer of that node for itself; nothing that it says of others."""
    if set(answer.nodes) != {name}:
        return NodeAnswer(ok=False, why="it answers as another node", took_ms=reply.took_ms)
    own = answer.nodes[name]
    if own.ok and own.data is None:
        return NodeAnswer(ok=False, why="its answer is empty", took_ms=reply.took_ms)
    if isinstance(own.data, Snapshot) and own.data.node != name:
        return NodeAnswer(ok=False, why="it answers as another node", took_ms=reply.took_ms)
    return replace(own, took_ms=reply.took_ms, why=printable(own.why))


def _refusal(reply: Reply) -> str:
    """What a node says instead of an answer."""
    try:
        error = adapter(dict[str, dict[str, str]]).validate_json(reply.body)["error"]
        return f"it answers {reply.status}: {printable(error['reason'])}"[:200]
    except (ValidationError, KeyError):
        return f"it answers {reply.status}"
