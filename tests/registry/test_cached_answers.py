"""What a registry makes once for a generation, and what it sends at once."""

from __future__ import annotations

import asyncio

from mesh.registry.cached_answers import Answers
from mesh.registry.write_batching import LARGE, BatchingTransport


def test_an_answer_is_held_until_the_next_generation() -> None:
    answers = Answers()
    answers.put("first", "part", "ord-vultr-1", b"one")
    assert answers.get("first", "part", "ord-vultr-1") == b"one"
    assert answers.get("first", "config", "ord-vultr-1") is None
    answers.put("second", "part", "lax-vultr-1", b"two")
    assert answers.get("first", "part", "ord-vultr-1") is None
    assert answers.get("second", "part", "ord-vultr-1") is None
    assert answers.get("second", "part", "lax-vultr-1") == b"two"


def test_so_many_bytes_are_held_and_who_was_asked_for_last_stays() -> None:
    answers = Answers(held=100)
    for name in ("a", "b"):
        answers.put("first", "part", name, bytes(40))
    answers.get("first", "part", "a")
    answers.put("first", "part", "c", bytes(40))
    assert [answers.get("first", "part", n) is not None for n in "abc"] == [True, False, True]
    answers.put("first", "part", "d", bytes(101))
    assert answers.get("first", "part", "d") is None


class Wire(asyncio.Transport):
    """What reaches the network."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.closed = True


def test_head_and_body_are_one_write() -> None:
    async def written() -> list[bytes]:
        wire = Wire()
        joined = BatchingTransport(wire)
        joined.write(b"head")
        joined.write(b"body")
        await asyncio.sleep(0)
        joined.write(b"next")
        await asyncio.sleep(0)
        return wire.sent

    assert asyncio.run(written()) == [b"headbody", b"next"]


def test_what_is_large_does_not_wait_and_a_close_loses_nothing() -> None:
    async def written() -> Wire:
        wire = Wire()
        joined = BatchingTransport(wire)
        joined.write(b"head")
        joined.write(bytes(LARGE))
        assert wire.sent == [b"head" + bytes(LARGE)]
        joined.write(b"end")
        joined.close()
        await asyncio.sleep(0)
        return wire

    wire = asyncio.run(written())
    assert wire.sent[1:] == [b"end"] and wire.closed
