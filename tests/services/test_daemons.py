"""Checks of real daemons at the service's own address: a check sees what a client outside sees."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from mesh import netns
from mesh.agent.check_runner import CheckRunner, asked
from mesh.lab import namespaces
from mesh.services.checks import Check
from mesh.services.checks.check import Target
from mesh.services.checks.dns import DnsCheck
from mesh.services.checks.http import HttpCheck
from mesh.services.checks.https import HttpsCheck
from mesh.services.checks.tcp import TcpCheck
from tests.kit.daemons import NAME, WAYS, Setup, authority, nginx, nsd, running
from tests.kit.serving import SERVICE, Place, place
from tests.kit.wait import PATIENCE, until

pytestmark = [pytest.mark.image]

FAMILIES = (4, 6)
PAGE = HttpCheck(port=80, host=NAME, contains="hello", timeout=PATIENCE)
SECURE = HttpsCheck(host=NAME, ca=authority(), timeout=PATIENCE)
ZONE = DnsCheck(name="example.net", nsid=True, timeout=PATIENCE)
LONG = DnsCheck(name="long.example.net", type="TXT", timeout=PATIENCE)


@pytest.fixture(scope="module")
def where() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as scratch, place(Path(scratch)) as made:
        yield made


def here(where: Place, check: Check, version: int) -> str:
    """What the node's own check says."""
    return netns.inside(where.node, lambda: asked(check, where.target(version)))


def outside(where: Place, check: Check, version: int) -> str:
    """What a client gets, by the same question."""
    return netns.inside(where.client, lambda: asked(check, where.from_outside(version)))


@pytest.mark.parametrize("way", WAYS)
def test_a_web_server_is_healthy_where_clients_get_the_page(where: Place, way: str) -> None:
    with running(where, nginx(WAYS[way])):
        for version in FAMILIES:
            for check in (PAGE, SECURE):
                expected = "connection refused" if way == "loopback only" else ""
                assert here(where, check, version) == expected
                assert outside(where, check, version) == expected


@pytest.mark.parametrize("way", WAYS)
def test_a_dns_server_is_healthy_where_clients_take_its_answers(where: Place, way: str) -> None:
    """NSD at the wildcard address answers from whatever address the route has."""
    with running(where, nsd(WAYS[way])):
        for version in FAMILIES:
            seen = [
                each(where, check, version) for each in (here, outside) for check in (ZONE, LONG)
            ]
            if way == "wildcard":
                assert all("the answer came from" in each for each in seen), seen
            else:
                refused = "TCP: connection refused" if way == "loopback only" else ""
                assert seen == [refused] * 4


def test_a_site_that_is_not_there_is_seen_although_the_port_is_open(where: Place) -> None:
    with running(where, nginx(WAYS["wildcard"], site="other.example.net")):
        assert here(where, PAGE, 4) == here(where, SECURE, 6) == "status 404"
        assert here(where, TcpCheck(port=80, timeout=PATIENCE), 4) == ""


def test_a_dns_server_that_says_another_nodes_name_is_seen(where: Place) -> None:
    with running(where, nsd(WAYS["the service's address"], "ord-vultr-1")):
        assert here(where, ZONE, 4) == "TCP: NSID ord-vultr-1, expected lax-vultr-1"


def test_without_its_address_a_check_fails_and_asks_nobody_else(where: Place) -> None:
    """The route leads to the client's namespace, where somebody answers."""
    on_lo = f"address del {SERVICE[4]}/32 dev lo"
    namespaces.ip([on_lo, f"route add {SERVICE[4]}/32 dev uplink"], where.node)
    namespaces.ip([f"address add {SERVICE[4]}/32 dev outside"], where.client)
    try:
        with running(where, nginx(WAYS["wildcard"])):
            assert here(where, HttpCheck(port=80, host=NAME), 4) == "no answer within 0.2 s"
    finally:
        namespaces.ip([f"address del {SERVICE[4]}/32 dev outside"], where.client)
        put_back = f"address add {SERVICE[4]}/32 dev lo scope host"
        namespaces.ip([f"route del {SERVICE[4]}/32 dev uplink", put_back], where.node)


# --- the runner ----------------------------------------------------------------------------------


class Watching:
    """A runner that runs, and what came of it."""

    def __init__(self, where: Place, check: Check, target: Target) -> None:
        self.answers: list[str] = []
        self._gone = threading.Event()
        runner = CheckRunner(check, target, self._answered, self._gone.is_set)
        work = (where.node, runner.run)
        self._thread = threading.Thread(target=netns.inside, args=work, daemon=True)
        self._thread.start()

    def _answered(self, problem: str) -> bool:
        self.answers.append(problem)
        return True

    def end(self) -> None:
        self._gone.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextmanager
def watching(where: Place, check: Check, version: int) -> Iterator[Watching]:
    made = Watching(where, check, where.target(version))
    try:
        yield made
    finally:
        made.end()


@pytest.mark.parametrize("version", FAMILIES)
@pytest.mark.parametrize(
    ("setup", "check"),
    [
        (nginx(WAYS["wildcard"]), HttpCheck(port=80, host=NAME, interval=60, timeout=PATIENCE)),
        (
            nsd(WAYS["the service's address"]),
            DnsCheck(name="example.net", interval=60, timeout=PATIENCE),
        ),
    ],
    ids=["nginx", "NSD"],
)
def test_the_end_of_a_daemon_is_seen_before_the_next_question(
    where: Place, setup: Setup, check: Check, version: int
) -> None:
    """A question comes each minute; a second one follows each change."""
    with running(where, setup) as daemon, watching(where, check, version) as made:
        until(lambda: made.answers == ["", ""], 10, "it is healthy")
        until(lambda: where.connections(setup.port), 10, "it is watched")
        began = time.monotonic()
        daemon.kill()
        until(lambda: len(made.answers) == 4, 5, "its end is seen")
        assert time.monotonic() - began < check.interval
    assert all(made.answers[-2:])


def test_a_reload_is_no_miss(where: Place) -> None:
    check = HttpCheck(port=80, host=NAME, timeout=PATIENCE)
    with running(where, nginx(WAYS["wildcard"])), watching(where, check, 4) as made:

        def has_more(before: int) -> bool:
            return len(made.answers) > before + 3

        for _ in range(2):
            until(lambda: where.connections(80), 10, "it is watched")
            where.machine.output("nginx", "-c", "/etc/nginx.conf", "-s", "reload")
            until(partial(has_more, len(made.answers)), 10, "it is asked")
    assert set(made.answers) == {""}


def test_a_daemon_that_hangs_is_seen_by_its_silence(where: Place) -> None:
    check = HttpCheck(port=80, host=NAME, interval=0.2)
    with running(where, nginx(WAYS["wildcard"])) as daemon, watching(where, check, 6) as made:
        until(lambda: "" in made.answers, 10, "it is healthy")
        daemon.signal("STOP")
        until(lambda: made.answers[-2:] == ["no answer within 0.2 s"] * 2, 10, "it is silent")
        daemon.signal("CONT")
        until(lambda: made.answers[-1] == "", 10, "it is healthy again")
