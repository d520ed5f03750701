"""Health check: a question of DNS, by TCP and by UDP."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mesh.foreign import printable
from mesh.services.checks.check import HealthCheck, Port, Target, Whole, why
from mesh.services.checks.connection import (
    Deadline,
    WrongSource,
    connected,
    datagram,
    datagrams,
    written,
)
from mesh.services.checks.dns_message import (
    TYPES,
    Answer,
    Malformed,
    is_answer,
    is_older,
    question,
    rcode_text,
    read,
)

DomainName = Annotated[
    str,
    StringConstraints(
        pattern=r"^(\.|([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?)$", max_length=253
    ),
]
"""A name in DNS."""
RecordType = Literal[
    "A", "NS", "CNAME", "SOA", "PTR", "MX", "TXT", "AAAA", "SRV", "DS", "DNSKEY", "TLSA", "SVCB",
    "HTTPS", "CAA",
]  # fmt: skip
"""A type of record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsCheck(HealthCheck):
    """Healthy if the server answers with authority, by TCP and by UDP, from the address that was
    asked."""

    kind: Literal["dns"] = "dns"
    """Good where the name is answered by TCP and by UDP, with authority, without an error and with
    a record of ``type``."""
    port: Port = 53
    """The port that is asked."""
    name: DomainName
    """The name that is asked for, as the zone's."""
    type: RecordType = "SOA"
    """The type of record that is asked for."""
    serial: Annotated[Whole, Field(ge=0, le=2**32 - 1)] | None = None
    """A SOA record with an older serial gives a warning (RFC 1982)."""
    nsid: bool | None = None
    """Whether the server's NSID (RFC 5001) has to be the node's id; not set, it has for a service
    of kind ``dns``."""

    @property
    def subject(self) -> str:
        """The kind, the port and the question."""
        return f"{self.kind} port {self.port} {self.name} {self.type}"

    @property
    def watched_port(self) -> int:
        """The port that is asked."""
        return self.port

    def problem(self, target: Target) -> str:
        """Asks by TCP, then by UDP; why an answer is not good. By TCP the end of a daemon is seen
        at once, while a datagram to one that is ending is lost."""
        deadline = Deadline(self.within)
        if by_tcp := self._wrong(self._by_tcp, target, deadline):
            return f"TCP: {by_tcp}"
        by_udp = self._wrong(self._by_udp, target, deadline)
        return f"UDP: {by_udp}" if by_udp else ""

    def warning(self, target: Target) -> str:
        """That the zone is older than it should be."""
        if self.serial is None:
            return ""
        try:
            answer = self._by_tcp(target, Deadline(self.within))
        except (OSError, Malformed):
            return ""  # which is the service's problem
        if answer.serial is None or not is_older(answer.serial, self.serial):
            return ""
        return f"serial {answer.serial}, expected {self.serial} or more"

    def _wrong(
        self, ask: Callable[[Target, Deadline], Answer], target: Target, deadline: Deadline
    ) -> str:
        """What is wrong with the answer that comes that way."""
        try:
            answer = ask(target, deadline)
        except OSError as error:
            return why(error, self.within)
        except (Malformed, WrongSource) as error:
            return str(error)
        if answer.rcode:
            return rcode_text(answer.rcode)
        if not answer.authoritative:
            return "the answer is not authoritative"
        if not answer.truncated and TYPES[self.type] not in answer.types:
            return f"the answer has no record of type {self.type}"
        if self.nsid and answer.nsid != target.node.encode():
            if answer.nsid is None:
                return f"the answer has no NSID, expected {target.node}"
            shown = printable(answer.nsid[:60].decode("utf-8", "replace"))
            return f"NSID {shown}, expected {target.node}"
        return ""

    def _by_udp(self, target: Target, deadline: Deadline) -> Answer:
        query = self._query()
        with datagrams(target) as asking:
            asking.sendto(query, (written(target.address), self.port))
            while True:
                data = datagram(asking, target, self.port, deadline)
                # Anything else is no answer, and the answer may still come.
                if is_answer(data, query):
                    return read(data, query)

    def _by_tcp(self, target: Target, deadline: Deadline) -> Answer:
        query = self._query()
        with connected(target, self.port, deadline) as asking:
            asking.settimeout(deadline.left())
            asking.sendall(len(query).to_bytes(2) + query)
            length = int.from_bytes(_exactly(asking, 2, deadline))
            answer = read(_exactly(asking, length, deadline), query)
        if answer.truncated:
            raise Malformed("the answer is truncated")
        return answer

    def _query(self) -> bytes:
        return question(secrets.randbits(16), self.name, self.type)


def _exactly(asking: socket.socket, length: int, deadline: Deadline) -> bytes:
    received = b""
    while len(received) < length:
        asking.settimeout(deadline.left())
        piece = asking.recv(length - len(received))
        if not piece:
            raise Malformed("closed within the answer" if received else "closed without an answer")
        received += piece
    return received
