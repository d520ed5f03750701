"""A change that waits for a log-in, through all that may happen to it: on a machine of files alone,
whose commands answer as they are told here."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from mesh.agent import confirmation, file_paths
from mesh.agent.access import Access
from mesh.agent.apply import JOURNAL, Applier, NotApplied
from mesh.agent.host import CommandFailed, Host, Result
from mesh.agent.state import APPLIED, Applied
from mesh.bird.client import Bird
from mesh.trust.documents import Part, PublicFile
from mesh.trust.encoding import dump, parse
from tests.agent.test_logins import line
from tests.kit.agent_systems import of_debian

FILE = "/etc/ssh/sshd_config.d/00-anycast-mesh.conf"
LOST = ("192.0.2.0/24 may log in no more",)
HOME = "198.51.100.250"


@dataclass(frozen=True)
class Machine(Host):
    """``log`` is what sshd has said since the change, ``peers`` who is connected, ``state`` has the
    id of this start of the machine and which commands fail."""

    log: list[str] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=lambda: {"boot": "one", "fails": ""})
    ran: list[Sequence[str]] = field(default_factory=list)

    def run(self, *command: str, given: str | None = None, timeout: float = 30.0) -> Result:
        self.ran.append(command)
        if command[0] == self.state["fails"]:
            return Result(1, "", "told to fail")
        answers = {
            "cat": self.state["boot"],
            "journalctl": line("x") if "-n" in command and "1" in command else "\n".join(self.log),
            "ss": "\n".join(f"ESTAB 0 0 203.0.113.1:22 {peer}" for peer in self.peers),
            "ip": json.dumps([{"addr_info": [{"local": "203.0.113.1"}]}]),
        }
        return Result(0, answers.get(command[0], ""), "")

    def must(self, *command: str, given: str | None = None, timeout: float = 30.0) -> str:
        result = self.run(*command)
        if result.code != 0:
            raise CommandFailed(f"{command[0]}: {result.why()}")
        return result.out

    def says(self, source: str, port: int = 40000) -> None:
        """sshd lets somebody in."""
        said = f"Accepted publickey for root from {source} port {port} ssh2: ED25519 SHA256:x"
        self.log.append(line(said))

    def file(self) -> str:
        return (self.read(FILE) or b"").decode()

    def left(self) -> list[str]:
        """What of a change that waits is still there."""
        names = ("unconfirmed.json", "unconfirmed-applied.json", "journal.json", "backup")
        found = [name for name in names if self.path(f"{file_paths.STATE}/{name}").exists()]
        units = self.path("/etc/systemd/system")
        return found + [path.name for path in units.rglob("*undo*")]


class Quiet:
    """Units that always run."""

    def active(self, units: Sequence[str]) -> frozenset[str]:
        return frozenset(units)

    def __getattr__(self, _: str) -> Any:
        return lambda *_: None


class Silent(Bird):
    def sessions(self) -> dict[str, str]:
        return {}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    networks = (ip_network(f"{HOME}/32"),)
    monkeypatch.setattr(Access, "permitted", lambda _: (networks, (22,), "root"))
    monkeypatch.setattr(Access, "admits", lambda _, source: any(source in net for net in networks))
    monkeypatch.setattr(Applier, "_validate", lambda *_: LOST)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(Machine, "flush", lambda *_: None)
    host = Machine(tmp_path)
    host.write("/etc/group", b"root:x:0:\n", 0o644)
    host.write(FILE, b"of before", 0o644, os.getgid())
    host.write(APPLIED, dump(applied(1, "of before")), 0o600)
    return host


def applied(generation: int, content: str) -> Applied:
    part = Part("lax-vultr-1", (PublicFile(FILE, content, 0o644, "root"),), (), ())
    return Applied(generation, f"{generation:064x}", dump(part).decode())


def applier(host: Host) -> Applier:
    system = of_debian(host, Silent(Path("/nowhere")), units=Quiet())
    return Applier(system, lambda: True, settle=0.0)


def in_force(host: Host) -> int:
    content = host.read(APPLIED)
    assert content is not None
    return parse(Applied, content).generation


def change(host: Machine, generation: int = 2, content: str = "of the change") -> Applier:
    """The change is made, and waits."""
    one = applier(host)
    new = applied(generation, content)
    assert one.apply(new.parsed(), {}, applied(1, "of before").parsed(), new) == [FILE]
    assert host.file() == content
    return one


def ends(host: Machine) -> None:
    """Two minutes pass."""
    path = host.path(f"{file_paths.STATE}/unconfirmed.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"until": 1}))


def is_undone(host: Machine, one: Applier, reason: str) -> None:
    assert host.file() == "of before"
    assert in_force(host) == 1
    assert host.left() == []
    assert one.undone is not None
    assert (one.undone.generation, one.undone.manifest) == (2, f"{2:064x}")
    assert reason in one.undone.reason


def test_a_new_log_in_keeps_it(machine: Machine) -> None:
    one = change(machine)
    assert one.settle()
    assert in_force(machine) == 1
    machine.says(HOME)
    assert not one.settle()
    assert (machine.file(), in_force(machine), machine.left()) == ("of the change", 2, [])
    assert one.undone is None
    # The last thing is that no timer waits for it.
    assert machine.ran[-1] == ("systemctl", "stop", "anycast-mesh-undo-*.timer")


@pytest.mark.parametrize(
    ("source", "port", "peers"),
    [
        (HOME, 40000, [f"{HOME}:40000"]),
        (HOME, 40000, [f"[::ffff:{HOME}]:40000"]),
        ("192.0.2.7", 40000, []),
        ("127.0.0.1", 40000, []),
        ("203.0.113.1", 40000, []),
        ("10.10.10.2", 40000, []),
    ],
    ids=["before", "before, by IPv6", "shut out", "the node", "its own address", "a peer"],
)
def test_who_has_not_come_anew_by_what_is_left_confirms_nothing(
    machine: Machine, source: str, port: int, peers: list[str]
) -> None:
    machine.peers.extend(peers)
    one = change(machine)
    machine.says(source, port)
    assert one.settle()
    ends(machine)
    assert not one.settle()
    is_undone(machine, one, "nobody has logged in anew within 120 s (192.0.2.0/24 may log")


def test_somebody_who_comes_at_the_last_moment_is_in_time(machine: Machine) -> None:
    one = change(machine)
    ends(machine)
    machine.says(HOME)
    assert not one.settle()
    assert in_force(machine) == 2


def test_it_goes_on_waiting_for_an_agent_that_starts_anew(machine: Machine) -> None:
    change(machine)
    later = applier(machine)
    assert not later.recover()
    assert machine.file() == "of the change"
    assert later.settle()
    ends(machine)
    assert applier(machine).recover()
    is_undone(machine, later, "nobody has logged in anew")


def test_a_machine_that_starts_anew_has_the_files_of_before(machine: Machine) -> None:
    change(machine)
    machine.state["boot"] = "two"
    later = applier(machine)
    later.put_files_back()
    assert machine.file() == "of before"
    # As often as the machine starts until an agent does.
    applier(machine).put_files_back()
    assert later.recover()
    is_undone(machine, later, "the machine started anew before anybody had logged in")
    later.put_files_back()


def test_without_a_timer_nothing_is_changed(machine: Machine) -> None:
    machine.state["fails"] = "systemd-run"
    with pytest.raises(NotApplied, match="systemd-run"):
        change(machine)
    assert (machine.file(), in_force(machine), machine.left()) == ("of before", 1, [])


def test_where_nobody_could_be_seen_to_log_in_it_is_undone_at_once(machine: Machine) -> None:
    machine.state["fails"] = "journalctl"
    with pytest.raises(NotApplied, match="journalctl"):
        change(machine)
    assert (machine.file(), in_force(machine), machine.left()) == ("of before", 1, [])


def test_a_later_generation_ends_the_wait(machine: Machine) -> None:
    one = change(machine)
    new = applied(3, "of the third")
    assert one.apply(new.parsed(), {}, applied(1, "of before").parsed(), new) == [FILE]
    assert machine.file() == "of the third"
    waiting = one.unconfirmed
    assert waiting is not None
    assert waiting.generation == 3
    ends(machine)
    assert not one.settle()
    assert machine.file() == "of before"


CUTS = ("remove", "write", "run")

ORIGINAL = {name: getattr(Machine, name) for name in CUTS}


@pytest.mark.parametrize("at", range(40))
@pytest.mark.parametrize("confirmed", [True, False])
def test_whenever_it_is_cut_short_it_ends_whole(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, at: int, confirmed: bool
) -> None:
    """A power cut at any step of it: what is in force is what is remembered, and nothing stays."""
    steps = 0

    class PowerCut(BaseException):
        pass

    def cut(name: str) -> None:
        original = ORIGINAL[name]

        def step(*given: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == at + 1:
                raise PowerCut
            return original(*given, **named)

        monkeypatch.setattr(Machine, name, step)

    for name in CUTS:
        cut(name)
    try:
        one = change(machine)
        if confirmed:
            machine.says(HOME)
        else:
            ends(machine)
        one.settle()
    except PowerCut:
        pass
    for name in CUTS:
        monkeypatch.setattr(Machine, name, ORIGINAL[name])
    machine.state["boot"] = "two"
    applier(machine).put_files_back()
    applier(machine).recover()
    assert (machine.file(), in_force(machine)) in (("of before", 1), ("of the change", 2))
    # Copies that nothing speaks of are written over by the next change.
    assert set(machine.left()) <= {"backup"}
    assert at < 39 or steps <= at, "there are more steps than are tried"
    if steps <= at:
        assert in_force(machine) == (2 if confirmed else 1)


def test_a_state_that_nobody_can_read_is_undone(machine: Machine) -> None:
    one = change(machine)
    machine.path(f"{file_paths.STATE}/unconfirmed.json").write_text("{")
    assert machine.read(JOURNAL) is not None
    assert not one.settle()
    assert (machine.file(), in_force(machine), machine.left()) == ("of before", 1, [])
    assert confirmation.PATIENCE == 120


def test_what_an_older_agent_has_left_of_a_change_does_not_come_back(machine: Machine) -> None:
    """It undoes by the journal, and knows nothing of what waits."""
    change(machine, 2)
    machine.path(JOURNAL).unlink()
    shutil.rmtree(machine.path(f"{file_paths.STATE}/backup"))
    machine.write(APPLIED, dump(applied(3, "of a later one")), 0o600)
    applier(machine).recover()
    assert in_force(machine) == 3
    assert machine.left() == []
