"""Units of an OpenBSD node, by rcctl and scripts of rc.d; and a bundle on trial, by the files that
its supervisor reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.agent import file_paths
from mesh.agent.bundle_trial import BundleTrials, point_to
from mesh.agent.bundle_update import BundleUpdate
from mesh.agent.host import CommandFailed, Host
from mesh.agent.openbsd.rcctl import Rcctl
from mesh.agent.openbsd.trial_files import TRIAL, WENT_BACK, SupervisedTrial
from mesh.agent.seed import Seed
from mesh.agent.systems import openbsd
from mesh.bird.client import Bird
from tests.kit.openbsd.machine import OpenBsd

SCRIPT = """\
#!/bin/ksh
daemon="/usr/local/bin/{name}"
daemon_timeout=3
. /etc/rc.d/rc.subr
{more}
rc_cmd $1
"""
RUNS = """\
#!/bin/sh
(exec python3 -c "import time; time.sleep(1000)" --argv0 "$0" x) </dev/null >/dev/null 2>&1 &
"""
ENDS = "#!/bin/sh\necho 'no such interface: wg9' >&2\n"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBsd]:
    one = OpenBsd(tmp_path_factory.mktemp("openbsd"))
    for name, program in (("lasting", RUNS), ("ending", ENDS)):
        one.put(f"/etc/rc.d/mesh_{name}", SCRIPT.format(name=name, more=""), 0o555)
        one.put(f"/usr/local/bin/{name}", program, 0o755)
    yield one
    one.halt()


def test_a_unit_is_started_and_stopped_now_and_at_the_next_boot(machine: OpenBsd) -> None:
    units = Rcctl(machine.host())
    assert units.active(["mesh_lasting", "nowhere"]) == frozenset()
    units.start(["mesh_lasting"])
    assert units.active(["mesh_lasting", "nowhere"]) == {"mesh_lasting"}
    assert "mesh_lasting" in machine.must("rcctl", "ls", "on").split()
    units.restart("mesh_lasting")
    assert units.active(["mesh_lasting"])
    units.stop(["mesh_lasting"])
    assert not units.active(["mesh_lasting"])
    assert "mesh_lasting" not in machine.must("rcctl", "ls", "on").split()


def test_a_daemon_that_ends_at_once_is_not_taken_for_started(machine: OpenBsd) -> None:
    with pytest.raises(
        CommandFailed, match=r"mesh_ending: does not start: no such interface: wg9$"
    ):
        Rcctl(machine.host()).start(["mesh_ending"])


def test_a_unit_that_is_not_there_is_told(machine: OpenBsd) -> None:
    units = Rcctl(machine.host())
    assert not units.has_file("nowhere")
    with pytest.raises(CommandFailed, match="nowhere does not exist"):
        units.start(["nowhere"])


# --- a bundle on trial ---------------------------------------------------------------------------

NEW, OLD, MANIFEST = "1" * 64, "2" * 64, "3" * 64


@pytest.fixture
def host(tmp_path: Path) -> Host:
    one = Host(tmp_path, run_folder="/var/run")
    one.path(file_paths.STATE).mkdir(parents=True)
    return one


def trials(host: Host) -> BundleTrials:
    return BundleTrials(host, SupervisedTrial(host))


def test_the_supervisor_reads_what_is_on_trial(host: Host) -> None:
    trials(host).begin(NEW, OLD, MANIFEST, frozenset())
    assert host.path(TRIAL).read_text() == f"{NEW}\n{OLD}\n"
    trials(host).end()
    assert host.read(TRIAL) is None
    assert trials(host).refused(MANIFEST) == ""


def test_a_bundle_that_the_supervisor_has_left_is_not_tried_again(host: Host) -> None:
    trials(host).begin(NEW, OLD, MANIFEST, frozenset())
    host.write(WENT_BACK, f"{NEW}\nits agent ended 3 times\n".encode(), 0o600)
    host.remove(TRIAL)
    seed = Seed("lax-vultr-1", (), "", OLD, "", False, 8443)
    # The agent of the bundle before, which no trial is of.
    one = BundleUpdate(openbsd.system(host, Bird(Path("/nowhere"))), seed)
    one.prove(lambda: True, threading.Event())
    assert trials(host).refused(MANIFEST) == "bundle 111111111111: its agent ended 3 times"
    assert trials(host).refused("4" * 64) == "", "another manifest may try it again"
    assert trials(host).current is None
    assert host.read(WENT_BACK) is None


def test_a_return_that_was_cut_short_is_not_taken_for_one(host: Host) -> None:
    """The supervisor writes why before it points to the bundle before."""
    trials(host).begin(NEW, OLD, MANIFEST, frozenset())
    host.path(file_paths.BUNDLES).mkdir()
    point_to(host, NEW)
    host.write(WENT_BACK, f"{NEW}\nits agent ended 3 times\n".encode(), 0o600)
    assert trials(host).refused(MANIFEST) == ""
    assert host.read(TRIAL) is not None, "it goes on"


def test_what_was_said_of_another_bundle_is_not_of_this_one(host: Host) -> None:
    host.write(WENT_BACK, f"{OLD}\nits agent ended 3 times\n".encode(), 0o600)
    trials(host).begin(NEW, OLD, MANIFEST, frozenset())
    assert trials(host).refused(MANIFEST) == ""
    assert trials(host).current is not None
