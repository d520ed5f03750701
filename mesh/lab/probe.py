"""Probes: what a client lost, how long, and who answered.

One question per tick, each with a deadline of its own, sent from within the client's namespace.
The gap is measured by the times of sending: from the last question that was answered to the first
one that was answered again.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from mesh import netns
from mesh.lab.errors import LabError
from mesh.lab.lab_files import place
from mesh.plan.model import Address

DEADLINE = 0.9
"""Seconds for one answer: below a second, when TCP asks again (RFC 6298), so that no answer to a
repeated question counts as one to the first."""
PAUSE = 0.1
"""Seconds. The deadline is waited for in such pauses, each of which counts once however long it
took: what has come while the prober itself had no processor was not lost on the way."""

PORT = 80
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


@dataclass(slots=True)
class Question:
    """One probe: seconds since the first, and the answering node (None: no answer in time)."""

    sent: float
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a client saw. Times are milliseconds; ``turns`` says from when on who answered."""

    sent: int
    answered: int
    longest_gap_ms: float
    by: dict[str, int] = field(default_factory=dict)
    turns: tuple[tuple[float, str], ...] = ()


def probe(
    name: str,
    client: str,
    address: Address,
    *,
    interval: float = 0.01,
    duration: float = 10.0,
    ping: bool = False,
    stop: threading.Event | None = None,
) -> Report:
    """Ask an address from a client for ``duration`` seconds, or until ``stop`` is set.

    Every ``interval`` seconds one ``GET /whoami`` (or ICMP echo with ``ping``).
    """
    here = place(name)
    namespace = here.namespace(client)
    if not netns.exists(namespace):
        raise LabError(f"lab {name!r} has no box {client!r}; see `mesh lab list`")
    until = stop or threading.Event()
    ask = _pings if ping else _requests
    return report(netns.inside(namespace, lambda: ask(address, interval, duration, until)))


def report(questions: Sequence[Question]) -> Report:
    """The arithmetic: counts, the longest gap, and who answered when."""
    answered = [question for question in questions if question.by is not None]
    return Report(
        sent=len(questions),
        answered=len(answered),
        longest_gap_ms=round(_longest_gap(questions) * 1000, 1),
        by=dict(Counter(question.by for question in answered if question.by is not None)),
        turns=_turns(answered),
    )


def _longest_gap(questions: Sequence[Question]) -> float:
    """Seconds; 0 when nothing was lost. A gap at either end counts to the first or last probe."""
    longest, last_answered, lost = 0.0, questions[0].sent if questions else 0.0, False
    for question in questions:
        if question.by is None:
            lost = True
            longest = max(longest, question.sent - last_answered)
            continue
        if lost:
            longest = max(longest, question.sent - last_answered)
        last_answered, lost = question.sent, False
    return longest


def _turns(answered: Sequence[Question]) -> tuple[tuple[float, str], ...]:
    turns: list[tuple[float, str]] = []
    for question in answered:
        if question.by is not None and (not turns or turns[-1][1] != question.by):
            turns.append((round(question.sent * 1000, 1), question.by))
    return tuple(turns)


def duration(text: str) -> float:
    """Seconds of ``10ms``, ``1.5s``, ``2m`` or ``3``; LabError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise LabError(f"duration {text!r}: write a positive number with ms, s or m, as in 10ms")
    return float(match[1]) * _UNITS[match[2]]


def _requests(
    address: Address, interval: float, seconds: float, stop: threading.Event
) -> list[Question]:
    return asyncio.run(_ask_in_time(address, interval, seconds, stop))


async def _ask_in_time(
    address: Address, interval: float, seconds: float, stop: threading.Event
) -> list[Question]:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    questions: list[Question] = []
    tasks: list[asyncio.Task[None]] = []
    while not stop.is_set() and (now := loop.time() - begin) < seconds:
        question = Question(sent=now)
        questions.append(question)
        tasks.append(loop.create_task(_request(address, question)))
        # By the clock, not by pauses: a late tick does not delay those that follow.
        await asyncio.sleep(max(0.0, (int(now / interval) + 1) * interval - (loop.time() - begin)))
    await asyncio.gather(*tasks)
    return questions


async def _request(address: Address, question: Question) -> None:
    """Ask once and note the answer; any failure is no answer."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    host = f"[{address}]" if address.version == 6 else str(address)
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        asking = loop.create_task(_whoami(connection, str(address), host))
        end = loop.time() + DEADLINE
        await _wait_in_pauses(asking)
        if not asking.done():
            asking.cancel()
            await asyncio.wait({asking})
        elif loop.time() < end or not _has_repeated(connection):
            question.by = asking.result()


