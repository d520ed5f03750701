"""The network of an OpenBSD node, against stand-ins of its commands and of BIRD."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from mesh.agent import entry, file_paths, systems
from mesh.agent.announce import Announcer
from mesh.agent.announce_state import AnnounceState
from mesh.agent.blackholes import Blackholes
from mesh.agent.config import Config, NodeService
from mesh.agent.network import ENDLESS, Uplink
from mesh.agent.openbsd.network import SERVED, OpenBsdNetwork
from mesh.agent.systems import openbsd
from mesh.agent.workers import Workers
from mesh.bird.client import Bird
from mesh.bird.constants import served
from mesh.services.checks.tcp import TcpCheck
from mesh.services.service import Ports
from mesh.trust.documents import Blackhole, BlackholeOrder
from tests.kit.bird_control import control
from tests.kit.openbsd.kernel import Route, Table
from tests.kit.openbsd.machine import GATEWAY4, GATEWAY6, IPV4, IPV6, OpenBsd
from tests.kit.wait import until

WEB4, WEB6, OTHER = "192.30.120.100", "2620:71:4000::64", "192.30.120.101"
ONE, SIX = "192.30.120.200", "2620:71:4000::bad"
TABLES = ("mesh_served", "mesh_discard4", "mesh_discard6")
LO1 = "lo1"
AGGREGATES = (ip_network("192.30.120.0/23"), ip_network("2620:71:4000::/48"))


@dataclass
class Runs:
    """A BIRD, by its answers: it runs with the constants that it has read last."""

    machine: OpenBsd
    constants: str = ""
    refusal: str = ""

    def __call__(self, command: str) -> str:
        if command == "configure":
            if self.refusal:
                return f"8002 {self.refusal}\n"
            self.starts()
            return "0003 Reconfigured\n"
        name = command.removeprefix("eval ")
        found = re.search(rf"^define {name} = (.*);$", self.constants, re.MULTILINE)
        if found is None:
            return "9001 unknown here\n"
        value = re.sub(r"/32\b", "/32{0.0.0.1}", found[1].replace("[ ", "[").replace(" ]", "]"))
        return f"0023 {value.upper() if value in ('true', 'false') else value}\n"

    def starts(self) -> str:
        """It reads its files; what is in them."""
        paths = (SERVED, file_paths.ANNOUNCE)
        host = self.machine.host()
        self.constants = read = "".join((host.read(path) or b"").decode() for path in paths)
        return read

    def restarts(self) -> str:
        """It starts anew: its service resets the files first. What it has read then."""
        self.machine.host().write(SERVED, served(()).encode(), 0o644)
        self.machine.host().write(file_paths.ANNOUNCE, AnnounceState().file(), 0o644)
        return self.starts()


@pytest.fixture
def machine(tmp_path: Path) -> OpenBsd:
    """A machine with pf's tables."""
    made = OpenBsd(tmp_path, packages=())
    with made.changing() as kernel:
        kernel.pf.tables |= {name: Table(persist=True) for name in TABLES}
    return made


@pytest.fixture
def bird(machine: OpenBsd) -> Iterator[Runs]:
    """Its BIRD."""
    runs = Runs(machine)
    runs.restarts()
    place = machine.host().path(file_paths.BIRD_SOCKET)
    place.parent.mkdir(parents=True)
    with control(place.parent, runs):
        yield runs


def network(machine: OpenBsd) -> OpenBsdNetwork:
    """As an agent that starts has it."""
    host = machine.quick_host()
    return OpenBsdNetwork(host, Bird(host.path(file_paths.BIRD_SOCKET)))


# --- interfaces and routes -----------------------------------------------------------------------


def test_the_uplink_is_that_of_the_default_route(machine: OpenBsd) -> None:
    here = network(machine)
    assert here.uplink(4) == Uplink("vio0", IPV4, GATEWAY4)
    assert here.uplink(6) == Uplink("vio0", IPV6, GATEWAY6)
    assert here.mtu("vio0") == 1500


def test_without_a_default_route_there_is_no_uplink(tmp_path: Path) -> None:
    here = network(OpenBsd(tmp_path, packages=(), ipv6=False))
    assert here.uplink(6) is None
    assert here.uplink(4) is not None


