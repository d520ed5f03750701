"""Plays external services on a node of a twin: listens at their addresses and ports, gives the
answers that their checks want, and says which node answers.

Standard library only: it runs on a node, whose Python is Debian's, with the file of this folder
that it imports. Its argument is a file of :class:`Play` as JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from mesh.lab import dns

PATIENCE = 60.0
"""Seconds for all that one client asks by a connection."""
_FREEBIND = 15  # IP_FREEBIND of ip(7), which Python has no name for; both families take it


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What ``path`` is answered with, for any host name where ``host`` is None."""

    path: str
    status: int
    contains: str
    host: str | None = None


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """A name with a record of a type, by its number; ``serial`` is that of its SOA record."""

    name: str
    type: int
    serial: int


@dataclass(frozen=True, slots=True)
class UdpAnswer:
    """What a datagram is answered with; both are hexadecimal digits."""

    send: str
    expect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port, and what it speaks: TCP unless ``udp``. Without answers a TCP port greets with the
    node's id, and a UDP port answers with it. ``certificate`` is a file with a key, for TLS."""

    number: int
    udp: bool = False
    http: tuple[HttpAnswer, ...] = ()
    dns: tuple[DnsAnswer, ...] = ()
    datagrams: tuple[UdpAnswer, ...] = ()
    speaks_http: bool = False
    certificate: str | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """A service: its addresses and ports."""

    addresses: tuple[str, ...]
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Play:
    """All that one process plays."""

    node: str
    services: tuple[Played, ...]


def read(document: Any) -> Play:
    """A play from its JSON."""

    def port(found: dict[str, Any]) -> Port:
        answers = {
            key: tuple(kind(**each) for each in found[key])
            for key, kind in (("http", HttpAnswer), ("dns", DnsAnswer), ("datagrams", UdpAnswer))
        }
        return Port(**{**found, **answers})

    services = (
        Played(tuple(each["addresses"]), tuple(map(port, each["ports"])))
        for each in document["services"]
    )
    return Play(document["node"], tuple(services))


class Server:
    """Answers at one address and port."""

    def __init__(self, node: str, address: str, port: Port) -> None:
        self.node, self.address, self.port = node, address, port

    async def start(self) -> None:
        """Listen, also while the address is not there yet."""
        loop = asyncio.get_running_loop()
        if self.port.udp:
            await loop.create_datagram_endpoint(
                lambda: Datagrams(self), sock=self._bound(socket.SOCK_DGRAM)
            )
            return
        context = None
        if self.port.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.port.certificate)
        bound = self._bound(socket.SOCK_STREAM)
        await asyncio.start_server(self._client, sock=bound, ssl=context)

    def _bound(self, kind: socket.SocketKind) -> socket.socket:
        version = ip_address(self.address).version
        bound = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, kind)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_IP, _FREEBIND, 1)
        bound.setblocking(False)
        bound.bind((self.address, self.port.number))
        return bound

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with asyncio.timeout(PATIENCE):
                await self._answer(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.port.dns:
            await self._dns(reader, writer)
            return
        if self.port.speaks_http or self.port.http:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(self.http(head.decode("latin-1")))
            await writer.drain()
        else:
            writer.write(f"{self.node}\n".encode())
            await reader.read()

    async def _dns(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while length := await reader.read(1):
            length += await reader.readexactly(1)
            answer = self.dns(await reader.readexactly(int.from_bytes(length, "big")))
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()

    def http(self, head: str) -> bytes:
        """The answer to a request."""
        first, *others = head.split("\r\n")
        path = first.split(" ")[1] if first.count(" ") else "/"
        headers = {k.strip().lower(): v.strip() for k, _, v in (o.partition(":") for o in others)}
        host = headers.get("host", "").lower().removesuffix(f":{self.port.number}")
        matching = [a for a in self.port.http if a.path == path and a.host in (None, host)]
        wanted = max(matching, key=lambda each: each.host is not None, default=None)
        status = wanted.status if wanted else 200 if path == "/whoami" else 404
        body = f"{self.node}\n{wanted.contains if wanted else ''}".strip() + "\n"
        return (
            f"HTTP/1.1 {status} As-Its-Check-Wants\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n{body}"
        ).encode()

    def dns(self, message: bytes) -> bytes:
        """The answer to a query; ValueError where it is none."""
        asked = dns.read(message)
        if asked.question == dns.WHO:
            return dns.reply(asked, 0, [dns.text(self.node)], self.node)
        named = [each for each in self.port.dns if each.name == asked.question.name]
        if not named or asked.question.cls != dns.INTERNET:
            return dns.reply(asked, dns.REFUSED, [], self.node)
        found = [
            dns.data(each.type, each.name, each.serial, self.address)
            for each in named
            if each.type == asked.question.type
        ]
        return dns.reply(asked, 0, found[:1], self.node)

    def datagram(self, message: bytes) -> bytes:
        """The answer to a datagram."""
        if self.port.dns:
            return self.dns(message)
        sent = message.hex()
        expected = (bytes.fromhex(a.expect) for a in self.port.datagrams if a.send == sent)
        return next(expected, b"") + f"{self.node}\n".encode()


class Datagrams(asyncio.DatagramProtocol):
    """UDP of a server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember by what to answer."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Answer; what is no question is left."""
        if self._transport is not None:
            with suppress(ValueError):
                self._transport.sendto(self._server.datagram(data), addr)


async def play(what: Play) -> None:
    """Answer for ever."""
    for service in what.services:
        for address in service.addresses:
            for port in service.ports:
                await Server(what.node, address, port).start()
    await asyncio.Event().wait()


def main() -> None:
    """Play what the file says that is the argument."""
    asyncio.run(play(read(json.loads(Path(sys.argv[1]).read_text()))))


if __name__ == "__main__":
    main()
