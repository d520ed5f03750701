"""What `mesh lab up` makes before the engine runs, and what it does with a killed engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from mesh.cli.engine import abandoned
from mesh.cli.environment import checkout, environment
from mesh.cli.working_copy import prepare, write_project
from mesh.spec.engine import nearest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the committed stack files."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("Pulumi.yaml", "Pulumi.prod.yaml", "Pulumi.lab.yaml"):
        shutil.copy(checkout() / name, folder / name)
    shutil.copytree(checkout() / "examples", folder / "examples")
    return folder


@pytest.mark.engine
def test_secrets_are_made_once_for_their_owner_only_and_never_committed(root: Path) -> None:
    state = root / ".mesh"
    committed = (root / "Pulumi.lab.yaml").read_bytes()
    env = environment(checkout(), state)
    working = prepare(root, state, env)
    first = working.read_bytes()

    assert prepare(root, state, env).read_bytes() == first
    assert (root / "Pulumi.lab.yaml").read_bytes() == committed
    config = yaml.safe_load(first)["config"]
    assert set(config["mesh:bgpPassword-vultr"]) == {"secure"}
    assert len(set(config["mesh:admin"]["keys"])) == 2
    for name in ("passphrase", "ssh/lab-1", "ssh/lab-2"):
        assert stat.S_IMODE((state / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


@pytest.mark.engine
def test_a_change_of_the_committed_file_reaches_the_working_copy_and_secrets_stay(
    root: Path,
) -> None:
    state = root / ".mesh"
    env = environment(checkout(), state)
    before = yaml.safe_load(prepare(root, state, env).read_text())
    file = root / "Pulumi.lab.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"]["mesh:whoami"] = True
    file.write_text(yaml.safe_dump(document))
    after = yaml.safe_load(prepare(root, state, env).read_text())
    assert after["config"].pop("mesh:whoami") is True
    assert after == before


@pytest.mark.engine
def test_another_original_is_one_word_in_the_stack_file_and_back_again(root: Path) -> None:
    state = root / ".mesh"
    env = environment(checkout(), state)

    def passwords() -> dict[str, object]:
        config = yaml.safe_load(prepare(root, state, env).read_text())["config"]
        return {key: value for key, value in config.items() if "bgpPassword-" in key}

    before = passwords()
    file = root / "Pulumi.lab.yaml"
    committed = file.read_text()
    file.write_text(committed.replace("mesh:twin: prod", "mesh:twin: mixed"))
    mixed = passwords()
    assert set(mixed) == {f"mesh:bgpPassword-{name}" for name in ("vultr", "gcp", "buyvm")}
    assert before.items() < mixed.items(), "what is deployed keeps its password"
    file.write_text(committed)
    assert passwords() == before, "a password that no provider asks for would be refused"


@pytest.mark.engine
def test_alerts_of_the_lab_stay_in_the_lab(root: Path) -> None:
    """Whatever the receiver's secret is elsewhere, the working copy's is an address of the lab."""
    state = root / ".mesh"
    env = environment(checkout(), state)
    file = root / "Pulumi.lab.yaml"
    document = yaml.safe_load(file.read_text())
    receivers = {"box": {"kind": "webhook"}, "pager": {"kind": "pagerduty"}}
    document["config"]["mesh:monitoring"] = {"nodes": ["mia-vultr-1"], "receivers": receivers}
    file.write_text(yaml.safe_dump(document))
    prepare(root, state, env)

    def secret(name: str) -> str:
        words = ("config", "get", "--stack", "lab", f"mesh:alertReceiver-{name}")
        done = subprocess.run(
            ["pulumi", "--non-interactive", "-C", str(state), *words],
            env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    assert secret("box") == "http://198.51.100.250:9099/box"
    assert re.fullmatch(r"[0-9a-f]{32}", secret("pager"))
    assert "198.51.100.250:9099" not in (state / "Pulumi.lab.yaml").read_text()


@pytest.mark.engine
def test_the_private_keys_are_ones_that_ssh_reads(root: Path) -> None:
    state = root / ".mesh"
    prepare(root, state, environment(checkout(), state))
    public = (state / "ssh" / "lab-1.pub").read_text().split()
    private = (state / "ssh" / "lab-1").read_text()
    assert private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert public[0] == "ssh-ed25519"


def test_the_working_copy_is_the_same_project_with_its_own_stack_file(root: Path) -> None:
    file = root / "Pulumi.yaml"
    config = "config: {mesh:asn: 27218, 'mesh:regions.lax.name': {value: no}}"
    file.write_text(f"{file.read_text()}{config}\nstackConfigDir: x\nbackend: {{url: s3://x}}\n")
    working = root / ".mesh" / "Pulumi.yaml"
    working.parent.mkdir()
    write_project(root, working)
    project = nearest(working.parent)
    assert project is not None
    assert project.file("lab") == working.parent / "Pulumi.lab.yaml"
    written = yaml.safe_load(working.read_text())
    assert written["main"] == str(root)
    assert written["runtime"]["options"] == {"virtualenv": str(root / ".venv")}
    assert written["name"] == project.name == "anycast-mesh"
    assert {key: each.value for key, each in project.config.items()} == {
        "mesh:asn": 27218, "mesh:regions.lax.name": "no",
    }  # fmt: skip
    assert "backend" not in written


def write_lock(backend: Path, process: int) -> None:
    """A lock as the file backend writes it."""
    folder = backend / ".pulumi" / "locks" / "organization" / "anycast-mesh" / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{process}.json").write_text(json.dumps({"pid": process, "username": "root"}))


def ended_process() -> int:
    """The id of a process that is gone."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@contextmanager
def running_engine(folder: Path) -> Iterator[int]:
    """The id of a process that goes by the engine's name."""
    program = folder / "pulumi"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        yield process.pid
        process.kill()


def test_only_a_stack_whose_lockers_are_all_gone_counts_as_abandoned(tmp_path: Path) -> None:
    assert not abandoned(tmp_path)
    write_lock(tmp_path, ended_process())
    assert abandoned(tmp_path)
    with running_engine(tmp_path) as process:
        write_lock(tmp_path, process)
        assert not abandoned(tmp_path)


def test_a_stranger_with_the_id_of_a_locker_holds_nothing(tmp_path: Path) -> None:
    """After a restart of the machine ids are given again."""
    write_lock(tmp_path, os.getpid())
    assert abandoned(tmp_path)


def test_a_locker_that_nobody_reaps_is_gone(tmp_path: Path) -> None:
    with running_engine(tmp_path) as process:
        write_lock(tmp_path, process)
        os.kill(process, signal.SIGKILL)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        assert abandoned(tmp_path)


def test_a_lock_that_cannot_be_read_is_respected(tmp_path: Path) -> None:
    write_lock(tmp_path, ended_process())
    next((tmp_path / ".pulumi" / "locks").rglob("*.json")).write_text("{")
    assert not abandoned(tmp_path)
