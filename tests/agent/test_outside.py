"""Nodes ask one another's instances from outside: what a node's own checks cannot see is a warning,
and withdraws nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest

from mesh.agent import outside as module
from mesh.agent.config import Config, NodeService, Underlay, UnderlayLink, UnderlayNode
from mesh.agent.health import merged
from mesh.agent.host import Host
from mesh.agent.outside import ASKERS, Outside, asks, direct
from mesh.bird.reply import Reply
from mesh.netns import inside
from mesh.services.checks import Check
from mesh.services.checks.dns import DnsCheck
from mesh.services.checks.tcp import TcpCheck
from mesh.services.service import Ports
from mesh.trust.documents import MAX_FAILURES
from mesh.trust.encoding import parse
from tests.agent.test_node import LAX, ORD, SERVICE, Running
from tests.kit.machine import bird_of
from tests.kit.machines import AgentMachine, Network, Wire
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import PATIENCE, until

HIDDEN = """
table inet hidden {
    chain input { type filter hook input priority -10; iifname "wg-*" tcp dport 80 drop; }
}
"""
MIA = "mia-vultr-1"
SHORT = 0.3
"""Seconds for an answer that will not come."""
DNS = Path(__file__).with_name("careless_dns.py")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Los Angeles and Chicago in operation, with a service that has TCP and UDP ports."""
    values = prod()
    values["nodes"] = {node: values["nodes"][node] for node in (LAX, ORD)}
    values["services"]["web"]["ports"] = {"tcp": [53, 80], "udp": [53]}
    wire = Wire(tmp_path_factory.mktemp("outside"))
    try:
        running = Running(Network(wire, plan_of(values)))
        running.publish()
        running.in_operation()
        yield running
    finally:
        wire.close()


def asking(mesh: Running, *checks: Check) -> Outside:
    """What Los Angeles does, by these checks."""
    machine = mesh.lax.machine
    host = Host(machine.root, machine.enter)
    config = parse(Config, host.path("/etc/anycast-mesh/agent.json").read_bytes())
    services = [replace(service, checks=checks or service.checks) for service in config.services]
    outside = Outside(host, bird_of(machine.pid), lambda: None)
    outside.watch(replace(config, services=tuple(services)))
    return outside


def families(outside: Outside) -> set[int]:
    """The families of what it asks."""
    return {question.instance.address.version for question in outside.questions()}


def warned(
    mesh: Running, outside: Outside, rounds: int = 1, seconds: float = PATIENCE
) -> dict[str, str]:
    """Its warnings after so many rounds, in each of which it waits so long for an answer."""

    def ask() -> None:
        for _ in range(rounds):
            for question in outside.questions():
                outside.ask(question)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mesh.agent.outside.PATIENCE", seconds)
        inside(f"{mesh.network.wire.prefix}-11", ask)
    return outside.warnings


@contextmanager
def dns(box: AgentMachine, address: str) -> Iterator[None]:
    """A DNS server that listens on this address of the machine."""
    box.path("/srv/careless_dns.py").write_bytes(DNS.read_bytes())
    command = [*box.machine.enter, "python3", "/srv/careless_dns.py", address]
    with subprocess.Popen(command) as process:
        try:
            until(lambda: ":53" in box.run("ss", "-Hlun", "sport = :53"), 10, "it listens")
            yield
        finally:
            subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)


@pytest.mark.image
@pytest.mark.beside_labs
def test_an_instance_behind_a_firewall_is_a_warning_and_stays_in_service(mesh: Running) -> None:
    outside = asking(mesh)
    until(lambda: families(outside) == {4, 6}, 20, "Chicago's instance is known")
    assert warned(mesh, outside, 2) == {}
    mesh.ord.run("sh", "-c", f"echo '{HIDDEN}' | nft -f -")
    try:
        assert warned(mesh, outside, seconds=SHORT) == {}, "once is no warning"
        ((name, why),) = warned(mesh, outside, seconds=SHORT).items()
        assert name == f"web at {ORD}"
        none = "http port 80: no answer within 0.3 s"
        assert why == f"IPv4, IPv6: {none}"
        assert mesh.ord.bound() >= SERVICE
        assert {q.instance.node for q in outside.questions()} == {ORD}
    finally:
        mesh.ord.run("nft", "delete", "table", "inet", "hidden")
    assert warned(mesh, outside) == {}, "it answers again"


