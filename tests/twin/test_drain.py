"""A node is taken out of service and nobody notices: by hand, and before its server goes."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.lab import bird
from mesh.lab.containers import reboot_node
from mesh.lab.lab_files import files_of
from mesh.lab.probe import ProbeReport, probe
from mesh.lab.world import load as load_world
from tests.kit.stacks import ssh_key
from tests.kit.wait import PATIENCE, until
from tests.twin.conftest import NAME, Twin
from tests.twin.test_answers import ANNOUNCED, FAMILIES, SERVICE, SETTLED, answered_by
from tests.twin.witness import Witness, witness

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.twin]

NODE, CLIENT = "mia-vultr-1", "client-mia"
OTHERS = ("ewr-vultr-1", "lax-vultr-1", "ord-vultr-1")
AGGREGATES = {"ipv4": "192.30.120.0/23", "ipv6": "2620:71:4000::/48"}
LOST = 100
"""Questions, one each 10 ms. A withdrawal costs one or two in this lab, three dozen where thirty
processes wait for two processors, and a power loss costs hundreds. They are counted, not timed: a
prober without a processor asks nothing meanwhile."""

LATER = 1.0
"""Seconds after an event for which what a node says may still be of before it."""


@dataclass
class Watcher:
    """What an upstream holds of a node's aggregates, looked at again and again. ``seen`` are the
    changes: ``announced``, ``leaving`` (with GRACEFUL_SHUTDOWN, RFC 8326) or ``nothing``."""

    node: str
    seen: list[str] = field(default_factory=list)

    def look(self) -> None:
        state = announcement(self.node)
        if self.seen[-1:] != [state]:
            self.seen.append(state)


def announcement(node: str) -> str:
    city = node.partition("-")[0]
    command = 'show route all where proto ~ "n_*"'
    text = bird.ask(files_of(NAME), f"upstream-vultr-{city}", command)
    routes = re.findall(r"^\S+/\d+ ", text, re.MULTILINE)
    if not routes:
        return "nothing"
    return "leaving" if text.count("(65535,0)") == len(routes) else "announced"


@contextmanager
def watching(node: str) -> Iterator[Watcher]:
    watcher, over = Watcher(node), threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            watcher.look()

    watcher.look()
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield watcher
    finally:
        over.set()
        thread.join(PATIENCE)


@dataclass
class Measured:
    """By family: what came of the probes, and what was found where nobody answered them."""

    reports: dict[str, ProbeReport] = field(default_factory=dict)
    witnesses: dict[str, Witness] = field(default_factory=dict)


@contextmanager
def probing(client: str) -> Iterator[Measured]:
    """A question each 10 ms over each family, until the end; what came of it is there then."""
    over = threading.Event()
    found = Measured()

    def ask(family: str, address: str) -> None:
        report = probe(NAME, client, ip_address(address), duration=120, stop=over)
        found.reports[family] = report

    threads = [threading.Thread(target=ask, args=each, daemon=True) for each in SERVICE.items()]
    for thread in threads:
        thread.start()
    with ExitStack() as stack:
        for family, address in SERVICE.items():
            found.witnesses[family] = stack.enter_context(witness(NAME, client, address))
        try:
            yield found
        finally:
            over.set()
            for thread in threads:
                thread.join(PATIENCE)


def node_status(twin: Twin, node: str = NODE) -> dict[str, Any]:
    status: dict[str, Any] = twin.status()["nodes"][node]
    return status


def hardly_lost(measured: Measured) -> None:
    for family in FAMILIES:
        report = measured.reports[family]
        assert report.answered, "nobody was asked"
        why = f"{report}\n{measured.witnesses[family].seen}"
        assert report.sent - report.answered <= LOST, why


def test_a_drain_is_not_noticed_by_its_clients(twin: Twin) -> None:
    """The upstream is warned, then the aggregates go; others answer, over both families."""
    with watching(NODE) as upstream, probing(CLIENT) as measured:
        until(lambda: upstream.seen == ["announced"], 5, "it announces")
        done = twin.mesh("drain", NODE)
        until(lambda: upstream.seen[-1:] == ["nothing"], 10, "the last look has seen it too")
        for address in SERVICE.values():
            until(lambda to=address: twin.whoami(CLIENT, to) not in ("", NODE), SETTLED, "others")  # type: ignore[misc]
    assert f"{NODE}: has withdrawn" in done.stdout
    assert upstream.seen == ["announced", "leaving", "nothing"]
    hardly_lost(measured)
    for family, address in SERVICE.items():
        assert [by for _, by in measured.reports[family].turns][:1] == [NODE], "it answered before"
        assert measured.reports[family].turns[-1][1] != NODE
        until(lambda own=address: own not in bound(twin), 10, f"{address} is bound no more")  # type: ignore[misc]


def bound(twin: Twin) -> str:
    """The addresses that the node serves at."""
    return twin.exec(NODE, "ip", "-br", "address", "show", "dev", "dummy0")


def test_a_drained_node_is_shown_and_its_own_address_still_answers(twin: Twin) -> None:

    def said(status: dict[str, Any]) -> tuple[object, ...]:
        return status["drain"], status["in_service"], status["state"]

    drained = ("drained", False, "applied")
    until(lambda: said(node_status(twin)) == drained, 10, "it says so")

    def told() -> tuple[object, ...]:
        shown = json.loads(twin.mesh("status", "--json", check=False).stdout)
        return said(shown["nodes"][NODE])

    until(lambda: told() == drained, 10, "the command says so")
    shown = twin.mesh("status", check=False).stdout
    assert re.search(rf"^ *{NODE} .* drained ", shown, re.MULTILINE)
    for address in ANNOUNCED[NODE]:
        answered_by(twin, "client-lax", address, NODE, SETTLED)


def registry_restarts(twin: Twin) -> None:
    twin.exec("lax-vultr-1", "systemctl", "restart", "anycast-mesh-registry.service")


def registry_forgets(twin: Twin) -> None:
    """Its database is gone: the nodes bring back what was signed."""
    unit, folder = "anycast-mesh-registry.service", "/var/lib/anycast-mesh/registry"
    twin.exec("lax-vultr-1", "systemctl", "stop", unit)
    twin.exec("lax-vultr-1", "sh", "-c", f"rm {folder}/registry.sqlite3*")
    twin.exec("lax-vultr-1", "systemctl", "start", unit)


def agent_restarts(twin: Twin) -> None:
    twin.exec(NODE, "systemctl", "restart", "anycast-mesh-agent.service")


def bird_restarts(twin: Twin) -> None:
    twin.exec(NODE, "systemctl", "restart", "bird.service")


def node_reboots(twin: Twin) -> None:
    reboot_node(NAME, NODE, load_world(NAME))


@pytest.mark.parametrize(
    "event",
    [registry_restarts, registry_forgets, agent_restarts, bird_restarts, node_reboots],
)
def test_it_stays_drained_whatever_happens(twin: Twin, event: Any) -> None:
    with watching(NODE) as upstream:
        event(twin)
        over = time.monotonic()

        def spoken() -> bool:
            status = node_status(twin)
            up = [state == "Established" for state in status["sessions"].values()]
            recent = status["age"] is not None and status["age"] + LATER < time.monotonic() - over
            return recent and bool(up) and all(up) and status["drain"] == "drained"

        until(spoken, 60, "its word after the event, with all sessions up")
    assert upstream.seen == ["nothing"]
    until(lambda: not node_status(twin)["in_service"], 10, "it says so")


def test_an_update_leaves_it_drained_and_does_not_wait_for_it(twin: Twin, tmp_path: Path) -> None:
    """Whose drain the operator has ordered stays drained over publications."""
    admin = yaml.safe_load((twin.state / "Pulumi.lab.yaml").read_text())["config"]["mesh:admin"]
    # A key, for that is taken back later without anybody who has to log in.
    another = {**admin, "keys": [*admin["keys"], ssh_key("d")]}
    config = twin.with_keys(tmp_path, {"admin": another})
    with watching(NODE) as upstream:
        done = twin.pulumi("up", "--yes", "--skip-preview", config=config)
    assert "3 of 3 edges announce" in done.stdout
    assert "not up yet" not in done.stdout
    assert upstream.seen == ["nothing"]
    until(lambda: node_status(twin)["drain"] == "drained", 10, "it says so")


def test_undrained_it_is_back_and_nobody_notices_either(twin: Twin) -> None:
    with watching(NODE) as upstream, probing(CLIENT) as measured:
        done = twin.mesh("undrain", NODE)
        until(lambda: upstream.seen[-1:] == ["announced"], 10, "it announces")
    assert f"{NODE}: is back" in done.stdout
    assert upstream.seen == ["nothing", "announced"]
    hardly_lost(measured)
    for address in SERVICE.values():
        answered_by(twin, CLIENT, address, NODE, 20)


@pytest.fixture
def unheard(twin: Twin) -> Iterator[None]:
    """Miami's upstream has shut its sessions down; whatever happens, all is as before at the
    end."""
    upstream = "upstream-vultr-mia"
    bird.ask(files_of(NAME), upstream, 'disable "n_*"')
    try:
        yield
    finally:
        bird.ask(files_of(NAME), upstream, 'enable "n_*"')
        for node in OTHERS[:2]:
            twin.mesh("undrain", node, "--wait", "0")
        until(lambda: set(node_status(twin)["announces"].values()) == {"yes"}, 30, "it is heard")


@pytest.mark.usefixtures("unheard")
def test_who_is_told_to_announce_and_is_not_heard_is_counted_on_by_nobody(twin: Twin) -> None:
    """The node is in service all the while; only its upstream does not listen to it any more."""
    until(lambda: set(node_status(twin)["announces"].values()) == {"no"}, 15, "it is seen")
    line = rf"^{NODE}: vultr4 is down for \d+ s \(\w+\): .*shutdown"

    def told() -> bool:
        shown = twin.mesh("status", check=False)
        found = re.search(line, shown.stdout, re.MULTILINE | re.IGNORECASE)
        return shown.returncode == 1 and found is not None

    until(told, 10, "the status tells the reason")
    for node in OTHERS[:2]:
        twin.mesh("drain", node, "--wait", "0")
    refused = twin.mesh("drain", OTHERS[2], check=False)
    assert refused.returncode == 3
    assert f"{OTHERS[2]}: is the last node that announces" in refused.stderr
    assert all(prefix in refused.stderr for prefix in AGGREGATES.values())
    for address in SERVICE.values():
        answered_by(twin, CLIENT, address, OTHERS[2], 20)


def test_a_replaced_node_drains_first_and_is_back_when_the_update_ends(twin: Twin) -> None:
    """The hardest: the only registry and reflector. The new one learns from the nodes what its
    predecessor held, the order to drain among it."""
    node = "lax-vultr-1"
    before = instance(twin, node)
    with watching(node) as upstream, probing("client-lax") as measured:
        done = twin.pulumi("up", "--yes", "--skip-preview", "--replace", f"**{node}-instance")
        for address in SERVICE.values():
            answered_by(twin, "client-lax", address, node, 20)
        until(lambda: upstream.seen[-1:] == ["announced"], 10, "the last look has seen it too")
    assert instance(twin, node) != before
    assert f"{node}: draining before its server goes" in done.stdout
    assert f"{node}: withdrawn" in done.stdout
    assert upstream.seen == ["announced", "leaving", "nothing", "announced"]
    until(lambda: node_status(twin, node)["drain"] == "", 10, "it says so")
    hardly_lost(measured)


def instance(twin: Twin, node: str) -> str:
    boxes = json.loads(twin.mesh("lab", "list", "--json").stdout)
    return next(str(box["instance_id"]) for box in boxes if box["name"] == node)


def test_a_node_that_leaves_the_plan_drains_before_the_others_forget_it(
    twin: Twin, tmp_path: Path
) -> None:
    """A second node in Los Angeles comes, is alone there for its clients, and goes again."""
    new = "lax-vultr-2"
    # Its addresses are given up with it.
    config = twin.with_keys(tmp_path, {"nodes": {new: {"number": 9}}, "protect": False})
    twin.pulumi("up", "--yes", "--skip-preview", config=config)
    twin.mesh("drain", "lax-vultr-1")
    try:
        for address in SERVICE.values():
            answered_by(twin, "client-lax", address, new, 20)
        with probing("client-lax") as measured:
            done = twin.pulumi("up", "--yes", "--skip-preview")
        assert done.stdout.index(f"{new}: withdrawn") < done.stdout.index("signed for 4 nodes")
        hardly_lost(measured)
    finally:
        twin.mesh("undrain", "lax-vultr-1")
    until(lambda: node_status(twin, "lax-vultr-1")["drain"] == "", 10, "it says so")
    for address in SERVICE.values():
        answered_by(twin, "client-lax", address, "lax-vultr-1", 20)
