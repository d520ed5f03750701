"""What clients lose while things go wrong, all of it at the same time: a service has moved away
from Los Angeles, the daemons there and in Chicago are restarted as a package upgrade does, and New
York and Miami are broken at random (``tests.soak``).
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest

from mesh import netns
from mesh.cli.environment import environment
from mesh.lab import bird, namespaces
from mesh.lab.lab_files import files_of
from mesh.lab.world import load as load_world
from tests.kit.wait import until
from tests.twin.conftest import NAME, Twin
from tests.twin.test_answers import FAMILIES, SERVICE, SETTLED, answered_by, seen_upstream
from tests.twin.test_drain import Measured, probing
from tests.twin.test_operations import passed

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.twin]

FROM, TO = "lax-vultr-1", "ord-vultr-1"
CLIENTS = ("client-lax", "client-ord")
BROKEN = ("ewr-vultr-1", "mia-vultr-1")
SEED, MINUTES = 114136, 0.7
"""One that breaks something in six ways as soon as any that does, and boots no machine; and for
how long: what the tests do beside it takes as much."""
UNITS = ("systemd-networkd", "nftables", "ssh", "dbus", "systemd-journald", "systemd-resolved")
"""Restarted by upgrades of their packages; those that a node has not are left out."""
NOISE = 0.02
"""Share of probes that BFD costs on a machine with twenty processes for each processor. In quiet
none is lost; of those that a move costs, a fifth was lost for as long as clients went on."""
MOSTLY = 0.8
"""Share of answers, at least, that come from where the service has moved to. Where BFD ends the
tunnel's session for want of a processor, another node answers until it stands again."""
STARTS = 2
RECONNECTS = 150
"""Probes, one each 10 ms, that each start of BIRD may cost where a node's own service is dead: it
announces as soon as it knows an instance, and the other family's route comes within a second."""
KNOWN = 13.0
"""Seconds: an advertisement, which comes every 4 s, is good for 12. networkd's first start and the
kernel before it have each put a default route, and the second start finds one of them."""
UNHEARD = 4.0
AT_LENGTH = {
    "max ra interval 4; min ra interval 3;": "max ra interval 40; min ra interval 30;",
    "default lifetime 12;": "default lifetime 120;",
    "valid lifetime 60; preferred lifetime 30;": "valid lifetime 600; preferred lifetime 300;",
}
PORTS = range(20000, 20040)
"""Source ports that clients have used before the move, and use again."""


@dataclass
class Minute:
    """What came of it."""

    moved: dict[str, Measured] = field(default_factory=dict)
    """By client, of the time when all daemons but BIRD are restarted."""
    routed: dict[str, Measured] = field(default_factory=dict)
    """The same, when BIRD is."""
    again: list[tuple[str, str]] = field(default_factory=list)
    """Family of each question from a port that was used before, and who has answered it."""
    announced: list[tuple[str, str]] = field(default_factory=list)
    """What Los Angeles announces after its service has gone."""
    soak: str = ""
    code: int | None = None


@pytest.fixture(scope="module")
def minute(twin: Twin) -> Minute:
    """The minute, over, and everything healed."""
    found = Minute()
    for address in SERVICE.values():
        answered_by(twin, CLIENTS[0], address, FROM, SETTLED)
    for port in PORTS:
        for family in FAMILIES:
            from_port(family, port)
    try:
        twin.mesh("lab", "fault", "service-down", FROM)
        for address in SERVICE.values():
            answered_by(twin, CLIENTS[0], address, TO, SETTLED)
        with soaking(twin) as soak:
            watch(twin, soak, found)
    finally:
        twin.mesh("lab", "heal", FROM)
    return found


def watch(twin: Twin, soak: subprocess.Popen[str], found: Minute) -> None:
    """Restart everything twice, with a probe each 10 ms, until the soak ends."""
    with advertised_at_length(TO) as at_length:
        with probing(CLIENTS[0]) as one, probing(CLIENTS[1]) as other, asking_again(found):
            found.announced = seen_upstream(FROM)
            restart_all(twin)
            began = time.monotonic()
            at_length()
            until(partial(passed, began + KNOWN), 2 * KNOWN, "what was known before has expired")
            restart_all(twin)
            until(partial(passed, time.monotonic() + UNHEARD), 60, "an advertisement was due")
        found.moved = dict(zip(CLIENTS, (one, other), strict=True))
        with probing(CLIENTS[0]) as one, probing(CLIENTS[1]) as other:
            for _ in range(STARTS):
                twin.exec(FROM, "systemctl", "restart", "bird.service")
                until(lambda: len(seen_upstream(FROM)) == 2, 60, f"{FROM} announces again")
            found.soak = soak.communicate(timeout=1200)[0]
            found.code = soak.returncode
        found.routed = dict(zip(CLIENTS, (one, other), strict=True))


