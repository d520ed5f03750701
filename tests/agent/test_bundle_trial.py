"""The trial of a bundle: a node returns to the one before unless the new one works."""

from __future__ import annotations

import io
import json
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mesh.agent import bundle, bundle_trial, bundle_update, file_paths
from mesh.agent.bundle_trial import (
    AGENT,
    ENDS,
    PATIENCE,
    BundleTrials,
    TrialUnit,
    point_to,
    running,
    settle,
)
from mesh.agent.bundle_update import BundleUpdate
from mesh.agent.host import CommandFailed, Host, Result
from mesh.agent.seed import Seed
from mesh.trust import keys
from mesh.trust.encoding import sha256
from tests.kit.agent_systems import of_debian
from tests.kit.existing_host import ExistingHost, host
from tests.kit.stacks import ROOT
from tests.kit.wait import until

NEW, OLD, MANIFEST = "1" * 64, "2" * 64, "3" * 64
UNIT = "/etc/systemd/system/anycast-mesh-bundle-trial.service"
GLASS = "anycast-mesh-glass.service"


@dataclass(frozen=True)
class Machine(Host):
    """``state`` has how often systemd has restarted the agent, and which command fails."""

    state: dict[str, str] = field(default_factory=lambda: {"restarts": "4", "fails": ""})
    ran: list[str] = field(default_factory=list)

    def run(self, *command: str, given: str | None = None, timeout: float = 30.0) -> Result:
        line = " ".join(command)
        self.ran.append(line)
        if self.state["fails"] and self.state["fails"] in line:
            return Result(1, "", "told to fail")
        answer = {"show": self.state["restarts"], "-q": "ImportError: no such module"}
        return Result(0, answer.get(command[1], ""), "")

    def must(self, *command: str, given: str | None = None, timeout: float = 30.0) -> str:
        result = self.run(*command)
        if result.code != 0:
            raise CommandFailed(result.why())
        return result.out


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A node whose new bundle is in place, on trial."""
    one = Machine(tmp_path)
    one.path(file_paths.BUNDLES).mkdir(parents=True)
    trials(one).begin(NEW, OLD, MANIFEST, frozenset({GLASS}))
    point_to(one, NEW)
    one.ran.clear()
    return one


def trials(one: Host) -> BundleTrials:
    """Those of a Debian node."""
    return BundleTrials(one, TrialUnit(one))


def clock(*moments: float) -> Callable[[], float]:
    """Says these moments, and the last one from then on."""
    left = list(moments)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_trial, "LOOK", 0.01)
    monkeypatch.setattr(bundle_update, "LOOK", 0.01)
    monkeypatch.setattr(bundle_update, "HELD", 0.1)


def test_a_trial_is_on_the_disk_and_runs_the_bundle_before(machine: Machine) -> None:
    trial = trials(machine).current
    assert trial is not None and (trial.bundle, trial.before) == (NEW, OLD)
    assert f"bundles/{OLD}.pyz settle-bundle" in machine.path(UNIT).read_text()
    wanted = "/etc/systemd/system/multi-user.target.wants/anycast-mesh-bundle-trial.service"
    assert machine.path(wanted).resolve() == machine.path(UNIT).resolve(), "also after a boot"


@pytest.mark.parametrize(
    ("restarts", "moments", "reason"),
    [
        (4 + 1 + ENDS, (0.0,), "its agent ended 3 times: ImportError: no such module"),
        (5, (0.0, PATIENCE), "has not shown within 15 s that it works"),
        (0, (0.0, PATIENCE), "has not shown within 15 s that it works"),
    ],
    ids=["it ends again and again", "it hangs", "it hangs after a boot"],
)
def test_a_node_returns_to_the_bundle_before(
    machine: Machine, restarts: int, moments: tuple[float, ...], reason: str
) -> None:
    machine.state["restarts"] = str(restarts)
    settle(machine, clock(*moments))
    assert running(machine) == OLD
    assert trials(machine).refused(MANIFEST) == f"bundle 111111111111: {reason}"
    assert trials(machine).refused("4" * 64) == "", "another manifest may try it again"
    assert trials(machine).current is None
    assert not machine.path(UNIT).exists()
    assert [line for line in machine.ran if "show" not in line and "journalctl" not in line] == [
        "systemctl stop anycast-mesh-withdraw.timer",
        f"systemctl kill --signal=KILL {AGENT}",
        f"systemctl --no-block restart {GLASS}",
    ]


def test_a_bundle_that_has_shown_that_it_works_stays(machine: Machine) -> None:
    threading.Timer(0.2, trials(machine).end).start()
    settle(machine, clock(0.0))  # on a busy machine the timer may be late
    assert running(machine) == NEW
    assert trials(machine).refused(MANIFEST) == ""
    until(lambda: not machine.path(UNIT).exists(), 5, "nothing of it is left")


class Running:
    """Units that run, but for those in ``down``."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.restarted: list[str] = []

    def active(self, units: Sequence[str]) -> frozenset[str]:
        return frozenset(units) - self.down

    def restart(self, unit: str) -> None:
        self.restarted.append(unit)


def update(machine: Machine, units: Running) -> BundleUpdate:
    operator = keys.new_operator_key()[1]
    seed = Seed("lax-vultr-1", (), operator, OLD, "", False, 8443)
    return BundleUpdate(of_debian(machine, units=units, bundle_units=(GLASS,)), seed)