def test_an_interface_that_is_missing_has_no_addresses_not_even_none(machine: OpenBsd) -> None:
    assert network(machine).addresses("lo1") is None
    machine.must("ifconfig", "lo1", "create")
    machine.must("ifconfig", "lo1", "inet6", f"{WEB6}/128")
    machine.must("ifconfig", "lo1", "inet", "alias", f"{WEB4}/32")
    assert network(machine).addresses("lo1") == frozenset({WEB4, WEB6})
    assert network(machine).mtu("lo9") is None


def test_what_leaves_by_a_tunnel_is_reachable_in_whichever_table(machine: OpenBsd) -> None:
    machine.must("ifconfig", "wg2", "create")
    machine.must("ifconfig", "wg2", "inet", "10.10.10.4/32", "up")
    with machine.changing() as kernel:
        kernel.tables = sorted({*kernel.tables, 1})
        kernel.routes += [
            Route(0, "10.10.10.2/32", "10.10.10.4", "wg2", "UHS", 56),
            Route(1, f"{WEB4}/32", "10.10.10.4", "wg2", "UHS", 56),
            Route(1, f"{WEB6}/128", "fe80::4", "wg2", "UHS", 56),
        ]
    assert network(machine).tunnel_routes() == {"10.10.10.2", WEB4, WEB6}


# --- what is served ------------------------------------------------------------------------------


def test_what_is_served_is_in_pf_and_in_bird_until_it_is_no_more(
    machine: OpenBsd, bird: Runs
) -> None:
    here = network(machine)
    assert here.served(LO1) == frozenset()
    assert here.serve(LO1, {WEB4, WEB6, OTHER}, ()) == ""
    assert here.served(LO1) == frozenset({WEB4, WEB6, OTHER})
    assert machine.table("mesh_served") == sorted([WEB4, WEB6, OTHER])
    assert f"define SERVED4 = [ {WEB4}/32, {OTHER}/32 ];\n" in bird.constants
    assert here.serve(LO1, (), {OTHER, WEB6}) == ""
    assert here.served(LO1) == frozenset({WEB4})
    assert "define SERVED6 = [ ::/128 ];\n" in bird.constants


def test_a_start_of_bird_is_nobodys_change(machine: OpenBsd, bird: Runs) -> None:
    here = network(machine)
    here.serve(LO1, {WEB4}, ())
    bird.restarts()
    assert here.served(LO1) == frozenset({WEB4})
    assert f"{WEB4}/32" in bird.constants


def test_an_agent_that_starts_finds_what_the_one_before_has_served(
    machine: OpenBsd, bird: Runs
) -> None:
    network(machine).serve(LO1, {WEB4}, ())
    again = network(machine)
    assert again.served(LO1) == frozenset({WEB4})
    again.serve(LO1, {WEB6}, ())
    assert again.served(LO1) == frozenset({WEB4, WEB6})


def test_what_somebody_changes_in_pfs_table_is_seen(machine: OpenBsd, bird: Runs) -> None:
    here = network(machine)
    here.serve(LO1, {WEB4, OTHER}, ())
    machine.must("pfctl", "-q", "-t", "mesh_served", "-T", "delete", WEB4)
    machine.must("pfctl", "-q", "-t", "mesh_served", "-T", "add", WEB6)
    assert here.served(LO1) == frozenset({OTHER, WEB6})
    assert here.serve(LO1, {WEB4}, {WEB6}) == ""
    assert machine.table("mesh_served") == [WEB4, OTHER]


def test_a_bird_that_refuses_says_why_and_pf_has_it_all_the_same(
    machine: OpenBsd, bird: Runs
) -> None:
    here = network(machine)
    bird.refusal = "/etc/bird/bird.conf:7:1 syntax error"
    assert "syntax error" in here.serve(LO1, {WEB4}, ())
    assert machine.table("mesh_served") == [WEB4]
    assert here.served(LO1) == frozenset()


def test_without_rules_nothing_can_be_served(tmp_path: Path) -> None:
    """pfctl would make a table that no rule refers to."""
    machine = OpenBsd(tmp_path, packages=())
    here = network(machine)
    assert here.served(LO1) is None
    assert "there is no table mesh_served" in here.serve(LO1, {WEB4}, ())
    assert "mesh_served" not in machine.kernel.pf.tables


