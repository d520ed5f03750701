"""Nodes behave as a cloud's virtual servers do, and faults do what their verbs say."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from mesh import netns
from mesh.lab import bird, containers, faults, namespaces, probe
from mesh.lab.containers import BoxState, node_alive, reboot_node, start_node, stop_node
from mesh.lab.errors import LabError
from mesh.lab.lab_files import files_of
from mesh.lab.questions import Question, Tcp, question
from mesh.lab.routers import session_name
from mesh.lab.underlay import underlay
from mesh.lab.world import clear_world, raise_world
from mesh.plan import Plan
from mesh.plan.model import PlannedService, ServiceAddresses
from mesh.services.checks.tcp import TcpCheck
from mesh.services.service import Ports
from tests.kit.lab_node import LabNode
from tests.kit.sniffer import Sniffer
from tests.kit.wait import until
from tests.lab.conftest import Raised
from tests.lab.inspection import leftovers, pings, run_in
from tests.lab.speaker import PASSWORDS

pytestmark = pytest.mark.lab

USER_DATA = """#cloud-config
write_files:
- path: /etc/bird/bird.conf
  content: |
    router id 10.0.0.1;
    protocol device { }
- path: /etc/whoami.py
  content: |
    import http.server, socket
    class H(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(socket.gethostname().encode())
    class S(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6
    S(("::", 80), H).serve_forever()
- path: /etc/systemd/system/whoami.service
  content: |
    [Service]
    ExecStart=/usr/bin/python3 /etc/whoami.py
    [Install]
    WantedBy=multi-user.target
bootcmd:
- [touch, /var/lib/boot-command-has-run]
runcmd:
- [systemctl, enable, --now, --no-block, whoami]
- [systemctl, enable, --now, --no-block, bird]
- [touch, /var/lib/user-data-has-run]
"""
NODES = ("lax-vultr-1", "ord-vultr-1")
BOOT = 60.0


@dataclass(frozen=True)
class Machines:
    """Two nodes that have booted."""

    raised: Raised
    states: dict[str, BoxState]


def root_of(raised: Raised, node: str) -> Path:
    """A running node's root directory."""
    return LabNode(raised.place, raised.world, node).root


def has_run(raised: Raised, node: str, mark: str = "user-data-has-run") -> bool:
    """Whether a node has run its user data."""
    if not containers.is_running(raised.place, node):
        return False
    return (root_of(raised, node) / "var/lib" / mark).exists()


def is_up(raised: Raised, node: str) -> bool:
    """Whether a node has done all that its user data says."""
    return has_run(raised, node) and answers(raised, node)


def answers(raised: Raised, node: str) -> bool:
    """Whether a node's web server answers a client."""
    url = f"http://{raised.world.node(node).ipv4}/"
    curl = ("curl", "-s", "--noproxy", "*", "-m", "1", url)
    return run_in(raised.place, "client-ewr", *curl).stdout == node


def answers_in_time(raised: Raised, node: str) -> None:
    """Waits for a node's answer: one may take more than the client's second on a busy machine."""
    until(partial(answers, raised, node), 5, f"{node} to answer")


@pytest.fixture(scope="module")
def machines(raised: Raised) -> Iterator[Machines]:
    """Two nodes, started at once and up."""
    with ThreadPoolExecutor() as pool:
        started = pool.map(
            lambda node: start_node(raised.name, node, raised.world, USER_DATA), NODES
        )
        states = dict(zip(NODES, started, strict=True))
    for node in NODES:
        until(partial(is_up, raised, node), BOOT, f"{node} to run user data")
    yield Machines(raised, states)
    for node in NODES:
        stop_node(raised.name, node)


@pytest.fixture
def healed(machines: Machines) -> Iterator[Machines]:
    """The two nodes, without a fault before and after."""
    yield machines
    for target in faults.active(machines.raised.name):
        faults.heal(machines.raised.name, target)
    for node in NODES:
        until(partial(answers, machines.raised, node), BOOT, f"{node} to answer again")


def test_a_node_boots_from_its_user_data_with_the_addresses_known_ahead(
    machines: Machines,
) -> None:
    for node, state in machines.states.items():
        uplink = machines.raised.world.node(node)
        assert (state.ipv4, state.ipv6) == (uplink.ipv4, uplink.ipv6)
        assert node_alive(machines.raised.name, node, state.instance_id)
        assert pings(machines.raised.place, "operator", state.ipv4)
        assert pings(machines.raised.place, "operator", state.ipv6)
    assert len({state.instance_id for state in machines.states.values()}) == 2


def test_a_node_may_set_its_own_sysctls(machines: Machines) -> None:
    inside = containers.entering(machines.raised.place, NODES[0])
    namespaces.run([*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
    assert namespaces.run([*inside, "sysctl", "-n", "net.ipv4.ip_forward"]).strip() == "1"


def test_programs_in_go_use_one_processor(machines: Machines) -> None:
    """wireguard-go is one."""
    node = LabNode(machines.raised.place, machines.raised.world, NODES[0])
    service = ("systemd-run", "--quiet", "--wait", "--pipe")
    assert node.run(*service, "printenv", "GOMAXPROCS") == "1\n"


def test_the_metadata_service_knows_the_instance(machines: Machines) -> None:
    for node, state in machines.states.items():
        inside = containers.entering(machines.raised.place, node)
        asked = ("curl", "-s", "--retry-connrefused", "--retry", "60", "--retry-delay", "1")
        url = "http://169.254.169.254/v1/instance-v2-id"
        assert namespaces.run([*inside, *asked, url]) == state.instance_id


def test_services_of_two_nodes_are_not_mixed_up(machines: Machines) -> None:
    # Two containers in one control group would stop each other's services.
    one, other = (containers.entering(machines.raised.place, node) for node in NODES)
    pid = namespaces.run([*other, "systemctl", "show", "-P", "MainPID", "whoami"])
    namespaces.run([*one, "systemctl", "restart", "whoami"])
    assert namespaces.run([*other, "systemctl", "show", "-P", "MainPID", "whoami"]) == pid


def test_the_same_order_again_takes_the_living_instance(machines: Machines) -> None:
    raised, node = machines.raised, NODES[0]
    assert start_node(raised.name, node, raised.world, USER_DATA) == machines.states[node]


def test_a_changed_plan_is_followed_while_nodes_live(machines: Machines, plan: Plan) -> None:
    raised = machines.raised
    without_miami = tuple(node for node in plan.nodes if node.region != "mia")
    try:
        raise_world(replace(plan, nodes=without_miami), raised.name, PASSWORDS)
        assert not netns.exists(raised.place.namespace("client-mia"))
        answers_in_time(raised, NODES[0])
    finally:
        raise_world(plan, raised.name, PASSWORDS)
    assert pings(raised.place, "client-mia", raised.world.node(NODES[0]).ipv4)
    answers_in_time(raised, NODES[0])


def test_a_node_that_left_the_plan_is_reached_until_it_is_stopped(
    machines: Machines, plan: Plan
) -> None:
    raised, leaving = machines.raised, NODES[1]
    without = tuple(node for node in plan.nodes if node.id != leaving)
    try:
        raise_world(replace(plan, nodes=without), raised.name, PASSWORDS)
        answers_in_time(raised, leaving)
        assert netns.exists(raised.place.namespace("client-ord"))
    finally:
        raise_world(plan, raised.name, PASSWORDS)
    answers_in_time(raised, leaving)


def test_power_loss_is_silent_and_healing_boots_the_same_disk(healed: Machines) -> None:
    raised, node = healed.raised, NODES[0]
    state = healed.states[node]
    (root_of(raised, node) / "var/lib/kept").write_text("on disk")
    faults.fault(raised.name, "power-loss", node)
    assert not node_alive(raised.name, node, state.instance_id)
    assert faults.active(raised.name) == {node: ("power-loss",)}
    port = raised.world.node(node).port
    upstream = raised.world.node(node).upstream
    link = run_in(raised.place, upstream, "ip", "link", "show", port).stdout
    assert "LOWER_UP" in link, "the link must stay up: nobody is told"
    assert faults.heal(raised.name, node) == ("power-loss",)
    until(lambda: answers(raised, node), BOOT, f"{node} to boot again")
    assert node_alive(raised.name, node, state.instance_id)
    assert (root_of(raised, node) / "var/lib/kept").read_text() == "on disk"


@pytest.mark.parametrize("verb", ["blackhole", "link-down"])
def test_a_cut_off_node_is_lost_for_as_long_as_the_fault(healed: Machines, verb: str) -> None:
    raised, node = healed.raised, NODES[0]
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        seen = pool.submit(
            probe.probe, raised.name, "client-ewr", raised.world.node(node).ipv4,
            duration=30, stop=stop,
        )  # fmt: skip
        time.sleep(0.5)  # something to lose
        began = time.monotonic()
        faults.fault(raised.name, verb, node)
        time.sleep(2)  # the length of the fault
        faults.heal(raised.name, node)
        until(lambda: answers(raised, node), BOOT, f"{node} to answer again")
        ended = time.monotonic()
        stop.set()
        report = seen.result()
    # Less than the fault's length: what waits for an address to be resolved is delivered late.
    assert 500 < report.longest_gap_ms < (ended - began) * 1000 + 2000
    assert report.by.keys() == {node}


def test_a_probe_without_a_fault_loses_nothing(healed: Machines) -> None:
    raised, node = healed.raised, NODES[0]
    for address in (raised.world.node(node).ipv4, raised.world.node(node).ipv6):
        assert address is not None
        for asked in (probe.WHOAMI, None):

            def whole(
                to: IPv4Address | IPv6Address = address, asked: Question | None = asked
            ) -> bool:
                report = probe.probe(raised.name, "client-ewr", to, asked, duration=1)
                assert report.longest_gap_ms == 0 or report.answered < report.sent
                # Ten milliseconds apart.
                return report.answered == report.sent > 80

            # A machine that is busy may hold a packet up, or the prober: not again and again.
            until(whole, BOOT, "a second without a loss")


def test_a_cut_tunnel_loses_udp_both_ways_and_nothing_else(healed: Machines) -> None:
    raised = healed.raised
    one, other = NODES
    until(lambda: udp_passes(raised, one, other), BOOT, "a datagram to pass")
    until(lambda: udp_passes(raised, other, one), BOOT, "a datagram to pass back")
    faults.fault(raised.name, "tunnel-cut", f"{other}:{one}")
    assert not udp_passes(raised, one, other)
    assert not udp_passes(raised, other, one)
    assert pings(raised.place, one, raised.world.node(other).ipv4)
    assert faults.heal(raised.name, f"{one}:{other}") == ("tunnel-cut",)
    until(lambda: udp_passes(raised, one, other), BOOT, "a datagram to pass again")


def test_a_killed_daemon_stays_down_whoever_starts_it(healed: Machines) -> None:
    raised, node = healed.raised, NODES[0]
    inside = containers.entering(raised.place, node)
    until(lambda: bird_runs(raised, node), BOOT, "BIRD to run")
    faults.fault(raised.name, "kill-daemon", node)
    namespaces.run([*inside, "systemctl", "start", "bird"])
    assert not bird_runs(raised, node)
    faults.heal(raised.name, node)
    until(lambda: bird_runs(raised, node), BOOT, "BIRD to run again")


def test_a_hanging_daemon_goes_on_when_healed(healed: Machines) -> None:
    raised, node = healed.raised, NODES[0]
    until(lambda: bird_runs(raised, node), BOOT, "BIRD to run")
    faults.fault(raised.name, "hang", node)
    # A process stops once it has a processor.
    until(lambda: bird_state(raised, node) == "T", 5, "BIRD to stop")
    faults.heal(raised.name, node)
    # It may wait for its disk at that moment.
    until(lambda: bird_state(raised, node) in "SR", 5, "BIRD to go on")


def test_a_withdrawn_nodes_upstream_has_no_session_for_it_until_it_is_healed(
    raised: Raised,
) -> None:
    node = "ewr-vultr-1"
    assert states_at_upstream(raised, node) == {"start"}
    for _ in range(2):
        faults.fault(raised.name, "withdraw", node)
        becomes_at_upstream(raised, node, "down")
    assert states_at_upstream(raised, "lax-vultr-1") == {"start"}
    assert faults.heal(raised.name, node) == ("withdraw",)
    becomes_at_upstream(raised, node, "start")


def becomes_at_upstream(raised: Raised, node: str, state: str) -> None:
    """Waits until both of a node's sessions are so at its upstream: BIRD ends and begins one a
    moment after it was told to."""
    until(lambda: states_at_upstream(raised, node) == {state}, 5, f"sessions of {node}: {state}")


def states_at_upstream(raised: Raised, node: str) -> set[str]:
    """BIRD's words for the state of a node's sessions at its upstream, of both families."""
    uplink = raised.world.node(node)
    names = [session_name(node, session.family) for session in uplink.sessions]
    assert len(names) == 2
    shown = bird.ask(raised.place, uplink.upstream, "show protocols").splitlines()
    return {line.split()[3] for line in shown if line.split()[:1] and line.split()[0] in names}


@pytest.mark.parametrize(
    ("verb", "target", "says"),
    [
        ("explode", "lax-vultr-1", "there are withdraw, kill-daemon"),
        ("power-loss", "nowhere", "no node 'nowhere'"),
        ("tunnel-cut", "lax-vultr-1", "takes A:B"),
        ("tunnel-cut", "lax-vultr-1:lax-vultr-1", "takes A:B"),
        ("power-loss", "lax-vultr-1:ord-vultr-1", "takes NODE"),
        ("power-loss", "mia-vultr-1", "is not running"),
        ("withdraw", "lax-aws-1", "announces nothing"),
        ("service-down", "lax-vultr-1", "none of its services is running"),
        ("service-down", "lax-vultr-1:web", "has no service 'web' with a daemon of its own"),
        ("registry-down", "lax-vultr-1", "its registry is not running"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_and_not_on_record(
    machines: Machines, verb: str, target: str, says: str
) -> None:
    with pytest.raises(LabError, match=says):
        faults.fault(machines.raised.name, verb, target)
    assert faults.active(machines.raised.name) == {}


def test_a_node_may_be_rebooted_at_any_moment_of_its_first_boot(
    raised: Raised, machines: Machines
) -> None:
    # What cloud-init does at every boot: the rest it holds for done once it has begun.
    node, mark = "mia-vultr-1", "boot-command-has-run"
    for seconds in (0.3, 0.8, 1.3):
        state = start_node(raised.name, node, raised.world, USER_DATA)
        time.sleep(seconds)  # the moment is what is tested
        reboot_node(raised.name, node, raised.world)
        assert node_alive(raised.name, node, state.instance_id)
        until(
            lambda: has_run(raised, node, mark), BOOT, f"{node}, cut off after {seconds} s, to boot"
        )
        address = raised.world.node(node).ipv4
        assert pings(raised.place, "operator", address, wait=BOOT), f"{node} does not answer"
        stop_node(raised.name, node)
        assert not node_alive(raised.name, node, state.instance_id)


def test_a_replaced_node_is_a_new_machine_without_the_old_ones_faults(
    healed: Machines,
) -> None:
    raised, node = healed.raised, NODES[1]
    (root_of(raised, node) / "var/lib/kept").write_text("gone with the disk")
    for verb in ("withdraw", "power-loss"):
        faults.fault(raised.name, verb, node)
    stop_node(raised.name, node)
    assert faults.active(raised.name) == {node: ("withdraw",)}, "its upstream's doing"
    fresh = start_node(raised.name, node, raised.world, USER_DATA)
    assert fresh.instance_id != healed.states[node].instance_id
    assert faults.active(raised.name) == {}
    becomes_at_upstream(raised, node, "start")
    until(lambda: answers(raised, node), BOOT, f"the new {node} to answer")
    assert not (root_of(raised, node) / "var/lib/kept").exists()
    assert not node_alive(raised.name, node, healed.states[node].instance_id)


def test_no_packet_is_heard_on_the_host_and_nothing_stays(plan: Plan) -> None:
    name = f"test-ear-{os.getpid()}"
    clear_world(name)
    try:
        with Sniffer(underlay(plan)) as sniffer:
            world = raise_world(plan, name, PASSWORDS)
            state = start_node(name, "lax-vultr-1", world, USER_DATA)
            here = Raised(name, plan, world, files_of(name))
            until(lambda: answers(here, "lax-vultr-1"), BOOT, "the node to answer")
            assert pings(here.place, "operator", state.ipv6)
            # What the sniffer must hear, to prove that it is not deaf.
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname()).close()
            until(lambda: sniffer.heard > 0, 5, "the sniffer to hear the host's own frames")
            clear_world(name)
        assert sniffer.lab == []
        assert leftovers(name) == []
    finally:
        clear_world(name)


def udp_passes(raised: Raised, sender: str, receiver: str) -> bool:
    """Whether a datagram between two main addresses arrives within half a second."""
    target = (str(raised.world.node(receiver).ipv4), 51999)
    receiving = netns.inside(raised.place.namespace(receiver), udp_socket)
    sending = netns.inside(raised.place.namespace(sender), udp_socket)
    with receiving, sending:
        receiving.bind(("0.0.0.0", target[1]))
        receiving.settimeout(0.5)
        sending.sendto(b"?", target)
        try:
            return receiving.recv(16) == b"?"
        except TimeoutError:
            return False


def udp_socket() -> socket.socket:
    """A socket of the namespace where it is made, wherever it is used later."""
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def bird_runs(raised: Raised, node: str) -> bool:
    """Whether BIRD of a node answers."""
    inside = containers.entering(raised.place, node)
    try:
        return "ready" in namespaces.run([*inside, "birdc", "show", "status"])
    except LabError:
        return False


def bird_state(raised: Raised, node: str) -> str:
    """State of a node's BIRD process as the kernel says (``T``: stopped)."""
    inside = containers.entering(raised.place, node)
    pid = namespaces.run([*inside, "systemctl", "show", "-P", "MainPID", "bird"]).strip()
    stat = (root_of(raised, node) / "proc" / pid / "stat").read_text()
    return stat.rpartition(")")[2].split()[0]


def test_an_external_service_is_played_as_long_as_the_plan_has_it(healed: Machines) -> None:
    """Also by a node that runs already; one of its services can be taken down by itself."""
    raised, node = healed.raised, NODES[0]
    at = raised.world.node(node).ipv4
    planned = PlannedService(
        name="mail", kind="external", addresses=ServiceAddresses.of([at]), nodes=(node,),
        ports=Ports((2525,), ()), checks=(TcpCheck(port=2525),),
    )  # fmt: skip
    greets = Tcp(2525)

    def greeted() -> str | None:
        return probe.asked_once(raised.place.namespace("client-ewr"), at, greets)

    world = raise_world(replace(raised.plan, services=(planned,)), raised.name, PASSWORDS)
    assert question(world.services, at, "tcp") == greets
    until(lambda: greeted() == node, BOOT, "the stand-in greets")
    faults.fault(raised.name, "service-down", f"{node}:mail")
    until(lambda: greeted() is None, 10, "the stand-in is gone")
    answers_in_time(raised, node)
    assert faults.heal(raised.name, f"{node}:mail") == ("service-down",)
    until(lambda: greeted() == node, 10, "the stand-in greets again")
    raise_world(raised.plan, raised.name, PASSWORDS)
    until(lambda: greeted() is None, 10, "the plan has no such service any more")


@pytest.mark.parametrize("planned", [True, False], ids=["as planned", "elsewhere"])
def test_a_machine_that_was_booted_ahead_waits_for_its_instance(
    raised: Raised, planned: bool
) -> None:
    """One whose uplink is another by now is replaced by a new one."""
    node, place = "mia-vultr-1", raised.place
    containers.boot_ahead(place, raised.world, raised.world.node(node))
    until(partial(containers._waits, place, node), BOOT, "it waits")
    ahead = containers.leader(place, node)
    if not planned:
        (place.box(node) / containers.AHEAD).write_text("another uplink")
    try:
        assert containers.read_state(place, node) is None, "no instance yet"
        state = start_node(raised.name, node, raised.world, USER_DATA)
        assert (containers.leader(place, node) == ahead) is planned
        until(partial(has_run, raised, node), BOOT, "its user data to run")
        known = root_of(raised, node) / "var/lib/cloud/data/instance-id"
        assert known.read_text().strip() == state.instance_id
        assert start_node(raised.name, node, raised.world, USER_DATA) == state
    finally:
        stop_node(raised.name, node)
