"""What ``up`` says while nodes wait for a log-in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from mesh.facts import Placement
from mesh.publish.progress import ProgressLines
from mesh.publish.unconfirmed import AwaitedLogins
from mesh.trust.documents import Report, Unconfirmed
from mesh.trust.encoding import Malformed, dump, parse
from tests.publish.test_status import LAX, NODES, ORD, report

CLOCK = 1_700_000_000 * 10**6
CHANGE = Unconfirmed(
    generation=8,
    ends=CLOCK + 120 * 10**6,
    lost=("192.0.2.0/24 may log in no more",),
    networks=(ip_network("198.51.100.250/32"), ip_network("2001:db8::/64")),
    ports=(22,),
)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    time = [1000.0]
    monkeypatch.setattr("mesh.publish.unconfirmed.time.monotonic", lambda: time[0])
    yield time


def waiting(node: str, change: Unconfirmed | None = CHANGE, after: float = 0.0) -> Report:
    one = report(node)
    clock = CLOCK + int(after * 10**6)
    health = replace(one.health, unconfirmed=change)
    return replace(one, health=health, sequence=one.sequence + int(after), clock=clock)


def test_a_node_that_waits_is_told_with_what_confirms_it(now: list[float]) -> None:
    found = AwaitedLogins(8).of([waiting(LAX), report(ORD)], NODES)
    assert [one.text for one in found] == [
        f"{LAX}: generation 8 narrows who may log in (192.0.2.0/24 may log in no more); it is "
        "undone unless somebody logs in anew, from 198.51.100.250/32, 2001:db8::/64"
    ]
    place = Placement(IPv4Address("203.0.113.1"), IPv6Address("2001:db8::1"))
    assert found[0].command(place) == "ssh -a -o ControlPath=none root@203.0.113.1"


@pytest.mark.parametrize(
    ("ports", "user", "expected"),
    [
        ((22, 2222), "root", "ssh -a -o ControlPath=none root@203.0.113.1"),
        ((2222,), "carol", "ssh -a -o ControlPath=none -p 2222 carol@203.0.113.1"),
        ((), "root", "ssh -a -o ControlPath=none root@203.0.113.1"),
    ],
)
def test_the_command_has_the_port_and_a_user(
    now: list[float], ports: tuple[int, ...], user: str, expected: str
) -> None:
    change = replace(CHANGE, ports=ports, user=user)
    (one,) = AwaitedLogins(8).of([waiting(LAX, change)], NODES)
    assert one.command(Placement(IPv4Address("203.0.113.1"), None)) == expected


def test_the_time_that_is_left_goes_on_by_our_own_clock(now: list[float]) -> None:
    waits = AwaitedLogins(8)
    assert waits.of([waiting(LAX, after=20)], NODES)[0].left == 100
    now[0] += 30
    # A later report of the same change, of a node whose clock has been put right by an hour.
    assert waits.of([waiting(LAX, after=3600)], NODES)[0].left == 70
    # It has gone back by now, or is dead.
    now[0] += 200
    assert waits.of([waiting(LAX, after=3600)], NODES) == []


def test_no_node_makes_up_wait_for_longer_than_there_is(now: list[float]) -> None:
    """Neither by an end in a thousand years, nor by another end in each report."""
    waits = AwaitedLogins(8)
    for number in range(3):
        change = replace(CHANGE, ends=2**53 - 1 - number)
        assert waits.of([waiting(LAX, change)], NODES)[0].left == 120
    now[0] += 200
    assert waits.of([waiting(LAX)], NODES) == []


def test_what_waits_for_another_generation_is_not_told(now: list[float]) -> None:
    assert AwaitedLogins(9).of([waiting(LAX)], NODES) == []
    assert AwaitedLogins(8).of([waiting(LAX, None)], NODES) == []
    assert AwaitedLogins(8).of([waiting(LAX)], [ORD]) == []


def test_the_countdown_is_said_once_in_a_while() -> None:
    lines: list[str] = []
    say = ProgressLines(lines.append)
    say.counting("waiting for a log-in to x", "119 s left")
    say.counting("waiting for a log-in to x", "118 s left")
    say._last -= 11
    say.counting("waiting for a log-in to x", "107 s left")
    assert lines == [
        "waiting for a log-in to x: 119 s left",
        "waiting for a log-in to x: 107 s left",
    ]


def test_a_network_with_a_zone_is_none() -> None:
    text = dump(CHANGE).replace(b"2001:db8::/64", b"fe80::%run this/64")
    with pytest.raises(Malformed):
        parse(Unconfirmed, text)


@pytest.mark.parametrize("user", ["-oProxyCommand=x", "root;reboot", "$(id)", "a b", ""])
def test_a_user_that_a_shell_would_read_otherwise_is_none(user: str) -> None:
    with pytest.raises(Malformed):
        parse(Unconfirmed, dump(CHANGE).replace(b'"root"', b'"%s"' % user.encode()))
