"""A stack of two nodes under the real engine, changed in order as an operator does: looked at,
deployed, a server replaced, a node released and removed. It is a stack of the user's own, in a
folder, home and state of its own; the lab's way is at the end."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import yaml

from mesh.cli.environment import environment
from mesh.lab.world import clear_world
from tests.kit.forks import with_forks
from tests.kit.program import KEYS
from tests.kit.stacks import ROOT, prod
from tests.kit.wait import patience

pytestmark = [pytest.mark.engine, pytest.mark.lab]

# One for each checkout, as the twin's: two checkouts do not collide.
LAB = f"chg-{crc32(str(ROOT).encode()) & 0xFFFF:04x}"
EAST, WEST = "ewr-vultr-1", "lax-vultr-1"
PACK = str(ROOT / "mesh" / "policy")


@dataclass
class Project:
    """A user's folder with a stack ``two``: the twin of a network of these nodes."""

    folder: Path
    environment: Mapping[str, str]

    def write(self, **keys: Any) -> None:
        """The network's stack file: the seed's, of two nodes, with other keys."""
        values = prod() | {
            "nodes": {WEST: {"number": 1}, EAST: {"number": 4}},
            "admin": {"ssh": ["198.51.100.250/32"], "keys": KEYS},
        }
        config = {f"mesh:{key}": value for key, value in (values | keys).items()}
        (self.folder / "Pulumi.net.yaml").write_text(yaml.safe_dump({"config": config}))

    def password(self, value: str) -> None:
        """The account's password, as a secret."""
        self.run("pulumi", "config", "set", "--secret", "mesh:bgpPassword-vultr", value)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on the stack ``two``, as the user does."""
        done = subprocess.run(
            [*command, "--stack", "two"], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, check=False, timeout=patience(300),
        )  # fmt: skip
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
        return done

    def preview(self, *options: str) -> dict[str, Any]:
        """What `mesh preview --json` says; ``code`` is its exit code."""
        done = self.run("mesh", "preview", "--json", *options, check=False)
        assert done.stdout, done.stderr
        return {**json.loads(done.stdout), "code": done.returncode}

    def saved_preview(self, folder: Path, **keys: Any) -> str:
        """The path of what `pulumi preview` prints of the network with other keys; the stack file
        is as before after it."""
        self.write(**keys)
        try:
            done = self.run("pulumi", "preview", "--json", "--show-sames")
        finally:
            self.write()
        saved = folder / "preview.json"
        saved.write_text(done.stdout)
        return str(saved)

    def ids(self) -> dict[str, str]:
        """The instances that stand, by node."""
        return {
            each["inputs"]["node"]: each["id"]
            for each in self.state()
            if each["type"] == "pulumi-python:dynamic/lab:Instance"
        }

    def state(self) -> list[dict[str, Any]]:
        """The resources of the stack's state."""
        document = json.loads(self.run("pulumi", "stack", "export").stdout)
        return document["deployment"].get("resources") or []


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The folder of a user's; whatever happens, nothing of the lab stays."""
    folder, state = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("state")
    (folder / "__main__.py").write_text((ROOT / "__main__.py").read_text())
    document = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    document["runtime"]["options"]["virtualenv"] = str(ROOT / ".venv")
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(document))
    (folder / "Pulumi.two.yaml").write_text("config:\n  mesh:twin: net\n")
    for each in ("pulumi", "state"):
        (state / each).mkdir()
    (state / "passphrase").write_text("of the tests")
    before = os.environ.get("MESH_LAB")
    os.environ["MESH_LAB"] = LAB
    own = Project(folder, with_forks(environment(ROOT, state)))
    clear_world(LAB)
    try:
        own.write()
        own.run("pulumi", "stack", "init")
        own.password("correct-horse-battery")
        yield own
    finally:
        clear_world(LAB)
        os.environ.pop("MESH_LAB")
        if before is not None:
            os.environ["MESH_LAB"] = before


def kinds(document: Mapping[str, Any], fate: str) -> list[str]:
    """The kinds of the sessions with that fate, once for each session."""
    return sorted(e["session"]["kind"] for e in document["sessions"] if e["fate"] == fate)


ALL = ["reflector"] * 2 + ["underlay"] + ["upstream"] * 4