async def _wait_in_pauses(asking: asyncio.Task[str | None]) -> None:
    for _ in range(round(DEADLINE / PAUSE)):
        if (await asyncio.wait({asking}, timeout=PAUSE))[0]:
            return


def _has_repeated(connection: socket.socket) -> bool:
    """Whether TCP has sent anything twice: ``tcpi_total_retrans`` of tcp(7)'s TCP_INFO."""
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    (repeated,) = struct.unpack_from("I", told, 100)
    return int(repeated) > 0


async def _whoami(connection: socket.socket, address: str, host: str) -> str | None:
    loop = asyncio.get_running_loop()
    request = f"GET /whoami HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        await loop.sock_connect(connection, (address, PORT))
        await loop.sock_sendall(connection, request.encode())
        while part := await loop.sock_recv(connection, 4096):
            answer += part
    except OSError:
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        return None
    return body.decode(errors="replace").strip() or None


def _pings(
    address: Address, interval: float, seconds: float, stop: threading.Event
) -> list[Question]:
    """ICMP echo; the answer's own address says by whom, as the protocol says no more."""
    questions: list[Question] = []
    with _echo_socket(address) as echo:
        identifier = os.getpid() & 0xFFFF
        begin = time.monotonic()
        end = begin + seconds
        while time.monotonic() < end + DEADLINE:
            now = time.monotonic()
            sending = now < end and not stop.is_set()
            due = begin + len(questions) * interval
            if sending and now >= due:
                questions.append(Question(sent=now - begin))
                _send_echo(echo, address, identifier, len(questions) - 1)
                continue
            if not sending and _settled(questions, now - begin):
                break
            wait = max(0.0, due - now) if sending else 0.05
            if select.select([echo], [], [], wait)[0]:
                _take_echo(echo, address, identifier, questions, time.monotonic() - begin)
    return questions


def _settled(questions: Sequence[Question], now: float) -> bool:
    """Whether nothing can be answered any more."""
    return all(question.by is not None or now - question.sent > DEADLINE for question in questions)


def _echo_socket(address: Address) -> socket.socket:
    if address.version == 6:
        return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def _send_echo(echo: socket.socket, address: Address, identifier: int, number: int) -> None:
    request = 128 if address.version == 6 else 8
    packet = struct.pack("!BBHHHI", request, 0, 0, identifier, number & 0xFFFF, number)
    if address.version == 4:  # the kernel fills in ICMPv6's checksum, and not ICMP's
        packet = packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]
    try:
        echo.sendto(packet, (str(address), 0))
    except OSError:
        return  # no route at this moment: a lost probe like any other


def checksum(packet: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _take_echo(
    echo: socket.socket,
    address: Address,
    identifier: int,
    questions: Sequence[Question],
    now: float,
) -> None:
    packet, source = echo.recvfrom(2048)
    if address.version == 4:
        packet = packet[(packet[0] & 0x0F) * 4 :]
    reply = 129 if address.version == 6 else 0
    if len(packet) < 12 or packet[0] != reply or ip_address(source[0]) != address:
        return
    its_identifier, _, number = struct.unpack("!HHI", packet[4:12])
    if its_identifier != identifier or number >= len(questions):
        return
    if now - questions[number].sent <= DEADLINE:
        questions[number].by = str(address)
