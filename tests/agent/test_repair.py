"""What somebody changes by hand on a node in operation is put right, said in its log and in its
report; what is not the network's is left alone. One node, with real daemons.

The tests of this file share the box and run in order; each leaves a node in operation behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from mesh.agent.repairs import OFTEN
from mesh.netns import inside
from mesh.publish.hold import Holds
from mesh.publish.problems import problems
from mesh.publish.registry_pool import RegistryPool
from mesh.trust.documents import Repair
from tests.agent.test_node import LAX, ORD, Running, rendering, two_nodes
from tests.kit.machines import AgentMachine
from tests.kit.wait import patience, until

pytestmark = [pytest.mark.image, pytest.mark.beside_labs]

BUNDLE = "/var/lib/anycast-mesh/bundle.pyz"
PROBING = "/proc/sys/net/ipv4/tcp_mtu_probing"
TUNNEL = f"wg-{LAX}"
PATIENCE = 60
"""Seconds; it takes ten or so, on a machine with nothing else to do."""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with two_nodes(tmp_path_factory.mktemp("wire")) as running:
        yield running


def reported(mesh: Running, node: str = ORD) -> dict[str, Repair]:
    """What a node says that it has put right, by what it was."""
    assert mesh.fleet is not None
    return {one.what: one for one in mesh.status().nodes[node].repairs}


BY_HAND: tuple[dict[str, tuple[str, str, str]], ...] = (
    {
        "the firewall flushed": (
            "nft flush ruleset",
            "nft list table inet mesh >/dev/null && nft list table inet mesh_discard >/dev/null",
            "firewall",
        ),
        "a secret's mode": (
            "chmod 644 /etc/bird/mesh/secrets.conf",
            "test $(stat -c %a /etc/bird/mesh/secrets.conf) = 640",
            "file /etc/bird/mesh/secrets.conf",
        ),
        "a kernel setting": (
            "echo 0 >/proc/sys/net/ipv4/ip_forward",
            "grep -q 1 /proc/sys/net/ipv4/ip_forward",
            "kernel setting net/ipv4/ip_forward",
        ),
        "a tunnel deleted": (
            f"ip link del {TUNNEL}",
            f"ip link show dev {TUNNEL} | grep -q '[<,]UP' && wg show {TUNNEL} | grep -q peer",
            f"tunnel {TUNNEL}",
        ),
        "a unit stopped": (
            "systemctl stop anycast-mesh-whoami.service",
            "systemctl is-active anycast-mesh-whoami.service",
            "unit anycast-mesh-whoami.service",
        ),
        "a file deleted": (
            "rm /etc/systemd/system/anycast-mesh-whoami.service",
            "test -s /etc/systemd/system/anycast-mesh-whoami.service",
            "file /etc/systemd/system/anycast-mesh-whoami.service",
        ),
    },
    {
        "a rule deleted": (
            "nft flush chain inet mesh forward",
            "nft list chain inet mesh forward | grep -q wg-",
            "firewall",
        ),
        "a service's address deleted": (
            "ip address del 192.30.120.100/32 dev dummy0",
            "ip address show dev dummy0 | grep -q 192.30.120.100/32",
            "address 192.30.120.100 on dummy0",
        ),
        "the node's own address deleted": (
            "ip address del 10.10.10.2/32 dev dummy0",
            "ip address show dev dummy0 | grep -q 10.10.10.2/32",
            "address 10.10.10.2 on dummy0",
        ),
        "wireguard-go killed": (
            "pkill -KILL -x wireguard-go",
            f"pgrep -x wireguard-go && wg show {TUNNEL} | grep peer",
            f"tunnel {TUNNEL}",
        ),
        "BIRD killed": (
            "pkill -KILL bird",
            "birdc show status",
            "bird",
        ),
        "a file edited": (
            "echo PermitRootLogin yes >>/etc/ssh/sshd_config.d/00-anycast-mesh.conf",
            "! grep -q 'Login yes' /etc/ssh/sshd_config.d/00-anycast-mesh.conf",
            "file /etc/ssh/sshd_config.d/00-anycast-mesh.conf",
        ),
    },
    {
        "BIRD told to read something else": (
            # One within the second of the agent's own cannot be told from it.
            "sleep 3; grep -v '^# ' /etc/bird/bird.conf >/etc/bird/mine.conf; "
            "birdc configure '\"/etc/bird/mine.conf\"'",
            "test ! -e /etc/bird/mine.conf || rm /etc/bird/mine.conf",
            "bird's configuration",
        ),
        "an admin network added": (
            "nft add element inet mesh admin4 '{ 198.51.100.7 }'",
            "! nft list set inet mesh admin4 | grep -q 198.51.100.7",
            "firewall",
        ),
        "a pipe where a file was": (
            "rm /etc/sysctl.d/99-anycast-mesh.conf; mkfifo /etc/sysctl.d/99-anycast-mesh.conf",
            "test -f /etc/sysctl.d/99-anycast-mesh.conf",
            "file /etc/sysctl.d/99-anycast-mesh.conf",
        ),
        "dummy0 set down": (
            "ip link set dummy0 down",
            "ip link show dev dummy0 | grep -q '[<,]UP'",
            "interface dummy0",
        ),
        "a tunnel's key, address and state": (
            f"wg genkey | wg set {TUNNEL} private-key /dev/stdin; ip link set {TUNNEL} down; "
            f"ip address del 10.10.10.2/32 dev {TUNNEL}",
            f"wg show {TUNNEL} private-key | cmp - /var/lib/anycast-mesh/keys/wireguard.key && "
            f"ip address show dev {TUNNEL} | grep 10.10.10.2/32 && "
            f"ip -6 address show dev {TUNNEL} | grep fe80:: && ip link show {TUNNEL} | grep ,UP",
            f"tunnel {TUNNEL}",
        ),
    },
)
"""By hand, in rounds: what somebody does, what holds before and after, and what the node says that
it has put right. What is broken at the same time is put right with the same look."""


def said(box: AgentMachine, what: str) -> int:
    """How often its log says that this was put right."""
    end = '"' if what else ""
    return box.log("agent").count(f'>repaired what="{what}{end}')


def is_said(box: AgentMachine, what: str, before: int) -> bool:
    return said(box, what) > before


def holds(box: AgentMachine, shell: str) -> bool:
    return box.run("sh", "-c", f"({shell}) >/dev/null 2>&1 && echo yes", check=False) == "yes\n"


def test_what_is_changed_by_hand_is_put_right_said_in_the_log_and_reported(mesh: Running) -> None:
    box = mesh.ord
    all_cases = {case: entry for cases in BY_HAND for case, entry in cases.items()}
    assert {case for case, (_, wanted, _) in all_cases.items() if not holds(box, wanted)} == set()
    for cases in BY_HAND:
        before = {what: said(box, what) for _, _, what in cases.values()}
        for shell, _, _ in cases.values():
            box.run("sh", "-c", shell)
        for case, (_, wanted, what) in cases.items():
            until(partial(is_said, box, what, before[what]), PATIENCE, f"{case}: said in its log")
            until(partial(holds, box, wanted), PATIENCE, f"{case}: put right")
        mesh.in_operation()
    objects = {what for _, _, what in all_cases.values()}
    until(lambda: reported(mesh).keys() >= objects, PATIENCE, "all of it is reported")
    until(lambda: mesh.status().nodes[ORD].repaired == said(box, ""), PATIENCE, "and counted")
    assert mesh.status().nodes[LAX].repairs == ()


FOREIGN = {
    "a table": (
        "nft 'table ip docker { chain x { type filter hook forward priority 0; accept; }; }'",
        "nft list chain ip docker x",
    ),
    "an address of another interface": (
        "ip address add 198.51.100.8/32 dev enp9s0",
        "ip address show dev enp9s0 | grep 198.51.100.8",
    ),
    "an address of dummy0": (
        "ip address add 198.51.100.9/32 dev dummy0",
        "ip address show dev dummy0 | grep 198.51.100.9",
    ),
    "a route": ("ip route add blackhole 198.51.100.0/24", "ip route | grep 198.51.100.0/24"),
    "a rule": ("ip rule add priority 500 lookup 500", "ip rule | grep 500:"),
    "a unit": (
        "printf '[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/mine.service",
        "test -s /etc/systemd/system/mine.service",
    ),
    "a file beside ours": (
        "echo net.core.somaxconn = 4097 >/etc/sysctl.d/98-mine.conf",
        "test -s /etc/sysctl.d/98-mine.conf",
    ),
    "a kernel setting that is not ours": (
        "echo 77 >/proc/sys/net/ipv4/ip_default_ttl",
        "grep -q 77 /proc/sys/net/ipv4/ip_default_ttl",
    ),
    "what is discarded for a while": (
        "nft add element inet mesh_discard addresses4 '{ 192.30.120.77 timeout 1h }'",
        "nft list set inet mesh_discard addresses4 | grep 192.30.120.77",
    ),
}


def test_what_is_not_the_networks_is_left_alone(mesh: Running) -> None:
    box = mesh.ord
    for shell, _ in FOREIGN.values():
        box.run("sh", "-c", shell)
    before = said(box, "")
    box.run("sysctl", "-q", "-w", "net.ipv4.tcp_mtu_probing=0")
    until(partial(is_said, box, "kernel setting net/ipv4/tcp_mtu_probing", 0), PATIENCE, "a look")
    assert said(box, "") == before + 1, box.log("agent")
    assert {case for case, (_, wanted) in FOREIGN.items() if not holds(box, wanted)} == set()
    box.run("nft", "flush", "set", "inet", "mesh_discard", "addresses4")


def test_a_registrys_firewall_has_sets_that_callers_fill_and_is_compared_all_the_same(
    mesh: Running,
) -> None:
    box = mesh.lax
    filled = "nft add element inet mesh registry_rate4 '{ 198.51.100.7 limit rate 1/second }'"
    box.run("sh", "-c", filled)
    box.run("nft", "add", "element", "inet", "mesh", "admin4", "{ 198.51.100.7 }")
    until(partial(is_said, box, "firewall", 0), PATIENCE, "said in its log")
    assert "198.51.100.7" not in box.run("nft", "list", "set", "inet", "mesh", "admin4")
    assert said(box, "") == 1


FOUGHT = "kernel setting net/ipv4/conf/all/arp_ignore"
IGNORE = "/proc/sys/net/ipv4/conf/all/arp_ignore"
FIGHT = f"while sleep 0.3; do nft delete table inet mesh; echo 0 >{IGNORE}; done"


def is_left_alone(mesh: Running, what: str) -> bool:
    one = reported(mesh).get(what)
    return one is not None and one.stopped


def test_two_programs_that_fight_end_it_but_for_the_firewall(mesh: Running) -> None:
    box = mesh.ord
    before = said(box, "firewall")
    with running(box, FIGHT):
        until(partial(is_said, box, "firewall", before + OFTEN), PATIENCE, "and again")
        until(lambda: f'repair-stopped what="{FOUGHT}"' in box.log("agent"), PATIENCE, "it stops")
        until(partial(is_left_alone, mesh, FOUGHT), PATIENCE, "and says so")
    until(partial(holds, box, "nft list table inet mesh"), PATIENCE, "the firewall is back")
    assert said(box, FOUGHT) == OFTEN
    assert holds(box, f"grep 0 {IGNORE}")
    found = reported(mesh)
    assert found["firewall"].by.startswith("nft (process ") and not found["firewall"].stopped
    words = f"{FOUGHT} does not stay as in the generation (is 0, not 1): is left alone now"
    assert words in "\n".join(problems(mesh.status()))
    mesh.publish()
    until(partial(holds, box, f"grep 1 {IGNORE}"), PATIENCE, "a generation begins anew")


def test_a_held_node_repairs_and_applies_nothing_until_its_hold_ends(
    mesh: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a command on the node, that asks no registry."""
    box = mesh.ord
    assert "until 20" in box.run("python3", BUNDLE, "hold", "5m")
    until(lambda: mesh.status().nodes[ORD].held, PATIENCE, "it says so")
    before = said(box, ""), box.path("/etc/nftables.conf").read_text()
    box.run("sh", "-c", f"echo 0 >{PROBING}; nft delete table inet mesh")
    try:
        rendering(monkeypatch, ORD, {"/etc/nftables.conf": lambda text: text + "# another\n"})
        mesh.publish()
    finally:
        monkeypatch.undo()
    assert any(f"{ORD}: is held until 20" in line for line in mesh.lines), mesh.lines
    time.sleep(3)  # a time in which nothing may happen
    status = mesh.status().nodes
    assert (status[ORD].state, status[LAX].state) == ("behind", "applied")
    assert before == (said(box, ""), box.path("/etc/nftables.conf").read_text())
    assert not holds(box, "nft list table inet mesh")
    box.run("python3", BUNDLE, "unhold")
    until(lambda: mesh.status().nodes[ORD].state == "applied", PATIENCE, "it applies")
    until(partial(holds, box, f"grep 1 {PROBING}"), PATIENCE, "and repairs")
    assert holds(box, "nft list table inet mesh") and not mesh.status().nodes[ORD].held
    mesh.publish()
    mesh.in_operation()


