"""What becomes of the lines that BIRD sends for refused routes: bounded, counted, and no brake."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mesh.agent import rejected_routes
from mesh.agent.rejected_routes import RejectedRoutes
from mesh.bird.client import Bird, BirdError
from mesh.bird.features import capabilities
from mesh.lab import namespaces
from mesh.limits import BIRD_LOG_PORT
from mesh.netns import inside
from mesh.render import File, node_files, placeholder_facts
from mesh.trust.documents import MAX_REFUSED
from tests.kit.machine import BIRDS, Debian, bird_of
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import PATIENCE, patience, until

ROUTES = 60_000


def refused(net: int, because: str = "a bogon", session: str = "vultr4") -> bytes:
    return (
        f"<30>Nov 21 17:29:20.416469 lax-vultr-1 bird: rejected: {because}, net 10.0.{net}.0/24, "
        f"session {session}, origin AS0, (path)\n"
    ).encode()


def records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Those of BIRD's lines: agents of other tests may still be about to end."""
    events = ("bird", "refusals ")
    return [record for record in caplog.records if record.getMessage().startswith(events)]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in records(caplog)]


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="anycast-mesh")


def test_twenty_lines_in_ten_seconds_are_told_and_then_how_many_more_by_reason_and_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ears = RejectedRoutes()
    for n in range(25):
        ears.take(refused(n), 100 + n / 10)
    ears.take(refused(0, "too long a prefix", "vultr6"), 103)
    assert len(lines(caplog)) == 20
    assert lines(caplog)[0] == (
        'bird-refused line="rejected: a bogon, net 10.0.0.0/24, session vultr4, origin AS0, (path)"'
    )
    ears.take(refused(1), 113)
    assert lines(caplog)[20] == (
        'bird-refused more="6" of="5 a bogon by vultr4; 1 too long a prefix by vultr6"'
    )
    assert ears.counts == {"a bogon": 26, "too long a prefix": 1}


def test_in_no_ten_seconds_there_are_more(caplog: pytest.LogCaptureFixture) -> None:
    ears = RejectedRoutes()
    told: list[float] = []
    for tick in range(4000):
        now = tick / 50
        before = sum("line=" in line for line in lines(caplog))
        ears.take(refused(tick % 250), now)
        if sum("line=" in line for line in lines(caplog)) > before:
            told.append(now)
    assert all(later - first >= 10 for first, later in zip(told, told[20:], strict=False))
    assert len(told) == 20 * 8
    more = sum(int(line.split('"')[1]) for line in lines(caplog) if "more=" in line)
    assert 4000 - len(told) - more < 600, "all but those of the last seconds are accounted for"


def test_what_bird_says_of_itself_is_bounded_apart(caplog: pytest.LogCaptureFixture) -> None:
    ears = RejectedRoutes()
    for n in range(50):
        ears.take(refused(n), 5)
        ears.take(b"<30>Nov 21 17:29:20.416469 <none> bird: Reconfiguring\n", 5)
    ears.take(b"<30>Nov 21 17:29:50.416469 lax-vultr-1 bird: Reconfigured", 16)
    assert lines(caplog).count('bird line="Reconfiguring"') == 20
    assert lines(caplog)[-2:] == ['bird more="30" of="30 Reconfiguring"',
                                  'bird line="Reconfigured"']  # fmt: skip


def test_what_neighbors_can_make_bird_say_is_bounded_and_hides_no_other_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ears = RejectedRoutes()
    for n in range(30):
        ears.take(f"<29>x bird: vultr4: Invalid route 10.0.{n}.0/24 withdrawn\n".encode(), 5)
        ears.take(f"<28>x bird: Ignoring bogus route 127.0.{n}.0/24 received via".encode(), 5)
    ears.take(b"<29>x bird: vultr4: Received: Cease: Administrative shutdown\n", 6)
    assert len(lines(caplog)) == 21
    assert records(caplog)[-1].levelname == "WARNING"
    assert "Administrative shutdown" in lines(caplog)[-1]
    ears.take(b"<28>x bird: Ignoring bogus route 127.1.1.0/24 received via", 16)
    assert lines(caplog)[-2] == (
        'bird-unfit more="40" of="20 vultr4: Invalid route; 20 Ignoring bogus route"'
    )