def test_the_first_preview_shows_all_there_will_be_and_the_gate_lets_it_pass(
    project: Project,
) -> None:
    found = project.preview("--gate")
    assert found["code"] == 0
    assert found["generation"] == "first"
    assert [(e["node"], e["fate"]) for e in found["servers"]] == [
        (EAST, "created"),
        (WEST, "created"),
    ]
    assert kinds(found, "added") == ALL
    assert found["notes"] == []


def test_a_node_that_is_not_there_yet_cannot_be_replaced_or_released(project: Project) -> None:
    for command in ("replace", "release"):
        refused = project.run("mesh", command, EAST, check=False)
        assert refused.returncode == 1
        assert f"node = {EAST}: the state of this stack has no such node" in refused.stderr


def test_after_the_deployment_nothing_changes(project: Project) -> None:
    project.run("pulumi", "up", "--yes", "--skip-preview", "--policy-pack", PACK)
    found = project.preview("--gate")
    assert (found["code"], found["counts"]) == (0, {})
    assert found["servers"] == found["sessions"] == found["prefixes"] == []


def test_a_generation_alone_touches_sessions_and_no_server(project: Project) -> None:
    project.write(reflectors=[WEST, EAST])
    try:
        found = project.preview("--gate")
    finally:
        project.write()
    assert (found["code"], found["generation"], found["servers"]) == (0, "next", [])
    assert kinds(found, "changed") == ["reflector"] * 2
    assert kinds(found, "restarted") == []


def test_a_new_password_restarts_the_upstream_sessions_and_is_never_shown(
    project: Project,
) -> None:
    project.password("another-horse-battery")
    try:
        in_turn = project.preview("--gate")
        project.write(waves=False)
        at_once = project.preview("--gate", "--most", "1")
    finally:
        project.write()
        project.password("correct-horse-battery")
    for found in (in_turn, at_once):
        assert kinds(found, "restarted") == ["upstream"] * 4
        assert "mesh:bgpPassword-vultr" in found["because"]
        assert "horse" not in json.dumps(found)
    assert (in_turn["code"], in_turn["refused"]) == (0, [])
    assert at_once["code"] == 3
    assert {each["key"] for each in at_once["refused"]} == {
        "mesh:prefixes.ipv4",
        "mesh:prefixes.ipv6",
    }
    assert all("--restart-sessions" in each["cure"] for each in at_once["refused"])


@pytest.mark.slow
def test_another_asn_is_stopped_until_it_is_asked_for(project: Project, tmp_path: Path) -> None:
    saved = project.saved_preview(tmp_path, asn=13335)
    stopped = project.preview("--from", saved, "--gate")
    assert stopped["code"] == 3
    assert [(e["key"], e["value"]) for e in stopped["refused"]] == [("mesh:asn", "27218 -> 13335")]
    assert project.preview("--from", saved, "--gate", "--restart-sessions")["code"] == 0


def test_protection_that_goes_away_is_said_and_stopped(project: Project) -> None:
    project.run("pulumi", "config", "set", "mesh:protect", "false")
    try:
        found = project.preview("--gate")
    finally:
        project.run("pulumi", "config", "rm", "mesh:protect")
    assert found["code"] == 3
    assert [each["key"] for each in found["refused"]] == ["mesh:protect"]
    assert {(each["what"], each["fate"]) for each in found["protection"]} == {
        ("mesh-operator", "unprotected"),
        (f"mesh-{EAST}-address", "unprotected"),
        (f"mesh-{WEST}-address", "unprotected"),
    }
    assert any("mesh:protect = false" in line for line in found["warnings"])


def test_a_change_that_replaces_a_server_is_stopped_until_it_is_asked_for(
    project: Project, tmp_path: Path
) -> None:
    """The lab's instances follow a cloud's rules: other addresses replace them."""
    nodes = {WEST: {"number": 1}, EAST: {"number": 4, "ipv6": False}}
    saved = project.saved_preview(tmp_path, nodes=nodes)
    stopped = project.preview("--from", saved, "--gate")
    assert stopped["code"] == 3
    assert [each["key"] for each in stopped["refused"]] == [f"mesh-{EAST}-instance"]
    assert "ipv6" in stopped["refused"][0]["reason"]
    asked = project.preview("--from", saved, "--gate", "--replace", EAST)
    assert asked["code"] == 0
    assert kinds(asked, "removed") == ["upstream"]
    assert kinds(asked, "restarted") == ["reflector"] * 2 + ["underlay", "upstream"]
    assert {each["away"][0] for each in asked["prefixes"]} == {EAST}


