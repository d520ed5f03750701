"""Probes: how many packets a client loses, for how long, and which node answers.

A request is sent at every tick from the client's namespace, each with its own deadline. A gap is
measured by the times of sending: from the last answered request before it to the first after it.
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
from mesh.lab.lab_files import files_of
from mesh.lab.questions import Http, Question
from mesh.plan.model import Address

DEADLINE = 0.9
"""Seconds for one answer: less than TCP's first retransmission after one second (RFC 6298), so that
an answer to a retransmission does not count."""
PAUSE = 0.1
"""Seconds. The deadline consists of such pauses, and each counts once even if it took longer: an
answer that arrives while the prober itself gets no CPU is not lost."""

WHOAMI = Http(80)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


@dataclass(slots=True)
class Request:
    """One probe: seconds since the first, and the answering node (None: no answer in time)."""

    sent: float
    by: str | None = None


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """The result at a client. Times are milliseconds; ``turns`` lists from when on which node
    answered, ``-`` where an answer does not say."""

    sent: int
    answered: int
    longest_gap_ms: float
    by: dict[str, int] = field(default_factory=dict)
    turns: tuple[tuple[float, str], ...] = ()


def probe(
    name: str,
    client: str,
    address: Address,
    question: Question | None = WHOAMI,
    *,
    interval: float = 0.01,
    duration: float = 10.0,
    stop: threading.Event | None = None,
) -> ProbeReport:
    """Ask an address from a client every ``interval`` seconds, for ``duration`` seconds or until
    ``stop`` is set. Where the question is None, each is an ICMP echo.
    """
    files = files_of(name)
    namespace = files.namespace(client)
    if not netns.exists(namespace):
        raise LabError(f"lab {name!r} has no box {client!r}; see `mesh lab list`")
    until = stop or threading.Event()

    def ask() -> list[Request]:
        if question is None:
            return _pings(address, interval, duration, until)
        return _requests(address, question, interval, duration, until)

    return report(netns.inside(namespace, ask))


def asked_once(namespace: str, address: Address, question: Question) -> str | None:
    """Who answers one question that is asked in a namespace; None where nobody does in time."""
    request = Request(sent=0.0)
    netns.inside(namespace, lambda: asyncio.run(_request(address, question, request)))
    return request.by


def report(requests: Sequence[Request]) -> ProbeReport:
    """Counts, the longest gap, and which node answered when."""
    answered = [request for request in requests if request.by is not None]
    return ProbeReport(
        sent=len(requests),
        answered=len(answered),
        longest_gap_ms=round(_longest_gap(requests) * 1000, 1),
        by=dict(Counter(request.by for request in answered if request.by is not None)),
        turns=_turns(answered),
    )


def _longest_gap(requests: Sequence[Request]) -> float:
    """Seconds; 0 when nothing was lost. A gap at the start or end counts to the first or last
    probe."""
    longest, last_answered, lost = 0.0, requests[0].sent if requests else 0.0, False
    for request in requests:
        if request.by is None:
            lost = True
            longest = max(longest, request.sent - last_answered)
            continue
        if lost:
            longest = max(longest, request.sent - last_answered)
        last_answered, lost = request.sent, False
    return longest


def _turns(answered: Sequence[Request]) -> tuple[tuple[float, str], ...]:
    turns: list[tuple[float, str]] = []
    for request in answered:
        if request.by is not None and (not turns or turns[-1][1] != request.by):
            turns.append((round(request.sent * 1000, 1), request.by))
    return tuple(turns)


def duration(text: str) -> float:
    """Seconds of ``10ms``, ``1.5s``, ``2m`` or ``3``; LabError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise LabError(f"duration {text!r}: write a positive number with ms, s or m, as in 10ms")
    return float(match[1]) * _UNITS[match[2]]


def _requests(
    address: Address, question: Question, interval: float, seconds: float, stop: threading.Event
) -> list[Request]:
    return asyncio.run(_ask_in_time(address, question, interval, seconds, stop))


async def _ask_in_time(
    address: Address, question: Question, interval: float, seconds: float, stop: threading.Event
) -> list[Request]:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    requests: list[Request] = []
    tasks: list[asyncio.Task[None]] = []
    while not stop.is_set() and (now := loop.time() - begin) < seconds:
        request = Request(sent=now)
        requests.append(request)
        tasks.append(loop.create_task(_request(address, question, request)))
        # By the clock, not by pauses: a late tick does not delay the next ones.
        await asyncio.sleep(max(0.0, (int(now / interval) + 1) * interval - (loop.time() - begin)))
    await asyncio.gather(*tasks)
    return requests


async def _request(address: Address, question: Question, request: Request) -> None:
    """Send one request and record the answer; any failure is no answer."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, question.transport) as connection:
        connection.setblocking(False)
        asking = loop.create_task(question.ask(connection, address))
        end = loop.time() + DEADLINE
        await _wait_in_pauses(asking)
        if not asking.done():
            asking.cancel()
            await asyncio.wait({asking})
        elif loop.time() < end or not _has_repeated(connection):
            request.by = asking.result()


async def _wait_in_pauses(asking: asyncio.Task[str | None]) -> None:
    for _ in range(round(DEADLINE / PAUSE)):
        if (await asyncio.wait({asking}, timeout=PAUSE))[0]:
            return


def _has_repeated(connection: socket.socket) -> bool:
    """Whether TCP has retransmitted: ``tcpi_total_retrans`` of tcp(7)'s TCP_INFO. UDP never
    does."""
    if connection.type != socket.SOCK_STREAM:
        return False
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    (repeated,) = struct.unpack_from("I", info, 100)
    return int(repeated) > 0


def _pings(
    address: Address, interval: float, seconds: float, stop: threading.Event
) -> list[Request]:
    """ICMP echo; the answer identifies a node only by its source address."""
    requests: list[Request] = []
    with _echo_socket(address) as echo:
        identifier = os.getpid() & 0xFFFF
        begin = time.monotonic()
        end = begin + seconds
        while time.monotonic() < end + DEADLINE:
            now = time.monotonic()
            sending = now < end and not stop.is_set()
            due = begin + len(requests) * interval
            if sending and now >= due:
                requests.append(Request(sent=now - begin))
                _send_echo(echo, address, identifier, len(requests) - 1)
                continue
            if not sending and _settled(requests, now - begin):
                break
            wait = max(0.0, due - now) if sending else 0.05
            if select.select([echo], [], [], wait)[0]:
                _take_echo(echo, address, identifier, requests, time.monotonic() - begin)
    return requests


def _settled(requests: Sequence[Request], now: float) -> bool:
    """Whether every request is answered or past its deadline."""
    return all(request.by is not None or now - request.sent > DEADLINE for request in requests)


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
        return  # no route at this moment: the probe is lost


def checksum(packet: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _take_echo(
    echo: socket.socket,
    address: Address,
    identifier: int,
    requests: Sequence[Request],
    now: float,
) -> None:
    packet, source = echo.recvfrom(2048)
    if address.version == 4:
        packet = packet[(packet[0] & 0x0F) * 4 :]
    reply = 129 if address.version == 6 else 0
    if len(packet) < 12 or packet[0] != reply or ip_address(source[0]) != address:
        return
    its_identifier, _, number = struct.unpack("!HHI", packet[4:12])
    if its_identifier != identifier or number >= len(requests):
        return
    if now - requests[number].sent <= DEADLINE:
        requests[number].by = str(address)
