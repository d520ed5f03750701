"""Generations on an OpenBSD node: applied, refused, rolled back and repaired, with pf, interfaces
and kernel settings of stand-ins."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from mesh.agent import file_paths
from mesh.agent.apply import Applier, NotApplied
from mesh.agent.daemons.kind import ChangedNode, Difference
from mesh.agent.state import Applied
from mesh.agent.system import System
from mesh.agent.systems import openbsd
from mesh.trust.documents import Part, PublicFile
from tests.kit.bird_control import control
from tests.kit.openbsd.machine import OpenBsd
from tests.kit.openbsd.quick import QuickHost

PF, LO, SYSCTL = "/etc/pf.conf", "/etc/hostname.lo1", "/etc/anycast-mesh/sysctl.conf"
WG1, WG2 = "/etc/hostname.wg1", "/etc/hostname.wg2"
OWN, ONE, TWO = (base64.b64encode(letter * 32).decode() for letter in (b"o", b"1", b"2"))
RULES = """\
set ruleset-optimization none
set skip on lo
table <mesh_served> persist
table <mesh_admin> {{ {admin} }}
block drop all
match in from any to 192.30.120.100 rtable 1 tag mesh_elsewhere
match in from any to <mesh_served> rtable 0
pass in quick tagged mesh_elsewhere no state
{ssh}
pass out quick all
"""
SSH = "pass in quick on ! wg proto tcp from <mesh_admin> to any port 22"
ADMIN = "198.51.100.250, 192.0.2.0/24"
TUNNEL = """\
# A tunnel.
description {peer}
mtu {mtu}
inet 169.254.1.{number} 255.255.255.255
inet6 fe80::{number} 64
!/usr/local/bin/wg set wg{number} listen-port {port} private-key {key} peer {public} endpoint \
{endpoint} allowed-ips 0.0.0.0/0,::/0
up
"""
ADDRESSES = """\
up
inet alias 10.10.10.1 255.255.255.255
inet6 alias fd00::1 128
inet alias 192.30.120.100 255.255.255.255
inet6 alias 2620:71:4000::100 128 pltime 0
!route -qn -T 1 add -inet -reject default 127.0.0.1
!route -qn -T 1 add -inet -priority 60 -host 192.30.120.100 127.0.0.1
"""


def rules(admin: str = ADMIN, ssh: str = SSH) -> str:
    return RULES.format(admin=admin, ssh=ssh)


def tunnel(number: int, **changed: object) -> str:
    given = {
        "peer": f"peer-{number}", "mtu": 1420, "number": number, "port": 51820 + number,
        "key": file_paths.WIREGUARD_KEY, "public": (ONE, TWO)[number - 1],
        "endpoint": f"203.0.113.{number}:51820",
    }  # fmt: skip
    return TUNNEL.format(**given | changed)


FILES = {
    PF: rules(), LO: ADDRESSES, WG1: tunnel(1), WG2: tunnel(2),
    SYSCTL: "# Forward.\nnet.inet.ip.forwarding=1\n",
}  # fmt: skip
MODES = {PF: 0o600, LO: 0o640, WG1: 0o640, WG2: 0o640}


def part(files: Mapping[str, str]) -> Part:
    found = [PublicFile(p, text, MODES.get(p, 0o644), "wheel") for p, text in files.items()]
    return Part("lax-vultr-1", tuple(sorted(found, key=lambda one: one.path)), (), ())


@dataclass
class Node:
    """A node on which a generation of these files is in force."""

    machine: OpenBsd
    host: QuickHost
    system: System
    reachable: bool = True

    def apply(self, files: Mapping[str, str], before: Mapping[str, str] | None) -> list[str]:
        applier = Applier(self.system, lambda: self.reachable, settle=0.0)
        old = None if before is None else part(before)
        return applier.apply(part(files), {}, old, Applied(1, "0" * 64, "{}"))

    def differences(self) -> list[Difference]:
        node = ChangedNode(self.host, self.system.units, self.system.bird, (), frozenset())
        kinds = [kind for kind in self.system.kinds if kind.name != "bird"]
        return [
            one
            for kind in kinds
            for one in kind.differences(node, [path for path in FILES if kind.has(path)])
        ]

    def state(self) -> dict[str, object]:
        """What of the files and of the kernel is ours."""
        kernel = self.machine.kernel
        for one in kernel.interfaces.values():
            one.inet, one.inet6 = sorted(one.inet), sorted(one.inet6)
        return {
            "files": {path: self.host.read(path) for path in FILES},
            "interfaces": {n: one for n, one in kernel.interfaces.items() if n != "vio0"},
            "rules": kernel.pf.rules,
            "admin": self.machine.table("mesh_admin"),
            "setting": kernel.sysctl["net.inet.ip.forwarding"],
        }


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, str]]:
    """A node on which the generation is in force, and what its kernel knows then."""
    machine = OpenBsd(tmp_path_factory.mktemp("openbsd"))
    host = machine.quick_host()
    host.write(file_paths.WIREGUARD_KEY, f"{OWN}\n".encode(), 0o600)
    folder = tmp_path_factory.mktemp("bird")
    with control(folder, {"show protocols": "0000 \n"}) as bird:
        one = Node(machine, host, openbsd.system(host, bird))
        assert one.apply(FILES, None) == sorted(FILES)
        yield one, (machine.state / "kernel.json").read_text()


@pytest.fixture
def node(first: tuple[Node, str]) -> Node:
    """The same for each test, whatever the one before has done."""
    node, known = first
    (node.machine.state / "kernel.json").write_text(known)
    gid = node.host.group("wheel")
    for path, text in FILES.items():
        node.host.write(path, text.encode(), MODES.get(path, 0o644), gid, flush=False)
    node.host.ran.clear()
    node.reachable = True
    return node


def test_a_generation_is_in_force_and_nothing_differs_from_it(node: Node) -> None:
    kernel = node.machine.kernel
    one = kernel.interfaces["wg1"]
    assert (one.up, one.mtu, one.description) == (True, 1420, "peer-1")
    assert (one.inet, one.inet6) == (["169.254.1.1/32"], ["fe80::1/64"])
    assert one.wireguard is not None
    assert one.wireguard.port == 51821
    assert one.wireguard.peers[ONE].endpoint == "203.0.113.1:51820"
    assert "192.30.120.100/32" in kernel.interfaces["lo1"].inet
    assert 1 in kernel.tables, "pf's rules name it"
    assert node.machine.table("mesh_admin") == ["192.0.2.0/24", "198.51.100.250"]
    assert kernel.sysctl["net.inet.ip.forwarding"] == "1"
    assert node.differences() == []
    assert node.apply(FILES, FILES) == []


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "a rule that pf cannot read": ({PF: rules(ssh="let everybody in")}, "pfctl refuses: .*:9: "),
    "no way in": ({PF: rules(ssh="")}, "no rule lets SSH in"),
    "a way in for nobody": ({PF: rules(admin="")}, "no rule lets SSH in"),
    "a way in that is blocked before": (
        {PF: rules(ssh=f"block drop in quick proto tcp from any to any port 22\n{SSH}")},
        "no rule lets SSH in",
    ),
    "another command": ({LO: f"{ADDRESSES}!rm -rf /\n"}, "hostname.lo1:8: not a line"),
    "a command behind a route": (
        {LO: f"{ADDRESSES}!route -qn -T 1 add -inet 10.0.0.1; reboot\n"}, "not a line",
    ),
    "a route in the main table": ({LO: f"{ADDRESSES}!route -qn -T 0 add default ::1\n"}, "not a"),
    "a tunnel without a peer": ({WG1: "mtu 1420\nup\n"}, "a tunnel needs a peer"),
    "another's key": ({WG1: tunnel(1, key="/etc/ssh/key")}, "hostname.wg1:6: not a line"),
    "another interface": ({WG1: tunnel(1).replace("set wg1", "set wg2")}, "not a line"),
    "a wrong peer": ({WG1: tunnel(1, public="x")}, "not a line"),
    "a wrong address": ({WG1: tunnel(1).replace("fe80::1", "fe80:::1")}, "not a line"),
    "a wrong setting": ({SYSCTL: "net.inet.ip.forwarding = 1; x\n"}, "not a kernel setting"),
    "a script that ksh cannot read": ({"/etc/rc.d/anycast_mesh_whoami": "if\n"}, "ksh refuses"),
    "somebody else's file": ({"/etc/rc.conf.local": "pf=NO\n"}, "no daemon of ours reads this"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_before_anything_changes(node: Node, case: str) -> None:
    changed, reason = REFUSED[case]
    before = node.state()
    with pytest.raises(NotApplied) as refused:
        node.apply(FILES | changed, FILES)
    assert re.search(reason, str(refused.value)), refused.value
    assert node.state() == before


CHANGES: dict[str, dict[str, str]] = {
    "everything": {
        PF: rules(ssh=f"{SSH}\npass in quick proto udp from any to any port 53 no state"),
        LO: ADDRESSES.replace("10.10.10.1", "10.10.10.9"),
        WG1: tunnel(1, public=TWO, mtu=1400, port=51999),
        WG2: tunnel(2, endpoint="203.0.113.77:51820"),
        SYSCTL: "net.inet.ip.forwarding=0\n",
    },
    "a port that is another's until then": {WG1: tunnel(1, port=51822), WG2: tunnel(2, port=51823)},
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_that_cuts_the_registry_off_is_undone_as_a_whole(node: Node, case: str) -> None:
    before = node.state()
    node.reachable = False
    with pytest.raises(NotApplied, match="no registry can be reached any more"):
        node.apply(FILES | CHANGES[case], FILES)
    assert node.state() == before
    assert node.differences() == []


def test_what_the_kernel_does_not_take_is_undone(node: Node) -> None:
    """pf reads rules for a routing table that the kernel does not have, and does not load them."""
    before = node.state()
    with pytest.raises(NotApplied, match="Device busy"):
        node.apply(FILES | {PF: rules().replace("rtable 1", "rtable 7")}, FILES)
    assert node.state() == before


def test_a_peers_new_address_leaves_its_session_alone(node: Node) -> None:
    with node.machine.changing() as kernel:
        wireguard = kernel.interfaces["wg1"].wireguard
        assert wireguard is not None
        wireguard.peers[ONE].handshake = 1_700_000_000
    node.apply(FILES | {WG1: tunnel(1, endpoint="[2001:db8::7]:51820")}, FILES)
    told = [" ".join(command) for command in node.host.ran if command[:2] == ("wg", "set")]
    assert told == [f"wg set wg1 peer {ONE} endpoint [2001:db8::7]:51820"]
    wireguard = node.machine.kernel.interfaces["wg1"].wireguard
    assert wireguard is not None
    assert wireguard.peers[ONE].handshake == 1_700_000_000


def test_a_peer_that_has_left_takes_its_tunnel_along(node: Node) -> None:
    left = {path: text for path, text in FILES.items() if path != WG2}
    assert node.apply(left, FILES) == [WG2]
    assert "wg2" not in node.machine.kernel.interfaces
    assert "wg1" in node.machine.kernel.interfaces


def test_what_the_agent_keeps_in_pf_outlives_a_new_ruleset(node: Node) -> None:
    node.host.must("pfctl", "-t", "mesh_served", "-T", "add", "192.30.120.100")
    node.apply(FILES | {PF: rules(ssh=f"{SSH}\npass in quick proto ah all")}, FILES)
    assert node.machine.table("mesh_served") == ["192.30.120.100"]
    assert any("proto ah" in rule for rule in node.machine.kernel.pf.rules)


def _without_rule(node: Node) -> None:
    with node.machine.changing() as kernel:
        kernel.pf.rules = [rule for rule in kernel.pf.rules if "tagged" not in rule]


def _with_rule(node: Node) -> None:
    with node.machine.changing() as kernel:
        kernel.pf.rules.append("pass in quick proto tcp from any to any port = 3306")


def _command(*command: str) -> Callable[[Node], None]:
    def run(node: Node) -> None:
        node.host.must(*command)

    return run


BY_HAND: dict[str, tuple[Callable[[Node], None], str, str]] = {
    "pf is switched off": (_command("pfctl", "-d"), "firewall", "pf is disabled"),
    "all rules go": (_command("pfctl", "-F", "rules"), "firewall", "no rule is in force"),
    "a rule goes": (_without_rule, "firewall", "mesh_elsewhere no state is missing"),
    "a rule comes": (_with_rule, "firewall", "port = 3306 was added"),
    "an admin comes": (
        _command("pfctl", "-t", "mesh_admin", "-T", "add", "203.0.113.9"), "firewall",
        "table mesh_admin has other addresses",
    ),
    "an interface goes": (_command("ifconfig", "wg1", "destroy"), "tunnel wg1", "is missing"),
    "it goes down": (_command("ifconfig", "wg1", "down"), "tunnel wg1", "is down"),
    "another MTU": (_command("ifconfig", "wg1", "mtu", "1300"), "tunnel wg1", "an MTU of 1300"),
    "its address goes": (
        _command("ifconfig", "wg1", "inet6", "fe80::1", "delete"), "tunnel wg1",
        "lacks fe80::1/64",
    ),
    "its peer goes": (
        _command("wg", "set", "wg1", "peer", ONE, "remove"), "tunnel wg1", "has another peer",
    ),
    "another peer comes": (
        _command("wg", "set", "wg1", "peer", TWO, "allowed-ips", "0.0.0.0/0"), "tunnel wg1",
        "has another peer",
    ),
    "another port": (
        _command("wg", "set", "wg1", "listen-port", "5"), "tunnel wg1", "listens on port 5",
    ),
    "an address of ours goes": (
        _command("ifconfig", "lo1", "inet", "192.30.120.100", "delete"), "interface lo1",
        "lacks 192.30.120.100/32",
    ),
    "a setting": (
        _command("sysctl", "net.inet.ip.forwarding=0"),
        "kernel setting net.inet.ip.forwarding", "is 0, not 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BY_HAND)
def test_what_somebody_has_changed_is_found_and_repaired(node: Node, case: str) -> None:
    change, what, why = BY_HAND[case]
    change(node)
    (one,) = node.differences()
    assert one.what == what
    assert why in one.why
    assert one.vital == (what == "firewall")
    one.mend()
    assert node.differences() == []
