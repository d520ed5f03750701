"""The supervisor of an OpenBSD node's agent: what systemd does elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.agent.bundle_trial import Trial
from mesh.agent.host import Host
from mesh.agent.openbsd.trial_files import SupervisedTrial
from mesh.render.openbsd_boot import boot_files
from tests.kit.openbsd_host import OpenBsdHost
from tests.kit.wait import until

pytestmark = pytest.mark.root

HOME = "var/lib/anycast-mesh"
OLD, NEW = "0a" * 32, "0b" * 32
WORKS = "while :; do echo works >/var/run/anycast-mesh/beat; sleep 1; done"
STARTS = "echo started >/var/run/anycast-mesh/beat; while :; do /usr/bin/sleep 1000; done"


def _bundle(name: str, agent: str) -> str:
    """A bundle whose agent does that."""
    return (
        "case $1 in\n"
        f"agent) echo '{name} runs'; {agent} ;;\n"
        "withdraw) echo withdrawn >>/state/withdrawn; echo 'it is withdrawn' ;;\n"
        "esac\n"
    )


@pytest.fixture
def host(tmp_path: Path) -> OpenBsdHost:
    """A node that was bootstrapped, with a bundle whose agent works."""
    made = OpenBsdHost(tmp_path / "host")
    for file in boot_files():
        made.write(file.path, file.content, file.mode)
    made.write("usr/local/bin/python3", (made.root / "standin/python3").read_text(), 0o755)
    made.write(f"{HOME}/state/.keep", "")
    _install(made, OLD, _bundle("the old one", WORKS))
    made.write("etc/rc.d/anycast_mesh_whoami", "[ $1 = check ] || echo $1 >>/state/whoami\n", 0o755)
    made.write("etc/pkg_scripts", "anycast_mesh_agent\n")
    return made


def _install(host: OpenBsdHost, digest: str, content: str) -> None:
    """Lays a bundle down, and makes it the one that is started."""
    host.write(f"{HOME}/bundles/{digest}.pyz", content)
    link = host.root / HOME / "bundle.pyz"
    link.unlink(missing_ok=True)
    link.symlink_to(f"bundles/{digest}.pyz")


def _try(host: OpenBsdHost, content: str) -> None:
    """Begins the trial of a new bundle, as the agent does."""
    SupervisedTrial(_agents(host)).begin(Trial(NEW, OLD, "0c" * 32, (), 0))
    _install(host, NEW, content)


def _agents(host: OpenBsdHost) -> Host:
    """The host, as its agent sees it."""
    return Host(root=host.root, run_folder="/var/run")


@pytest.fixture
def unhurried(host: OpenBsdHost) -> None:
    """The time until the node withdraws is as long as it is."""
    host.write("state/unhurried", "")


def _withdrawn(host: OpenBsdHost) -> bool:
    return bool(host.read("state/withdrawn"))


def _withdrawing(host: OpenBsdHost) -> bool:
    """Whether a process of the host waits to withdraw it."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"withdraw" in words and (process / "root").samefile(host.root):
                return True
        except OSError:
            continue  # It has ended.
    return False


@pytest.mark.usefixtures("unhurried")
def test_an_agent_that_crashes_is_started_again(host: OpenBsdHost) -> None:
    crash = f"[ -e /state/crashed ] || {{ : >/state/crashed; exit 3; }}; {WORKS}"
    _install(host, OLD, _bundle("the old one", crash))
    with host.boot():
        host.says("the agent has ended with code 3")
        until(lambda: host.log().count("the old one runs") == 2, 5, "a second start")
        until(lambda: not host.read("var/run/anycast-mesh/withdrawal.pid"), 5, "no withdrawal")
    assert not _withdrawn(host)