@pytest.mark.image
@pytest.mark.beside_labs
def test_answers_from_a_wrong_address_are_a_warning(mesh: Running) -> None:
    """A server on the wildcard address leaves its source to the kernel: a client throws its answers
    away, as does this node's firewall."""
    outside = asking(mesh, DnsCheck(name="example.net", nsid=False))
    until(lambda: families(outside) == {4, 6}, 20, "Chicago's instance is known")
    none = "dns port 53 example.net SOA: UDP: no answer within 0.3 s"
    with dns(mesh.ord, "::"):
        assert warned(mesh, outside, 2, SHORT) == {f"web at {ORD}": f"IPv4, IPv6: {none}"}
    with dns(mesh.ord, "2620:71:4000::100"):
        (why,) = warned(mesh, outside, seconds=module.PATIENCE).values()
        assert why.startswith("IPv4: "), "at its own address it is right"
    assert mesh.ord.bound() >= SERVICE


@pytest.mark.image
@pytest.mark.beside_labs
def test_what_is_out_of_service_is_not_asked(mesh: Running) -> None:
    outside = asking(mesh, TcpCheck(port=81))
    until(lambda: families(outside) == {4, 6}, 20, "Chicago's instance is known")
    assert warned(mesh, outside, 2, SHORT) != {}
    mesh.ord.kill("agent")
    for address in SERVICE:
        mesh.ord.run("ip", "address", "del", address, "dev", "dummy0")
    try:
        until(lambda: not outside.questions(), 20, "Chicago has withdrawn")
        assert outside.warnings == {}
    finally:
        mesh.ord.start("agent")
        until(lambda: mesh.ord.bound() >= SERVICE, 20, "it serves again")


NEAREST = """\
BIRD 2.17.6 ready.
Table master4:
10.10.10.2/32        unicast [u_mia_vultr_1 20:04:51.444] * (100) [AS4200000002i]
	via fe80::3 on wg-mia-vultr-1
10.10.10.3/32        unicast [u_mia_vultr_1 20:04:51.444] * (100) [AS4200000003i]
	via fe80::3 on wg-mia-vultr-1
192.30.120.100/32    unicast [mate4_ord_vultr_1 20:04:52.812 from 10.10.10.2] * (100/69) [i]
	via fe80::3 on wg-mia-vultr-1
"""


def test_a_node_is_not_asked_that_is_nearest_through_a_third_one() -> None:
    """Its answers would come back by another tunnel, and be a warning for ever. Costs are rounded:
    from Frankfurt to Chicago it is 70, and 8 + 61 through Manchester."""
    nodes = tuple(
        UnderlayNode(node, 4200000000 + n, (ip_address(f"10.10.10.{n}"), ip_address(f"fd00::{n}")))
        for n, node in enumerate((LAX, ORD, MIA), 1)
    )
    config = Config(
        LAX, "lax", "dummy0", (), (IPv4Address("10.10.10.2"), IPv4Address("10.10.10.3")), (),
        whoami=True, underlay=Underlay(nodes, ()), tunnels=("wg-ord-vultr-1", "wg-mia-vultr-1"),
    )  # fmt: skip
    reply = Reply(tuple((1007, line) for line in NEAREST.splitlines()))
    assert list(direct(reply, config, 4)) == [(nodes[2], "wg-mia-vultr-1")]
    assert list(direct(reply, config, 6)) == []


def test_each_instance_is_asked_by_a_few_and_the_work_is_spread() -> None:
    """Thirty-two nodes, each with a tunnel to each other one."""
    ids = [f"r{n:02}-vultr-1" for n in range(32)]
    underlay = Underlay(
        tuple(UnderlayNode(node, 4200000001 + n, ()) for n, node in enumerate(ids)),
        tuple(UnderlayLink((a, b), 1) for a in ids for b in ids if a < b),
    )
    config = Config("", "lax", "dummy0", (), (), (), whoami=True, underlay=underlay)
    services = [
        NodeService(name=name, addresses=(), ports=Ports((80,)), checks=(), local=True)
        for name in ("web", "dns", "mail")
    ]
    asked = {
        node: [
            (service.name, other)
            for service in services
            for other in ids
            if asks(replace(config, node=node), service.name, other)
        ]
        for node in ids
    }
    every = [one for each in asked.values() for one in each]
    assert {every.count(one) for one in every} == {ASKERS}
    assert len(set(every)) == len(services) * len(ids)
    assert max(map(len, asked.values())) <= 3 * ASKERS * len(services)
    assert all((service.name, node) not in asked[node] for service in services for node in ids)


def test_a_report_has_no_more_warnings_than_registries_take() -> None:
    """One with more is refused whole, and the node counts as silent."""
    outside = {f"web-{n} at ord-vultr-1": "no answer" for n in range(MAX_FAILURES)}
    own = {"mail": "the certificate ends in 3 days", "web": "the certificate ends in 2 days"}
    found = merged({"web": "serves older content"}, own, outside)
    assert len(found) == MAX_FAILURES
    assert list(found.items())[:2] == [
        ("web", "serves older content; the certificate ends in 2 days"),
        ("mail", "the certificate ends in 3 days"),
    ]
