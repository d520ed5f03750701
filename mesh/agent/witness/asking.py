"""Asks questions in rounds, and tells which ones are answered."""

from __future__ import annotations

import secrets
import selectors
import socket
import struct
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from mesh.agent.witness.echoes import FAMILIES, TOKEN, Answer, Echo, Echoes
from mesh.agent.witness.examination import Port, Question

LOOKBACK = 2
"""A question is answered if a packet of so many rounds, this one included, has been answered: one
that is lost does not count, nor does it that an answer from another continent comes late."""
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER of a connection that ends with a reset, and leaves nothing behind."""

Key = tuple[str, str]
"""A node, and the name of what is asked about it."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """An echo request under way."""

    key: Key
    echo: Echo
    token: bytes
    round: int


class Asking:
    """Rounds of questions, until it is closed. OSError where this process may have no packet
    sockets."""

    def __init__(self) -> None:
        self._echoes = Echoes()
        self._selector = selectors.DefaultSelector()
        for reader in self._echoes.readers:
            self._selector.register(reader, selectors.EVENT_READ)
        self._round = 0
        self._sent: dict[int, _Sent] = {}
        self._connecting: dict[socket.socket, tuple[Key, int]] = {}
        self._first: dict[Key, int] = {}
        self._answered: dict[Key, int] = {}
        """By what is asked: the round in which it was asked first, and the last one of which a
        packet was answered."""

    def close(self) -> None:
        """Closes all sockets."""
        for connection in list(self._connecting):
            self._end(connection)
        self._selector.close()
        self._echoes.close()

    def round(self, questions: Sequence[Question], until: float) -> set[Key]:
        """One round, until then (monotonic seconds), or until all that was answered before is
        answered again. Returns what is answered."""
        self._round += 1
        self._begin({(one.node, one.name) for one in questions})
        # What has come since the last round: that may have ended without waiting for it.
        self._listen(0)
        before = self._answered_since(self._round - LOOKBACK)
        half = time.monotonic() + (until - time.monotonic()) / 2
        for again, end in ((False, half), (True, until)):
            for one in questions:
                if not again or not self._is_answered((one.node, one.name)):
                    self._ask(one)
            while (left := end - time.monotonic()) > 0:
                if self._is_settled(before):
                    return self._answered_since(self._round - LOOKBACK + 1)
                self._listen(left)
        return self._answered_since(self._round - LOOKBACK + 1)

    def _begin(self, keys: Collection[Key]) -> None:
        """Forgets what is not asked any more, and what nobody waits for."""
        oldest = self._round - LOOKBACK + 1
        self._first = {key: self._first.get(key, self._round) for key in keys}
        self._answered = {key: n for key, n in self._answered.items() if key in self._first}
        self._sent = {n: one for n, one in self._sent.items() if one.round >= oldest}
        for connection, (_, number) in list(self._connecting.items()):
            if number < oldest:
                self._end(connection)

    def _answered_since(self, first: int) -> set[Key]:
        return {key for key, number in self._answered.items() if number >= first}

    def _is_answered(self, key: Key) -> bool:
        return self._answered.get(key) == self._round

    def _is_settled(self, before: Collection[Key]) -> bool:
        """Whether nothing is waited for: what is new has had its time."""
        return all(map(self._is_answered, before)) and all(
            first <= self._round - LOOKBACK for first in self._first.values()
        )

    def _ask(self, question: Question) -> None:
        """Asks once; what cannot be sent is not answered."""
        key = (question.node, question.name)
        with suppress(OSError):
            if isinstance(question.asked, Port):
                self._connect(key, question.asked)
            else:
                token = secrets.token_bytes(TOKEN)
                number = self._echoes.send(question.asked, token)
                self._sent[number] = _Sent(key, question.asked, token, self._round)

    def _connect(self, key: Key, port: Port) -> None:
        family = FAMILIES[ip_address(port.host).version]
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._connecting[made] = key, self._round
        self._selector.register(made, selectors.EVENT_WRITE)
        made.connect_ex((port.host, port.port))

    def _end(self, connection: socket.socket) -> None:
        del self._connecting[connection]
        self._selector.unregister(connection)
        connection.close()

    def _listen(self, seconds: float) -> None:
        """Waits for answers, and takes those that have come."""
        for event, _ in self._selector.select(seconds):
            if (connection := self._connection(event.fileobj)) is not None:
                key, number = self._connecting[connection]
                if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    self._take(key, number)
                self._end(connection)
        for answer in self._echoes.received():
            sent = self._sent.get(answer.sequence)
            if sent is not None and _fits(sent, answer):
                del self._sent[answer.sequence]
                self._take(sent.key, sent.round)

    def _connection(self, file: object) -> socket.socket | None:
        return file if isinstance(file, socket.socket) and file in self._connecting else None

    def _take(self, key: Key, number: int) -> None:
        if key in self._first:
            self._answered[key] = max(number, self._answered.get(key, number))


def _fits(sent: _Sent, answer: Answer) -> bool:
    """Whether it is the answer to this request: from whom was asked, with what only who has got the
    request knows."""
    return (
        answer.source == sent.echo.target
        and answer.target == sent.echo.source
        and secrets.compare_digest(answer.token, sent.token)
    )