@pytest.mark.usefixtures("unhurried")
def test_an_agent_that_hangs_is_killed(host: OpenBsdHost) -> None:
    hang = f"[ -e /state/hung ] && {WORKS}; : >/state/hung; {STARTS}"
    _install(host, OLD, _bundle("the old one", hang))
    with host.boot():
        host.says("the agent has said nothing for 30 s: it is killed")
        until(lambda: host.log().count("the old one runs") == 2, 5, "a second start")
    assert not _withdrawn(host)


@pytest.mark.parametrize(
    "agent",
    ["exit 1", f"[ -e /state/1 ] || {{ : >/state/1; exit 1; }}; {STARTS}"],
    ids=["always crashes", "has only started since"],
)
def test_a_node_without_an_agent_that_works_withdraws(host: OpenBsdHost, agent: str) -> None:
    _install(host, OLD, _bundle("the old one", agent))
    with host.boot():
        host.says("no agent has worked for 30 s: this node withdraws")
        host.says("it is withdrawn")


def test_a_node_withdraws_after_its_agent_was_stopped(host: OpenBsdHost) -> None:
    with host.boot("(until [ -e /state/stop ]; do sleep 1; done; rcctl stop anycast_mesh_agent) &"):
        host.says("the old one runs")
        host.write("state/stop", "")
        host.says("it is withdrawn")
    assert host.log().count("the old one runs") == 1


@pytest.mark.usefixtures("unhurried")
def test_a_node_whose_agent_is_restarted_does_not_withdraw(host: OpenBsdHost) -> None:
    again = "rcctl stop anycast_mesh_agent; rcctl start anycast_mesh_agent"
    with host.boot(f"(until [ -e /state/again ]; do sleep 1; done; {again}) &"):
        host.says("the old one runs")
        host.write("state/again", "")
        until(lambda: host.log().count("the old one runs") == 2, 5, "a second start")
        until(lambda: not _withdrawing(host), 5, "the end of the withdrawal")
    assert not _withdrawn(host)


def test_a_withdrawal_leaves_no_process_number(host: OpenBsdHost) -> None:
    _install(host, OLD, _bundle("the old one", STARTS))
    with host.boot("(until [ -e /state/stop ]; do sleep 1; done; rcctl stop anycast_mesh_agent) &"):
        host.says("the old one runs")
        host.write("state/stop", "")
        host.says("it is withdrawn")
        pid = host.root / "var/run/anycast-mesh/withdrawal.pid"
        until(lambda: not pid.exists(), 5, "nobody to be taken for the withdrawal")


def test_a_bundle_that_works_is_kept(host: OpenBsdHost) -> None:
    _try(host, _bundle("the new one", f"rm /{HOME}/state/bundle-trial; {WORKS}"))
    with host.boot():
        host.says("the new one runs")
        until(lambda: not host.read(f"{HOME}/state/bundle-trial"), 5, "the end of the trial")
    assert not host.read(f"{HOME}/state/bundle-gone-back")


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        ("exit 7", "its agent ended 3 times"),
        (STARTS, "has not shown within 15 s that it works"),
        ("while :; do /usr/bin/sleep 1000; done", "has not shown within 15 s that it works"),
    ],
    ids=["crashes", "only starts", "says nothing"],
)
def test_a_bundle_that_does_not_work_is_refused(host: OpenBsdHost, agent: str, reason: str) -> None:
    _try(host, _bundle("the new one", agent))
    with host.boot():
        host.says("the old one runs")
        until(lambda: not host.read("var/run/anycast-mesh/withdrawal.pid"), 5, "no withdrawal")
    assert not _withdrawn(host)
    assert not host.read(f"{HOME}/state/bundle-trial")
    assert host.read("state/whoami") == "restart\n"
    assert SupervisedTrial(_agents(host)).went_back() == (NEW, reason)


def test_a_trial_goes_on_after_a_power_cut(host: OpenBsdHost) -> None:
    _try(host, _bundle("the new one", STARTS))
    with host.boot():
        host.says("the new one runs")
    with host.boot():
        host.says("the old one runs")