HOSTILE = {
    "a terminal's commands": b"<30>x bird: \x1b[2J\x07rejected\r\n<2>forged",
    "no text": bytes(range(256)),
    "nothing": b"",
    "something endless": b"A" * 2048,
    "a long reason": b"rejected: " + b"b" * 500 + b", net 1.1.1.0/24, session vultr4, ",
    "many prefixes": b"<30>a bird: <30>b bird: <30>c bird: " * 40,
    "a quote": b'rejected: a "bogon\\, net 1.1.1.0/24, session "; x, origin',
}


@pytest.mark.parametrize("what", HOSTILE)
def test_whoever_sends_to_the_port_writes_one_short_printable_line(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    RejectedRoutes().take(HOSTILE[what], 1)
    (line,) = lines(caplog)
    assert line.isprintable()
    assert len(line) < 1200


def test_invented_reasons_take_no_more_than_their_room(caplog: pytest.LogCaptureFixture) -> None:
    ears = RejectedRoutes()
    for n in range(5000):
        ears.take(refused(1, f"reason {n}", f"s{n}"), 5)
    ears.take(refused(1), 16)
    assert len(ears.counts) == MAX_REFUSED
    assert sum(ears.counts.values()) == 5001
    assert all(len(line) < 1500 for line in lines(caplog))


def test_the_counts_change_once_in_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change is reported: a session that flaps must not make a report of each route."""
    ears = RejectedRoutes()
    ears.take(refused(1), 5)
    assert ears.counts == {"a bogon": 1}
    ears.take(refused(1), 5)
    assert ears.counts == {"a bogon": 1}
    monkeypatch.setattr(rejected_routes, "COUNTS_EVERY", 0.0)
    assert ears.counts == {"a bogon": 2}


def test_only_this_node_is_heard_and_a_port_that_is_taken_is_waited_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected_routes, "_AGAIN", 0.05)
    stop = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        ears = RejectedRoutes(port)
        thread = threading.Thread(target=ears.run, args=(stop,), daemon=True)
        thread.start()
        until(lambda: any("Address already in use" in line for line in lines(caplog)), 5, "said")
    try:
        bound = ("ss", "-Hlun", f"sport = :{port}")
        until(lambda: f"127.0.0.1:{port}" in _output(*bound), 5, "it listens")
        assert "0.0.0.0" not in _output(*bound).split()[3]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(refused(1), ("127.0.0.1", port))
        until(lambda: any("net 10.0.1.0/24" in line for line in lines(caplog)), 5, "it is told")
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert sum("in use" in line for line in lines(caplog)) == 1


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# --- BIRD itself ---------------------------------------------------------------------------------


@pytest.fixture
def space() -> Iterator[str]:
    name = f"refusals-{os.getpid()}"
    namespaces.create([name])
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    try:
        yield name
    finally:
        namespaces.delete([name])


def configuration(version: str, routes: int) -> str:
    """A table that is refused as a whole, in the words and with the log of a rendered node."""
    plan = plan_of(prod())
    facts = {n: replace(one, bird=version) for n, one in placeholder_facts(plan).items()}
    files = {f.path: f.content for f in node_files(plan, facts)["lax-vultr-1"].files}
    log = [one for one in files["/etc/bird/bird.conf"].splitlines() if one.startswith("log ")]
    return "\n".join([
        *log, "router id 192.0.2.1;", "define NETWORK_ASN = 27218;",
        files["/etc/bird/mesh/reasons.conf"],
        "protocol device {}", "ipv4 table t4;", "protocol static many { ipv4 { table t4;",
        'import keep filtered on; import filter { refuse(BOGON_PREFIX, "a bogon"); }; };',
        *(f"route {IPv4Address((11 << 24) + 256 * n)}/24 blackhole;" for n in range(routes)), "}",
    ])  # fmt: skip


@pytest.mark.parametrize("version", BIRDS)
def test_of_what_is_waited_for_a_neighbor_causes_no_line_per_route(version: str) -> None:
    """Seen of each version: a refused route is a line of class info, an invalid one of class
    remote, a bogus one of class warning."""
    text = configuration(version, 0)
    (waited,) = re.findall(r"^log syslog \{ (.*) \};$", text, re.MULTILINE)
    classes = {*waited.split(", ")}
    assert classes >= {"error", "auth", "fatal", "bug"}
    assert not classes & {"remote", "warning", "all"}
    assert "info" not in classes or "print" not in text


@pytest.mark.image
@pytest.mark.parametrize("listens", [True, False], ids=["heard", "unheard"])
@pytest.mark.parametrize("version", BIRDS)
def test_sixty_thousand_refusals_keep_bird_from_nothing(
    tmp_path: Path, space: str, version: str, listens: bool, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Hold time is nine seconds, and a journal may stand still for longer."""
    machine = Debian(tmp_path, bird=version)
    machine.put([File("/etc/bird/bird.conf", configuration(version, 0)),
                 File("/etc/bird/many.conf", configuration(version, ROUTES))])  # fmt: skip
    (tmp_path / "upper/run/bird").mkdir(parents=True)
    stop = threading.Event()
    ears = RejectedRoutes()
    if listens:
        monkeypatch.setattr(rejected_routes, "SECONDS", 6.0)
        _in_namespace(space, ears, stop)
    process = machine.start("bird", "-f", "-s", "/run/bird/bird.ctl", namespace=space)
    daemon = bird_of(process.pid)
    try:
        until(lambda: _answers(daemon), 10, "BIRD is up")
        daemon.ask('configure "/etc/bird/many.conf"', PATIENCE)
        longest, end = 0.0, time.monotonic() + patience(20)
        while f"{ROUTES} of " not in _text(daemon, "show route table t4 filtered count"):
            began, queued = time.monotonic(), _queued(process.pid)
            assert began < end
            _text(daemon, "show status")
            taken = time.monotonic() - began - (_queued(process.pid) - queued)
            longest = max(longest, taken)
        assert longest < 9
        if listens and capabilities(version).can("log_udp"):
            until(lambda: any("more=" in line for line in lines(caplog)), 30, "the summary")
            said = lines(caplog)
            told = [int(line.split('"')[1]) for line in said if "a bogon by many" in line]
            kept = sum("rejected:" in line for line in said)
            # One summary where BIRD is through in time; a busy machine is at the lines of the next.
            assert 20 * len(told) <= kept <= 20 * len(told) + 20
            # The last of those that the kernel had no room for are known with the next line only.
            assert 0 < sum(told) <= ROUTES
    finally:
        stop.set()
        process.kill()
        process.wait()


def _in_namespace(space: str, ears: RejectedRoutes, stop: threading.Event) -> None:
    arguments = (space, lambda: ears.run(stop))
    threading.Thread(target=inside, args=arguments, daemon=True).start()
    listening = ("ip", "netns", "exec", space, "ss", "-Hlun")
    until(lambda: f"127.0.0.1:{BIRD_LOG_PORT}" in _output(*listening), 5, "it listens")


def _text(daemon: Bird, command: str) -> str:
    return " ".join(text for _, text in daemon.ask(command, PATIENCE).lines)


def _queued(pid: int) -> float:
    """Seconds for which this daemon and who asks it had work to do and no processor, so far: that
    is other programs' doing."""
    tasks = [*Path(f"/proc/{pid}/task").iterdir(), Path("/proc/thread-self")]
    return sum(int((task / "schedstat").read_text().split()[1]) for task in tasks) / 1e9


def _answers(daemon: Bird) -> bool:
    try:
        return "Daemon is up" in _text(daemon, "show status")
    except BirdError:
        return False
