"""Echo requests as the Internet's standards have them, and who is believed to have answered one."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import netns
from mesh.agent.witness.asking import Asking, Key
from mesh.agent.witness.echoes import (
    ETHER_TYPES,
    FAMILIES,
    LEAST,
    TOKEN,
    Answer,
    Echo,
    checksum,
    reply,
    request,
)
from mesh.agent.witness.examination import Question
from mesh.lab import namespaces
from tests.kit.namespaces import settle, spaces
from tests.kit.wait import until

FOUR = Echo(ip_address("10.10.10.1"), ip_address("10.10.10.2"))
SIX = Echo(ip_address("fd00::1"), ip_address("fd00::2"))
WORD = b"\x01\x02\x03\x04\x05\x06\x07\x08"
HEADER = {4: 20, 6: 40}

addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
    st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
)
numbers = st.integers(0, 2**16 - 1)


def answered(packet: bytes) -> bytes:
    """What the target of a request answers: ends exchanged, and its type changed."""
    if packet[0] >> 4 == 4:
        return packet[:12] + packet[16:20] + packet[12:16] + b"\0" + packet[21:]
    return packet[:8] + packet[24:40] + packet[8:24] + b"\x81" + packet[41:]


@given(addresses, numbers, numbers, st.binary(min_size=TOKEN, max_size=TOKEN))
def test_a_request_is_valid_and_its_answer_is_recognized(
    ends: tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address],
    identifier: int,
    sequence: int,
    token: bytes,
) -> None:
    echo = Echo(*ends)
    packet = request(echo, identifier, sequence, token)
    assert len(packet) == LEAST
    assert _sum_is_right(packet)
    assert reply(packet, identifier) is None, "a request is no answer"
    answer = reply(answered(packet), identifier)
    assert answer == Answer(echo.target, echo.source, sequence, token)
    assert reply(answered(packet), identifier ^ 1) is None, "somebody else's"


def _sum_is_right(packet: bytes) -> bool:
    """Whether the sum over a message with its checksum is what it has to be (RFC 1071)."""
    if packet[0] >> 4 == 4:
        return checksum(packet[:20]) == checksum(packet[20:]) == 0
    pseudo = packet[8:40] + struct.pack("!I3xB", len(packet) - 40, socket.IPPROTO_ICMPV6)
    return checksum(pseudo + packet[40:]) == 0


@given(st.binary(max_size=80), numbers)
def test_no_packet_of_others_breaks_the_reader(packet: bytes, identifier: int) -> None:
    reply(packet, identifier)


@pytest.mark.parametrize("echo", [FOUR, SIX], ids=["ipv4", "ipv6"])
def test_an_answer_cut_short_is_none(echo: Echo) -> None:
    packet = answered(request(echo, 7, 1, WORD))
    for length in range(HEADER[echo.target.version] + 8):
        assert reply(packet[:length], 7) is None


def test_only_the_first_fragment_of_an_answer_counts() -> None:
    packet = answered(request(SIX, 7, 1, WORD))
    for place, expected in ((0x0001, True), (0x0009, False)):
        fragment = struct.pack("!BxHI", socket.IPPROTO_ICMPV6, place, 99)
        found = reply(packet[:6] + b"\x2c" + packet[7:40] + fragment + packet[40:], 7)
        assert (found is not None) == expected
    packet = answered(request(FOUR, 7, 1, WORD))
    assert reply(packet[:6] + b"\x20\x00" + packet[8:], 7) is not None
    assert reply(packet[:6] + b"\x20\x01" + packet[8:], 7) is None


# --- against somebody who answers in the place of the target ------------------------------------

CHANGES = {
    "the right one": {},
    "from another address": {"source": b"\xff"},
    "to another address": {"target": b"\xff"},
    "with another number": {"sequence": b"\xff"},
    "of another process": {"identifier": b"\xff"},
    "that guesses the token": {"token": b"\xff"},
}
"""Answers, by what is changed in them: the last bits of a field."""
LAST = {
    4: {"source": 15, "target": 19, "identifier": 25, "sequence": 27, "token": 35},
    6: {"source": 23, "target": 39, "identifier": 45, "sequence": 47, "token": 55},
}
"""The last byte of each field in an answer, by version."""


@pytest.fixture(scope="module")
def wire() -> Iterator[tuple[str, str]]:
    """Two ends of a wire; the other one answers no echo request itself."""
    with spaces("echoes", "here", "there") as (here, there):
        namespaces.ip([f"link add wire type veth peer name wire netns {there}"], here)
        ends = [(here, FOUR.source, SIX.source), (there, FOUR.target, SIX.target)]
        for (space, *own), (_, *other) in zip(ends, reversed(ends), strict=True):
            settle(space, "wire", map(str, own), map(str, other))
        quiet = {"ipv4/icmp_echo_ignore_all": "1", "ipv6/icmp/echo_ignore_all": "1"}
        namespaces.sysctl(there, quiet)
        yield here, there


@contextmanager
def answering(space: str, version: int, changed: Mapping[str, bytes]) -> Iterator[list[bytearray]]:
    """Somebody who answers each request in a namespace, so changed, while this runs; the answers
    so far."""
    kind = socket.SOCK_DGRAM
    heard = netns.inside(
        space, lambda: socket.socket(socket.AF_PACKET, kind, socket.htons(ETHER_TYPES[version]))
    )
    raw = (FAMILIES[version], socket.SOCK_RAW, socket.IPPROTO_RAW)
    told = netns.inside(space, lambda: socket.socket(*raw))
    heard.settimeout(0.02)
    ended, answers = threading.Event(), list[bytearray]()

    def answer() -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                packet = bytearray(answered(heard.recv(2048)))
                for field, bits in changed.items():
                    packet[LAST[version][field]] ^= bits[0]
                told.sendto(packet, (str((FOUR if version == 4 else SIX).source), 0))
                answers.append(packet)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()
        heard.close()
        told.close()


@pytest.mark.root
@pytest.mark.parametrize("echo", [FOUR, SIX], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("change", CHANGES)
def test_an_answer_counts_only_if_it_is_the_target_s(
    wire: tuple[str, str], echo: Echo, change: str
) -> None:
    here, there = wire
    asked, right = [Question("node", "tunnel", echo)], {("node", "tunnel")}
    asking = netns.inside(here, Asking)

    def seen() -> set[Key]:
        return asking.round(asked, time.monotonic() + 0.1)

    try:
        with answering(there, echo.target.version, CHANGES[change]) as answers:
            if CHANGES[change]:
                until(lambda: seen() or answers, 5, "it is answered")
                assert seen() == set()
            else:
                until(lambda: seen() == right, 5, "the answer counts")
    finally:
        asking.close()
