"""Who may log in to an OpenBSD node, who has, and a change of that which nobody confirms."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from mesh.agent import file_paths
from mesh.agent.access import LoginAccess, lost
from mesh.agent.apply import Applier, NotApplied
from mesh.agent.confirmation import PATIENCE, Unconfirmed
from mesh.agent.host import CommandFailed, Host
from mesh.agent.logins import Login
from mesh.agent.openbsd import authlog, pf
from mesh.agent.openbsd.authlog import AuthLog
from mesh.agent.openbsd.pf_rules import PfRules
from mesh.agent.openbsd.undo import Sleeper
from mesh.agent.sshd import Effective
from mesh.agent.state import APPLIED, Applied
from mesh.agent.systems import openbsd
from mesh.render import node_files, placeholder_facts
from mesh.trust.documents import Part, PublicFile
from mesh.trust.encoding import dump, parse
from tests.kit.bird_control import control
from tests.kit.openbsd.machine import OpenBsd
from tests.kit.openbsd.quick import QuickHost
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import until

HOME, OFFICE = "198.51.100.250/32", "192.0.2.0/24"
KEY = "SHA256:MmZhLAzTmjFZ6ibgpnXnXNbAdCkzZ7mGxdhVjNHSyWI"
# --- what pf lets in ---------------------------------------------------------------------------

RULES = """\
set skip on {{ lo }}
table <mesh_discard4> persist
table <mesh_aggregates> const {{ 192.30.120.0/23 2620:71:4000::/48 }}
table <mesh_own> const {{ 192.30.120.10 }}
table <mesh_admin> const {{ {admin} }}
block drop all
block drop in quick inet from any to <mesh_discard4> label "discard4"
block drop in quick on ! wg from <mesh_aggregates> to any
match in from any to <mesh_aggregates> tag mesh_elsewhere
match in from any to (self) tag mesh_here tagged mesh_elsewhere
match in from any to <mesh_own> tag mesh_here
pass in quick all flags S/SA no state tagged mesh_elsewhere
{first}
block drop in quick all tagged mesh_here
block drop in quick on wg all
pass in quick on ! wg inet proto icmp all icmp-type echoreq max-pkt-rate 100/2 no state
{ssh}
block drop out quick all received-on any
pass out quick all flags S/SA
"""
SSH = "pass in quick on ! wg proto tcp from <mesh_admin> to any port = 22 flags S/SA"


def rules(**changed: str) -> PfRules:
    """The firewall with these changes."""
    return PfRules(RULES.format(**{"admin": f"{HOME} {OFFICE}", "first": "", "ssh": SSH} | changed))


def access_of(one: PfRules) -> LoginAccess:
    return LoginAccess(one, lambda _user, _place: Effective("listenaddress 0.0.0.0:22"))


NARROWED: dict[str, tuple[dict[str, str], dict[str, str], tuple[str, ...]]] = {
    "the same": ({}, {}, ()),
    "one more network": ({}, {"admin": f"{HOME} {OFFICE} 203.0.113.0/24"}, ()),
    "one network fewer": ({}, {"admin": HOME}, (f"{OFFICE} may log in no more",)),
    "a smaller network": (
        {"admin": OFFICE}, {"admin": "192.0.2.0/25"}, ("192.0.2.128/25 may log in no more",),
    ),
    "an exception": (
        {"admin": OFFICE}, {"admin": f"{OFFICE} !192.0.2.7"}, ("192.0.2.7/32 may log in no more",),
    ),
    "in the rule itself": (
        {"admin": OFFICE}, {"ssh": SSH.replace("<mesh_admin>", OFFICE)}, (),
    ),
    "one address family": (
        {"ssh": SSH.replace("from <mesh_admin>", "from any")},
        {"ssh": SSH.replace("proto tcp from <mesh_admin>", "inet proto tcp from any")},
        ("a part of ::/0 may log in no more",),
    ),
    "a rule that blocks before": (
        {"admin": OFFICE}, {"admin": OFFICE, "first": "block drop in quick from 192.0.2.7 to any"},
        ("192.0.2.7/32 may log in no more",),
    ),
    "a rule that blocks and does not decide": (
        {"admin": OFFICE}, {"admin": OFFICE, "first": "block drop in from 192.0.2.7 to any"}, (),
    ),
    "a rule that blocks behind, where the one before is not quick": (
        {"admin": OFFICE, "ssh": SSH.replace(" quick", "")},
        {"admin": OFFICE, "ssh": f"{SSH.replace(' quick', '')}\nblock drop in proto tcp all"},
        (f"{OFFICE} may log in no more",),
    ),
    "a block that is not understood": (
        {"admin": OFFICE}, {"admin": OFFICE, "first": "block drop in quick proto tcp all user = 7"},
        (f"{OFFICE} may log in no more",),
    ),
    "a pass that is not understood": (
        {"admin": OFFICE}, {"admin": OFFICE, "ssh": f"{SSH} max-pkt-rate 1/2"},
        (f"{OFFICE} may log in no more",),
    ),
    "at the tunnels alone": (
        {"admin": OFFICE}, {"admin": OFFICE, "ssh": SSH.replace("on ! wg", "on wg")},
        (f"{OFFICE} may log in no more",),
    ),
    "for what is announced alone": (
        {"admin": OFFICE}, {"admin": OFFICE, "ssh": f"{SSH} tagged mesh_here"},
        (f"{OFFICE} may log in no more",),
    ),
    "a range of ports": (
        {"admin": OFFICE}, {"admin": OFFICE, "ssh": SSH.replace("port = 22", "port 20:30")}, (),
    ),
    "ports between two others": (
        {"admin": OFFICE}, {"admin": OFFICE, "ssh": SSH.replace("port = 22", "port 22 >< 30")},
        (f"{OFFICE} may log in no more",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NARROWED)
def test_what_a_change_of_pf_takes_away_is_told(case: str) -> None:
    before, after, expected = NARROWED[case]
    old, new = access_of(rules(**before)), access_of(rules(**after))
    assert tuple(lost(old, new, [], [])) == expected


def test_the_ways_in_that_are_planned_are_found_in_what_is_rendered(machine: OpenBsd) -> None:
    values = prod()
    values["nodes"]["mia-vultr-1"] |= {"os": "openbsd"}
    plan = plan_of(values)
    files = node_files(plan, placeholder_facts(plan))["mia-vultr-1"].files
    (text,) = (file.content for file in files if file.path == PF)
    host = machine.quick_host()
    host.write("/tmp/pf.conf", text.encode(), 0o600)
    found = pf.parsed(host, "/tmp/pf.conf")
    assert found.named([22]) == set(plan.access.admin)
    assert all(found.admits(network[0], 22) for network in plan.access.admin)
    assert not any(found.admits(ip_address(one), 22) for one in ("192.0.2.1", "192.30.120.1"))


# --- who has logged in -------------------------------------------------------------------------

ACCEPTED = f"Accepted publickey for root from 198.51.100.250 port 40222 ssh2: ED25519 {KEY}"


def logged(message: str, program: str = "sshd-session[4711]") -> str:
    when = time.strftime("%b %d %H:%M:%S").replace(" 0", "  ", 1)
    return f"{when} openbsd {program}: {message}\n"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    one = Host(tmp_path)
    one.write(authlog.PATH, b"", 0o640)
    return one


def write(host: Host, text: str) -> None:
    with host.path(authlog.PATH).open("a") as file:
        file.write(text)


def test_a_log_in_is_what_sshd_accepts(host: Host) -> None:
    log = AuthLog(host)
    write(host, logged(ACCEPTED))
    begin = log.now()
    write(host, logged(ACCEPTED.replace("root", "carol"), "sshd[3]"))
    write(host, logged(ACCEPTED.replace("198.51.100.250", "fe80::1%vio0")))
    write(host, logged(ACCEPTED, "su[3]") + logged(f"Failed password for {ACCEPTED}"))
    found, end = log.after(begin)
    assert [(one.user, str(one.source), one.key) for one in found] == [
        ("carol", "198.51.100.250", KEY),
        ("root", "fe80::1", KEY),
    ]
    assert all(abs(one.when - time.time()) < 60 for one in found)
    assert log.after(end) == ([], end)


def test_a_line_is_read_once_it_is_whole(host: Host) -> None:
    log = AuthLog(host)
    begin, line = log.now(), logged(ACCEPTED)
    write(host, line[:60])
    found, middle = log.after(begin)
    assert found == []
    write(host, line[60:])
    assert len(log.after(middle)[0]) == 1


def test_another_file_is_read_from_its_start(host: Host) -> None:
    """newsyslog(8) renames the old one, and makes another."""
    log = AuthLog(host)
    write(host, logged(ACCEPTED))
    place = log.now()
    host.path(authlog.PATH).rename(host.path(f"{authlog.PATH}.0"))
    write(host, logged("syslogd: logfile turned over") + logged(ACCEPTED))
    assert len(log.after(place)[0]) == 1


def test_of_a_long_log_the_end_is_read(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuthLog(host)
    monkeypatch.setattr(authlog, "MOST", 300)
    begin = log.now()
    write(host, 99 * logged("Failed password for root") + logged(ACCEPTED))
    found, end = log.after(begin)
    assert len(found) == 1
    assert log.after(end) == ([], end)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2026-05-19T10:00:00.000Z", 1_779_184_800),
        ("2026-05-19T12:00:00+02:00", 1_779_184_800),
    ],
)
def test_times_in_full_are_read_as_well(host: Host, when: str, expected: int) -> None:
    write(host, f"{when} openbsd sshd[3]: {ACCEPTED}\n")
    ((one,), _) = AuthLog(host).after(None)
    assert one == Login("root", ip_address("198.51.100.250"), 40222, KEY, expected)


def test_a_log_that_is_not_there_confirms_nothing(host: Host) -> None:
    host.path(authlog.PATH).unlink()
    with pytest.raises(CommandFailed, match=r"auth\.info"):
        AuthLog(host).now()


# --- a change that nobody confirms ---------------------------------------------------------------

PF = "/etc/pf.conf"
TEXT = """\
table <mesh_admin> {{ {admin} }}
block drop all
pass in quick proto tcp from <mesh_admin> to any port 22
"""
WIDE, NARROW = TEXT.format(admin=f"{HOME}, {OFFICE}"), TEXT.format(admin=HOME)


def part(text: str) -> Part:
    return Part("lax-vultr-1", (PublicFile(PF, text, 0o600, "wheel"),), (), ())


def applied(generation: int, text: str) -> Applied:
    return Applied(generation, f"{generation:064x}", dump(part(text)).decode())


@dataclass
class Node:
    """A node with a firewall that lets the home and the office in."""

    machine: OpenBsd
    host: QuickHost
    applier: Applier

    @property
    def in_force(self) -> int:
        return parse(Applied, self.host.read(APPLIED) or b"").generation

    @property
    def admins(self) -> list[str]:
        return self.machine.table("mesh_admin")

    def change(self, text: str = NARROW) -> None:
        new = applied(2, text)
        assert self.applier.apply(part(text), {}, part(WIDE), new) == [PF]

    def waiting(self) -> Unconfirmed:
        found = self.applier.unconfirmed
        assert found is not None
        return found

    def log_in(self, source: str, port: int = 40000) -> None:
        message = f"Accepted publickey for root from {source} port {port} ssh2: ED25519 {KEY}"
        write(self.host, logged(message))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBsd]:
    one = OpenBsd(tmp_path_factory.mktemp("openbsd"))
    yield one
    one.halt()


@pytest.fixture
def node(machine: OpenBsd, tmp_path: Path) -> Iterator[Node]:
    host = machine.quick_host()
    with control(tmp_path, {"show protocols": "0000 \n"}) as bird:
        system = openbsd.system(host, bird)
        one = Node(machine, host, Applier(system, lambda: True, settle=0.0))
        one.applier.recover()
        host.write(PF, b"", 0o600, host.group("wheel"))
        assert one.applier.apply(part(WIDE), {}, None, applied(1, WIDE)) == [PF]
        host.write(APPLIED, applied(1, WIDE).encoded(), 0o600)
        yield one
        host.remove(f"{file_paths.STATE}/unconfirmed.json")
        host.path(f"{file_paths.STATE}/journal.json").unlink(missing_ok=True)


def test_who_logs_in_anew_by_what_is_left_confirms_it(node: Node) -> None:
    node.change()
    waiting = node.waiting()
    assert waiting.lost == (f"{OFFICE} may log in no more",)
    assert waiting.networks == (HOME,)
    assert node.admins == ["198.51.100.250"]
    assert node.applier.settle(), "it waits"
    node.log_in("192.0.2.7")
    node.log_in("203.0.113.10")
    assert node.applier.settle(), "these are shut out, and the node itself"
    node.log_in("198.51.100.250")
    assert node.applier.settle(), "anybody on the node can write that, and nobody is connected"
    with node.machine.changing() as kernel:
        kernel.connections = [["203.0.113.10.22", "198.51.100.250.40000", "ESTABLISHED"]]
    assert not node.applier.settle()
    assert (node.in_force, node.admins) == (2, ["198.51.100.250"])


def test_who_was_there_before_confirms_nothing(node: Node) -> None:
    with node.machine.changing() as kernel:
        kernel.connections = [["203.0.113.10.22", "198.51.100.250.40000", "ESTABLISHED"]]
    node.change()
    assert node.waiting().connections == (("198.51.100.250", 40000),)
    node.log_in("198.51.100.250")
    assert node.applier.settle()


def test_what_nobody_confirms_in_time_is_undone(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.change()
    later = time.monotonic_ns() + int((PATIENCE + 1) * 10**9)
    monkeypatch.setattr(time, "monotonic_ns", lambda: later)
    assert not node.applier.settle()
    assert (node.in_force, len(node.admins)) == (1, 2)
    assert node.applier.undone is not None
    assert "nobody has logged in anew" in node.applier.undone.reason


def test_a_machine_that_starts_anew_undoes_it(node: Node) -> None:
    """/var/run is empty then; pf has the rules that nobody has confirmed until the agent runs."""
    node.change()
    node.host.remove("/run/anycast-mesh/boot")
    assert node.applier.recover()
    assert (node.in_force, len(node.admins)) == (1, 2)
    assert node.applier.undone is not None
    assert "the machine started anew" in node.applier.undone.reason


def test_a_log_that_cannot_be_read_undoes_it_at_once(node: Node) -> None:
    node.host.path(authlog.PATH).rename(node.host.path("/var/log/elsewhere"))
    try:
        with pytest.raises(NotApplied, match="authlog"):
            node.change()
    finally:
        node.host.path("/var/log/elsewhere").rename(node.host.path(authlog.PATH))
    assert (node.in_force, len(node.admins)) == (1, 2)


def test_without_the_agent_a_process_undoes_it(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    done = node.host.path("/var/undone")
    node.host.write(file_paths.BUNDLE, f"open({str(done)!r}, 'w')".encode(), 0o644)
    monkeypatch.setattr("mesh.agent.openbsd.undo.PYTHON", "python3")
    place = str(node.host.path(file_paths.BUNDLE))
    monkeypatch.setattr(file_paths, "BUNDLE", place)
    Sleeper(node.host).arm(0.2)
    until(done.exists, 20, "the bundle's own command is run")


def test_each_boot_has_a_name_of_its_own(tmp_path: Path) -> None:
    one = Sleeper(Host(tmp_path, run_folder="/var/run"))
    first = one.boot()
    assert one.boot() == first
    (tmp_path / "var/run/anycast-mesh/boot").unlink()
    assert one.boot() != first


def test_networks_are_those_of_the_rules_that_let_sshd_in() -> None:
    assert rules().named([22]) == {ip_network(HOME), ip_network(OFFICE)}