def test_a_node_without_an_agent_serves_and_discards_nothing(
    machine: OpenBsd, bird: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = network(machine)
    here.serve(LO1, {WEB4, WEB6}, ())
    here.discard({ONE: 600}, ())
    monkeypatch.setattr("mesh.agent.log.start", lambda: None)
    monkeypatch.setattr(systems, "here", machine.quick_host)
    monkeypatch.setattr(systems, "network", openbsd.network)
    entry.withdraw()
    assert [machine.table(name) for name in TABLES] == [[], [], []]
    assert served(()) in bird.constants
    assert "define IN_SERVICE = false;" in bird.constants


def test_the_checks_decide_what_is_served_also_after_a_start_of_bird(
    machine: OpenBsd, bird: Runs
) -> None:
    """The node's own instance is asked at its address, which this machine has on its loopback."""
    here = network(machine)
    machine.must("ifconfig", "lo1", "create")
    machine.must("ifconfig", "lo1", "inet", "127.0.0.1/32")
    stop = threading.Event()
    one = Announcer(machine.quick_host(), here.bird, here, lambda: None, Workers(stop))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        check = TcpCheck(port=listener.getsockname()[1], interval=0.1)
        web = NodeService(
            name="web", addresses=(IPv4Address("127.0.0.1"),), ports=Ports((80,)), checks=(check,),
            local=True,
        )  # fmt: skip
        one.watch(Config("n", "r", LO1, (), (), (web,), False))
        thread = threading.Thread(target=one.run, args=(stop,), daemon=True)
        thread.start()
        try:
            until(lambda: "define IN_SERVICE = true;" in bird.constants, 20, "it is in service")
            until(lambda: "define SERVED4 = [ 127.0.0.1/32 ];" in bird.constants, 5, "it serves")
            assert "[ 127.0.0.1/32 ]" not in bird.restarts()
            until(lambda: "[ 127.0.0.1/32 ]" in bird.constants, 5, "it serves again")
            listener.close()
            until(lambda: machine.table("mesh_served") == [], 20, "it serves no more")
            until(lambda: served(()) in bird.constants, 20, "BIRD knows")
        finally:
            stop.set()
            one.watch(Config("n", "r", LO1, (), (), (), False))
            thread.join()


# --- what is discarded ---------------------------------------------------------------------------


def test_pf_discards_as_ordered_and_no_longer(machine: OpenBsd) -> None:
    config = Config("n", "r", "lo1", AGGREGATES, (), (), False)
    here = network(machine)
    told = Blackholes(machine.quick_host(), here.bird, here, lambda: None)
    told.watch(config)
    now = int(time.time())
    told.obey(BlackholeOrder("net", 1, (order(ONE, now + 600), order(SIX, now + 300))))
    told.look()
    assert (machine.table("mesh_discard4"), machine.table("mesh_discard6")) == ([ONE], [SIX])
    left = here.discarded().left
    assert 300 < left[ONE] <= 600 and left[SIX] <= 300
    # So soon that a busy machine may first look at it when it is over.
    told.obey(BlackholeOrder("net", 2, (order(ONE, now + 600), order(SIX, int(time.time()) + 2))))

    def ends() -> bool:
        told.look()
        return machine.table("mesh_discard6") == []

    until(ends, 10, "one order is over")
    assert machine.table("mesh_discard4") == [ONE]


def test_an_agent_that_starts_ends_what_nobody_orders_any_more(machine: OpenBsd) -> None:
    network(machine).discard({ONE: 600, OTHER: 600}, ())
    here = network(machine)
    assert here.discarded().left == {ONE: ENDLESS, OTHER: ENDLESS}
    told = Blackholes(machine.quick_host(), here.bird, here, lambda: None)
    told.watch(Config("n", "r", "lo1", AGGREGATES, (), (), False))
    told.obey(BlackholeOrder("net", 2, (order(ONE, int(time.time()) + 60),)))
    told.look()
    assert machine.table("mesh_discard4") == [ONE]
    assert here.discarded().left[ONE] <= 60


def order(address: str, end: int) -> Blackhole:
    return Blackhole(ip_address(address), end, "", False)