def test_both_announcers_at_once_are_refused_whatever_is_asked(project: Project) -> None:
    both = ("--replace", EAST, "--replace", WEST)
    found = project.preview("--gate", "--most", "1", *both)
    assert found["code"] == 3
    assert {each["key"] for each in found["refused"]} == {
        "mesh:prefixes.ipv4",
        "mesh:prefixes.ipv6",
    }


def test_replace_asks_before_it_acts(project: Project) -> None:
    before = project.ids()
    done = project.run("mesh", "replace", EAST, check=False)
    assert done.returncode == 1
    assert "replaced" in done.stdout
    assert project.ids() == before


def test_replace_makes_a_new_server_for_that_node_and_no_other(project: Project) -> None:
    before = project.ids()
    done = project.run("mesh", "replace", EAST, "--yes")
    after = project.ids()
    assert f"mesh-{EAST}-instance" in done.stdout
    assert after[WEST] == before[WEST]
    assert after[EAST] != before[EAST]


def test_an_unknown_node_is_told_with_those_there_are(project: Project) -> None:
    for command in ("replace", "release"):
        done = project.run("mesh", command, "mia-vultr-1", check=False)
        assert done.returncode == 1
        assert f"use one of {EAST}, {WEST}" in done.stderr


def test_a_node_leaves_when_it_is_released_and_asked_to_go(project: Project) -> None:
    project.write(nodes={WEST: {"number": 1}})
    held = project.preview("--gate", "--remove", EAST)
    assert held["code"] == 1
    assert any("is protected" in error for error in held["errors"])
    assert any(f"mesh release {EAST}" in note for note in held["notes"])
    released = project.run("mesh", "release", EAST)
    assert f"released mesh-{EAST}-address" in released.stdout
    assert "nothing that is protected" in project.run("mesh", "release", EAST).stdout
    unasked = project.preview("--gate")
    assert unasked["code"] == 3
    assert {each["value"] for each in unasked["refused"]} == {"delete"}
    asked = project.preview("--gate", "--remove", EAST)
    assert asked["code"] == 0
    assert kinds(asked, "removed") == ["reflector"] * 2 + ["underlay"] + ["upstream"] * 2
    project.run("pulumi", "up", "--yes", "--skip-preview")
    assert list(project.ids()) == [WEST]


def test_the_network_ends_by_one_command_that_leaves_the_stack_file_alone(
    project: Project,
) -> None:
    files = [project.folder / f"Pulumi.{name}.yaml" for name in ("two", "net")]
    before, state = [file.read_bytes() for file in files], project.state()
    refused = project.run("mesh", "destroy", check=False)
    assert refused.returncode == 1
    assert f"addresses given back: mesh-{WEST}-address" in refused.stdout
    assert "nothing has changed" in refused.stdout + refused.stderr
    assert project.state() == state
    done = project.run("mesh", "destroy", "--yes")
    assert "1 of 1 withdrawn" in done.stdout
    assert project.state() == []
    assert [file.read_bytes() for file in files] == before
    assert "nothing is deployed" in project.run("mesh", "destroy", "--yes").stdout


def test_a_stack_that_does_not_exist_is_said_in_the_engine_s_words(project: Project) -> None:
    done = subprocess.run(
        ["mesh", "preview", "--stack", "three"], cwd=project.folder, env=project.environment,
        capture_output=True, text=True, check=False, timeout=patience(60),
    )  # fmt: skip
    assert done.returncode == 1
    assert "no stack named 'three' found" in done.stderr


def test_a_stack_file_that_cannot_be_used_is_told_by_its_problems(project: Project) -> None:
    project.write(asn=64512)
    try:
        found = project.preview("--gate")
    finally:
        project.write(nodes={WEST: {"number": 1}})
    assert found["code"] == 1
    assert any("mesh:asn = 64512" in error for error in found["errors"])