def restart_all(twin: Twin) -> None:
    """Restart the daemons of both nodes, but for BIRD."""
    for command in restarts(twin):
        for node in (FROM, TO):
            twin.exec(node, *command)


def restarts(twin: Twin) -> Iterator[tuple[str, ...]]:
    """The commands by which a node's daemons are restarted."""
    yield ("systemctl", "daemon-reexec")
    for unit in UNITS:
        state = twin.exec(FROM, "systemctl", "is-active", unit, check=False).strip()
        if state == "active":
            yield ("systemctl", "restart", unit)


@contextmanager
def soaking(twin: Twin) -> Iterator[subprocess.Popen[str]]:
    """Random faults on the other two nodes; they are healed at its end."""
    length = ("--minutes", str(MINUTES), "--patience", "6")
    chosen = ("--seed", str(SEED), *length, "--on", ",".join(BROKEN))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.soak", *chosen],
        cwd=twin.root, env=environment(twin.root, twin.state), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def advertised_at_length(node: str) -> Iterator[Callable[[], None]]:
    """Yields what makes a node's upstream advertise itself every 40 s, and not every 4 s."""
    here, upstream = files_of(NAME), load_world(NAME).node(node).upstream
    path = here.box(upstream) / bird.CONFIG
    before = path.read_text()

    def configure(text: str) -> None:
        path.write_text(text)
        bird.ask(here, upstream, "configure")

    def at_length() -> None:
        text = before
        for old, new in AT_LENGTH.items():
            assert old in text
            text = text.replace(old, new)
        configure(text)
        until(lambda: lifetime(node) > KNOWN, 60, f"{node} has heard its gateway's new lifetime")

    try:
        yield at_length
    finally:
        configure(before)


def lifetime(node: str) -> int:
    """Seconds for which a node believes in its IPv6 gateway."""
    command = ["ip", "-n", files_of(NAME).namespace(node), "-6", "route", "show", "default"]
    left = re.findall(r"expires (\d+)sec", namespaces.run(command))
    return max(map(int, left), default=0)


@contextmanager
def asking_again(found: Minute) -> Iterator[None]:
    """Questions from the used ports, one after the other, until the end."""
    over = threading.Event()

    def ask() -> None:
        while True:
            for port in PORTS:
                for family in FAMILIES:
                    if over.wait(0.05):
                        return
                    found.again.append((family, from_port(family, port)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


def from_port(family: str, port: int) -> str:
    """Who answers the client in Los Angeles when it asks from this source port."""

    def ask() -> str:
        kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
        with socket.socket(kind, socket.SOCK_STREAM) as line:
            line.settimeout(0.9)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            line.bind(("", port))
            try:
                line.connect((SERVICE[family], 80))
                line.sendall(b"GET /whoami HTTP/1.0\r\n\r\n")
                answer = b""
                while part := line.recv(4096):
                    answer += part
            except OSError:
                return ""
        return answer.partition(b"\r\n\r\n")[2].decode().strip()

    return netns.inside(files_of(NAME).namespace(CLIENTS[0]), ask)


def is_noise(measured: Measured, family: str, besides: int = 0) -> None:
    """Fails with what is known where more was lost than a busy machine costs."""
    report = measured.reports[family]
    why = f"{report}\n{measured.witnesses[family].seen}"
    assert report.answered, "nobody was asked"
    assert report.sent - report.answered <= NOISE * report.sent + besides, why


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("client", CLIENTS)
def test_daemons_that_are_restarted_lose_nothing_of_a_service_that_has_moved(
    minute: Minute, client: str, family: str
) -> None:
    is_noise(minute.moved[client], family)
    by = minute.moved[client].reports[family].by
    assert by.get(TO, 0) >= MOSTLY * sum(by.values()), by


@pytest.mark.parametrize("family", FAMILIES)
def test_ports_that_were_used_before_the_move_are_answered_as_well(
    minute: Minute, family: str
) -> None:
    """The kernel that knows them from before has given such packets to nobody."""
    by = [node for which, node in minute.again if which == family]
    assert len(by) > len(PORTS)
    assert by.count("") <= max(2, NOISE * len(by)), by
    assert by.count(TO) >= MOSTLY * len(by), by


def test_the_aggregates_stay_announced_where_a_service_has_moved_away(minute: Minute) -> None:
    assert len(minute.announced) == 2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_bird_that_is_restarted_costs_clients_the_moment_until_it_knows_all_routes(
    minute: Minute, client: str, family: str
) -> None:
    is_noise(minute.routed[client], family, besides=STARTS * RECONNECTS)


def test_random_faults_elsewhere_break_nothing_that_has_to_hold(
    minute: Minute,
) -> None:
    assert minute.code == 0, minute.soak
    assert "everything held" in minute.soak


@pytest.mark.usefixtures("minute")
def test_the_service_is_back_when_it_is_healed(twin: Twin) -> None:
    for address in SERVICE.values():
        answered_by(twin, CLIENTS[0], address, FROM, SETTLED)
