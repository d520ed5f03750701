"""What a probe asks, and how it knows who has answered."""

from __future__ import annotations

import asyncio
import secrets
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from mesh.lab import dns
from mesh.lab.errors import LabError
from mesh.lab.services import LabService
from mesh.plan.model import Address
from mesh.services.checks.dns_message import TYPES

Kind = Literal["http", "dns", "tcp"]
"""Kinds of questions; ICMP echo is not among them, since a kernel answers it."""
UNKNOWN = "-"
"""Who has answered, where the answer does not say."""
BANNER = 0.3
"""Seconds for the line with which a server may greet."""
_PIECE = 4096


@dataclass(frozen=True, slots=True)
class Question(ABC):
    """A question to one port."""

    transport: ClassVar[socket.SocketKind] = socket.SOCK_STREAM
    port: int

    async def ask(self, connection: socket.socket, address: Address) -> str | None:
        """Ask by a socket of that transport. The answering node, :data:`UNKNOWN`, or None where
        there is no answer, or no good one."""
        try:
            await asyncio.get_running_loop().sock_connect(connection, (str(address), self.port))
            return await self._asked(connection, address)
        except OSError:
            return None

    @abstractmethod
    async def _asked(self, connection: socket.socket, address: Address) -> str | None:
        """Ask by a socket that is connected."""


class Http(Question):
    """``GET /whoami``; the first line of the answer names the node."""

    __slots__ = ()

    async def _asked(self, connection: socket.socket, address: Address) -> str | None:
        host = f"[{address}]" if address.version == 6 else str(address)
        request = f"GET /whoami HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, request.encode())
        answer = b""
        while part := await loop.sock_recv(connection, _PIECE):
            answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            return None
        return body.decode(errors="replace").strip().partition("\n")[0] or None


class Tcp(Question):
    """A connection; a stand-in greets with the node's id."""

    __slots__ = ()

    async def _asked(self, connection: socket.socket, address: Address) -> str | None:
        receive = asyncio.get_running_loop().sock_recv(connection, _PIECE)
        try:
            line = await asyncio.wait_for(receive, BANNER)
        except TimeoutError:
            line = b""
        return line.decode(errors="replace").partition("\n")[0].strip() or UNKNOWN


@dataclass(frozen=True, slots=True)
class Dns(Question):
    """A query over UDP; NSID, or the answer to ``id.server``, names the node."""

    transport: ClassVar[socket.SocketKind] = socket.SOCK_DGRAM
    question: dns.Question

    async def _asked(self, connection: socket.socket, address: Address) -> str | None:
        loop, number = asyncio.get_running_loop(), secrets.randbits(16)
        await loop.sock_sendall(connection, dns.query(self.question, number))
        who = dns.answerer(await loop.sock_recv(connection, _PIECE), number)
        return who if who is None else who or UNKNOWN


def question(
    services: Sequence[LabService],
    address: Address,
    kind: Kind = "http",
    *,
    port: int | None = None,
    name: str | None = None,
    type: str | None = None,
) -> Question:
    """The question of a kind to an address. What is not said is the port, name and type of the
    service there; LabError for a type that is unknown."""
    service = next((each for each in services if address in each.addresses), None)
    match kind:
        case "http":
            return Http(port or (service.port("http") if service else None) or 80)
        case "tcp":
            return Tcp(port or (service.port("tcp") if service else None) or 80)
        case "dns":
            known = service.dns_question() if service else None
            return Dns(port or (service.port("dns") if service else None) or 53,
                       _dns_question(known or dns.WHO, name, type))  # fmt: skip


def of_service(service: LabService) -> Question | None:
    """A question that every service of its kind answers; None where it only speaks a protocol of
    its own over UDP."""
    address = service.addresses[0]
    return question((service,), address, service.speaks) if service.speaks else None


def _dns_question(default: dns.Question, name: str | None, type: str | None) -> dns.Question:
    if name is None and type is None:
        return default
    wanted = (name or default.name).rstrip(".").lower()
    number = TYPES.get(type.upper() if type else "TXT" if wanted == dns.IDENTITY else "SOA")
    if number is None:
        raise LabError(f"--type {type!r}: use {', '.join(TYPES)}")
    try:
        dns.encoded(wanted)
    except (UnicodeEncodeError, ValueError):
        raise LabError(f"--name {name!r} is no name of ASCII letters, digits and hyphens") from None
    return dns.Question(wanted, number, dns.CHAOS if wanted == dns.IDENTITY else dns.INTERNET)