def ordered(mesh: Running, until: float) -> bool:
    """Orders a hold of ORD; whether it says in time that it obeys."""
    operator = mesh.network.order()

    def work() -> bool:
        assert mesh.fleet is not None and mesh.fleet.network is not None
        identities = {node: one.identity for node, one in mesh.fleet.members.items()}
        desk = RegistryPool(operator.operator_key, operator.registries)
        holds = Holds(desk, operator.operator_key, mesh.fleet.network, identities)
        order = holds.change([ORD], int(until))
        assert order is not None
        missing = holds.wait([ORD], order, patience(PATIENCE), lambda _: None)
        desk.close()
        return not missing

    return inside(operator.namespace, work)


def test_a_hold_by_order_is_obeyed_told_and_ended_early_or_by_itself(mesh: Running) -> None:
    box = mesh.ord
    assert ordered(mesh, time.time() + 3600) and mesh.status().nodes[ORD].held
    assert not mesh.status().nodes[LAX].held
    box.run("sh", "-c", f"echo 0 >{PROBING}")
    time.sleep(2)  # a time in which nothing may happen
    assert holds(box, f"grep 0 {PROBING}")
    assert ordered(mesh, 0)
    until(partial(holds, box, f"grep 1 {PROBING}"), PATIENCE, "ended early")
    assert ordered(mesh, time.time() + 3)
    until(lambda: not mesh.status().nodes[ORD].held, PATIENCE, "it ends by itself")


@contextmanager
def running(box: AgentMachine, shell: str) -> Iterator[None]:
    """A program on the node, until the block ends."""
    box.run("sh", "-c", f"sh -c '{shell}' >/dev/null 2>&1 </dev/null & echo $! >/run/program")
    try:
        yield
    finally:
        box.run("sh", "-c", "kill $(cat /run/program)")