def test_the_new_agent_ends_the_trial_once_it_works_and_its_units_run(machine: Machine) -> None:
    units, stop, shown = Running(), threading.Event(), threading.Event()
    one = update(machine, units)
    thread = threading.Thread(target=one.prove, args=(shown.is_set, stop))
    thread.start()
    try:
        assert one.on_trial and units.restarted == [], "nothing is risked before"
        units.down.add(GLASS)
        shown.set()
        until(lambda: units.restarted == [GLASS], 5, "the others follow")
        time.sleep(0.3)  # a time in which nothing may happen
        assert one.on_trial, "one of them does not run"
        units.down.clear()
        until(lambda: not one.on_trial, 5, "the trial is over")
    finally:
        stop.set()
        thread.join()


def test_a_trial_that_was_cut_short_before_the_new_bundle_was_in_place_ends(
    machine: Machine,
) -> None:
    point_to(machine, OLD)
    one = update(machine, Running())
    assert not one.on_trial
    one.prove(lambda: False, threading.Event())
    assert trials(machine).current is None


def test_a_damaged_trial_is_none(machine: Machine) -> None:
    machine.write(f"{file_paths.STATE}/bundle-trial.json", b"{", 0o600)
    settle(machine)
    assert running(machine) == NEW


# --- with systemd --------------------------------------------------------------------------------

CRASHES = "import sys\nif sys.argv[1] != 'check': sys.exit('no such thing')\n"
HANGS = """import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[1] == 'agent': time.sleep(1000)
"""
BEGIN = """import sys
sys.path.insert(0, "/var/lib/anycast-mesh/bundles/{old}.pyz")
from mesh.agent.bundle_trial import BundleTrials, TrialUnit, point_to
from mesh.agent.host import Host
BundleTrials(Host(), TrialUnit(Host())).begin("{new}", "{old}", "{manifest}", frozenset())
point_to(Host(), "{new}")
"""


@pytest.fixture(scope="module")
def box() -> Iterator[ExistingHost]:
    """A host with systemd on which an agent runs, with the bundle of this checkout."""
    with host("trial") as one:
        key, operator = keys.new_operator_key()
        seed = {
            "node": "lax-vultr-1", "registries": [], "operator": operator, "bundle": "0" * 64,
            "token": keys.join_token(key, "lax-vultr-1"), "registry": False,
            "registry_port": 8443,
        }  # fmt: skip
        (one.root / "etc/anycast-mesh").mkdir()
        (one.root / "etc/anycast-mesh/seed.json").write_text(json.dumps(seed))
        (one.root / "var/lib/anycast-mesh/bundles").mkdir(parents=True)
        (one.root / "var/lib/anycast-mesh/state").mkdir()
        point_to(Host(one.root), brought(one, bundle.build()))
        unit = (ROOT / "templates/debian/systemd/agent.service.j2").read_text()
        (one.root / "etc/systemd/system" / AGENT).write_text(unit)
        one.run("systemctl", "daemon-reload")
        one.run("systemctl", "start", AGENT)
        yield one


def brought(box: ExistingHost, content: bytes) -> str:
    """A bundle that was fetched to the host."""
    digest = sha256(content)
    (box.root / "var/lib/anycast-mesh/bundles" / f"{digest}.pyz").write_bytes(content)
    return digest


def with_patience(content: bytes, seconds: int) -> bytes:
    """A bundle that waits so long for the one after it."""
    name = "mesh/agent/bundle_trial.py"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        source = archive.read(name).decode()
    changed, places = re.subn(r"(?m)^PATIENCE = .+$", f"PATIENCE = {seconds}.0", source)
    assert places == 1
    return with_file(content, name, changed)


def with_file(content: bytes, name: str, text: str) -> bytes:
    """A bundle with another content of one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for each in old.namelist():
            new.writestr(each, text if each == name else old.read(each))
    return buffer.getvalue()


def zipped(main: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", main)
    return buffer.getvalue()


@pytest.mark.lab
@pytest.mark.parametrize(
    ("main", "patience", "reason"),
    [
        (CRASHES, 60, "its agent ended 3 times: no such thing"),
        (HANGS, 8, "has not shown within 8 s that it works"),
    ],
    ids=["crashes", "hangs"],
)
def test_a_node_comes_back_from_a_bad_bundle_before_it_would_withdraw(
    box: ExistingHost, main: str, patience: int, reason: str
) -> None:
    """It ends within 3 s, and more on a busy machine: what waits for it there waits longer."""
    old, new = brought(box, with_patience(bundle.build(), patience)), brought(box, zipped(main))
    manifest = sha256(new.encode())
    box.run("python3", "-c", BEGIN.format(old=old, new=new, manifest=manifest))
    assert running(Host(box.root)) == new
    box.run("systemctl", "kill", AGENT)
    until(lambda: running(Host(box.root)) == old, 13, "it goes back")
    until(lambda: box.run("systemctl", "is-active", AGENT).strip() == "active", 10, "it runs")
    assert box.run("journalctl", "-q", "-u", "anycast-mesh-withdraw.service") == ""
    assert reason in trials(Host(box.root)).refused(manifest)
    main_pid = box.run("systemctl", "show", "-P", "MainPID", AGENT).strip()
    assert b"agent" in (box.root / f"proc/{main_pid}/cmdline").read_bytes()
