"""A host that means harm, at the other end of a real SSH connection: it costs the operator one
sentence, and neither memory nor time nor a command to his terminal."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

import asyncssh
import pytest

from mesh.ssh import DeliveryError, Target, connection, examine, is_there, withdraw
from tests.kit.existing_host import LOGIN, NODE, key_text
from tests.kit.wait import PATIENCE

HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")
ADMIN = [ip_network("127.0.0.0/8")]
INSTANCE = "host-0123456789abcdef"
GOOD = {
    "connection": "127.0.0.1 1 127.0.0.1 22",
    "instance": "",
    "machine": "x86_64",
    "system": "debian 13",
    "systemd": "yes",
    "root": "yes",
    "tool": "python3",
    "space": "/dev/vda 9 9 9999999 1% /var",
    "address": "127.0.0.1",
}
"""What a host says to the first questions."""

Process = asyncssh.SSHServerProcess[bytes]
Handler = Callable[[Process], Awaitable[None]]


def said(**changes: str) -> bytes:
    """The answers to the first questions, with these changes."""
    lines = (f"{word} {value}\n" for word, value in (GOOD | changes).items())
    return "".join(lines).encode()


@contextmanager
def serving(handle: Handler) -> Iterator[Target]:
    """An SSH server that lets the operator in, and then does with him as it likes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[HOST_KEY],
            authorized_client_keys=asyncssh.import_authorized_keys(
                LOGIN.export_public_key().decode()
            ),
            process_factory=handle, encoding=None,
        )  # fmt: skip

    async def stop(server: asyncssh.SSHAcceptor) -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
    try:
        yield target(server.get_port())
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


def target(port: int) -> Target:
    """How the operator reaches a host on loopback."""
    key = " ".join(HOST_KEY.export_public_key("openssh").decode().split()[:2])
    login = key_text(LOGIN)
    return Target(NODE, "buyvm", "127.0.0.1", port, "root", (key,), False, login, PATIENCE)


def answering(questions: bytes, receiver: bytes = b"") -> Handler:
    """A host that says this to the questions, and that as the receiver, whatever it is asked."""

    async def handle(process: Process) -> None:
        if "-I -c" in (process.command or ""):
            await process.stdin.readexactly(int((process.command or "").split()[-1]))
            await process.stdin.readline()
            process.stdout.write(receiver)
        else:
            process.stdout.write(questions)
        process.exit(0)

    return handle


MALFORMED: list[tuple[str, bytes]] = [
    ("a source that is no address", said(connection="nobody 1 2 3")),
    ("an address that is none", said(address="\x1b[2J")),
    ("an address with more to it", said(sends="fe80::1%\x1b[2J")),
    ("a number that only looks like one", said(space="/dev/vda 9 9 \u00b2 1% /var")),
    ("a number without end", said(space="d 9 9 " + "9" * 5000)),
    ("no text at all", b"\xff\xfe" * 1000 + said(connection="\x00")),
    ("more than there is to say", b"tool x\n" * 20_000),
]


@pytest.mark.parametrize("questions", [row[1] for row in MALFORMED], ids=[r[0] for r in MALFORMED])
def test_answers_that_make_no_sense_are_a_problem(questions: bytes) -> None:
    with serving(answering(questions)) as host:
        found = examine(host, None, ADMIN)
    assert found
    for problem in found:
        assert str(problem).isprintable()
        assert len(str(problem)) < 1000


@pytest.mark.parametrize("told", ["host-0", "\x1b]0;x\x07", f"{INSTANCE}\x1b[2J", INSTANCE.upper()])
def test_an_instance_is_what_a_delivery_calls_one(told: str) -> None:
    with serving(answering(said(instance=told))) as host:
        assert not is_there(host, told)


RECORD = {"node": NODE, "operator": "o", "instance": INSTANCE, "digest": "d", "done": True}


def looked(**changes: Any) -> bytes:
    """The receiver's answer to its first request, with these changes of the record."""
    answer = {"answer": {"born": True, "record": RECORD | changes}}
    return json.dumps(answer).encode() + b"\n"


