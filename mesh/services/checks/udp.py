"""Health check: a datagram that is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import StringConstraints

from mesh.services.checks.check import HealthCheck, Port, Target, why
from mesh.services.checks.connection import Deadline, WrongSource, datagram, datagrams, written

Bytes = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
"""Text, or bytes as ``0x`` and pairs of hexadecimal digits."""

HEX = "0x"


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpCheck(HealthCheck):
    """Healthy if a datagram is answered in time, from the address that was asked."""

    kind: Literal["udp"] = "udp"
    """Good where a datagram with ``send`` is answered, with ``expect`` in the answer where that is
    set."""
    port: Port
    """The port that is asked."""
    send: Bytes
    """What is sent: text, or ``0x`` and pairs of hexadecimal digits, between quotes."""
    expect: Bytes | None = None
    """What the answer has to contain, written as ``send``."""

    @property
    def subject(self) -> str:
        """The kind and the port."""
        return f"{self.kind} port {self.port}"

    def problem(self, target: Target) -> str:
        """Sends the datagram; why the answer is not good."""
        deadline = Deadline(self.within)
        try:
            with datagrams(target) as asking:
                asking.sendto(octets(self.send), (written(target.address), self.port))
                answer = datagram(asking, target, self.port, deadline)
        except OSError as error:
            return why(error, self.within)
        except WrongSource as error:
            return str(error)
        if self.expect is None or octets(self.expect) in answer:
            return ""
        return f"the answer does not contain {self.expect!r}"


def octets(text: str) -> bytes:
    """The bytes that a text means; ValueError where it begins as hexadecimal digits, and is not."""
    return bytes.fromhex(text[len(HEX) :]) if text.startswith(HEX) else text.encode()