ANSWERS: list[tuple[str, bytes, str]] = [
    ("no JSON", b"Last login: yesterday\n", "is invalid"),
    ("no text", b"\xff\n", "is invalid"),
    ("a list", b"[1]\n", "is invalid"),
    ("a word", b'"refused"\n', "is invalid"),
    ("nothing", b"null\n", "is invalid"),
    ("another answer", b'{"answer": []}\n', "is invalid"),
    ("no record", b'{"answer": {"born": true, "record": 1}}\n', "is invalid"),
    ("no end of brackets", b"[" * 60_000 + b"\n", "is invalid"),
    ("no end of a line", b"x" * 3_000_000, "is invalid"),
    ("an instance that commands", looked(instance="\n::add-mask::host-1\x1b[2J"), "is invalid"),
    (
        "a refusal that commands",
        b'{"refused": "no\\n::stop-commands::x\\u001b[2J"}\n',
        "the host refuses",
    ),
    ("a refusal that is none", b'{"refused": [1, 2]}\n', "the host refuses"),
    ("a line cut off", b'{"answer": ', "connection was lost"),
]


@pytest.mark.parametrize(
    ("receiver", "words"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
def test_a_receiver_that_is_none_is_one_sentence(receiver: bytes, words: str) -> None:
    lines: list[str] = []
    with serving(answering(said(), receiver)) as host, pytest.raises(DeliveryError) as error:
        withdraw(host, "host-fedcba9876543210", lines.append)
    assert words in str(error.value)
    assert str(error.value).isprintable()
    assert lines == []


def test_a_host_that_never_stops_talking_is_not_listened_to() -> None:
    sent = 0

    async def talk(process: Process) -> None:
        nonlocal sent
        while True:
            process.stdout.write(b"tool x\n" * 1000)
            sent += 7000
            await process.stdout.drain()

    with serving(talk) as host:
        (problem,) = examine(host, None, ADMIN)
    assert "is invalid" in problem.reason
    assert sent < 1 << 20


def test_errors_without_end_are_not_read_either() -> None:
    sent = 0

    async def talk(process: Process) -> None:
        nonlocal sent
        if "-I -c" not in (process.command or ""):
            await answering(said())(process)
            return
        process.stdout.write_eof()
        while True:
            process.stderr.write(b"\x1b[2J" * 1000)
            sent += 4000
            await process.stderr.drain()

    with serving(talk) as host, pytest.raises(DeliveryError) as error:
        withdraw(host, INSTANCE, lambda _: None)
    assert str(error.value).isprintable()
    assert sent < 1 << 20


@pytest.mark.parametrize("limit", ["ASKED", "SESSION"])
def test_a_host_that_answers_nothing_holds_nobody(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is up, and it even says so when it is asked."""
    monkeypatch.setattr(connection, limit, 0.5)

    async def wait(_: Process) -> None:
        await asyncio.Event().wait()

    with serving(wait) as host:
        (problem,) = examine(host, None, ADMIN)
    assert "within 0.5 s" in problem.reason


def test_what_is_said_before_any_key_was_shown_commands_nothing() -> None:
    """Whoever sits in between can say it: no key has been asked for yet (RFC 4253, 11.1)."""
    words = b"\x1b]0;owned\x07\r\n::add-mask::no ##[add-path]/tmp"
    body = struct.pack(">BII", 1, 2, len(words)) + words + struct.pack(">I", 0)
    padding = 8 - (len(body) + 5) % 8 + 8
    packet = struct.pack(">IB", len(body) + padding + 1, padding) + body + bytes(padding)

    def answer(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        with peer:
            peer.sendall(b"SSH-2.0-x\r\n" + packet)
            while peer.recv(4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening,), daemon=True)
        thread.start()
        (problem,) = examine(target(listening.getsockname()[1]), None, ADMIN)
        thread.join(PATIENCE)
    text = str(problem)
    assert "add-mask" in text, "the test's words have come"
    assert text.isprintable()
    assert "##" not in text
