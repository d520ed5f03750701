"""The workflows: their form by actionlint, what they may do, and their commands as they stand."""

from __future__ import annotations

import os
import re
import shutil
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
from setup import cache, versions
from tests.program.recording import KEYS
from tests.stacks import ROOT, prod

ACTIONLINT = "1.7.7"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
READY = ROOT / ".github" / "actions" / "ready" / "action.yml"
LAB = f"ci-{crc32(str(ROOT).encode()) & 0xFFFF:04x}"
NODE = "lax-vultr-1"
BOTH = ("Check the stack file", "What the commits ask for", "Preview", "Gate", "Summary")
RUN = {"preview": (*BOTH, "Policies"), "up": (*BOTH, "Up")}
"""The steps whose commands are run here: all but the comment, which needs GitHub."""
OURS = ("PATH", "HOME", "LANG", "GOPATH", "GOMODCACHE", "GOCACHE", "GOPROXY", "GOFLAGS", "GOSUMDB")


@pytest.fixture(scope="session")
def actionlint() -> Path:
    """The checker, built once from its Go module and kept in the cache."""
    binary = cache.root() / f"actionlint-{ACTIONLINT}" / "actionlint"
    if not binary.exists():
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        if go is None:
            pytest.skip(
                "the workflows are not checked: actionlint is built by Go, which is not here"
            )
        own = {name: os.environ[name] for name in OURS if name in os.environ}
        subprocess.run(
            [go, "install", f"github.com/rhysd/actionlint/cmd/actionlint@v{ACTIONLINT}"],
            env=own | {"GOBIN": str(binary.parent)}, check=True, timeout=300,
        )  # fmt: skip
    return binary


def test_actionlint_finds_nothing(actionlint: Path) -> None:
    done = subprocess.run(
        [actionlint, "-no-color", *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert len(WORKFLOWS) == 2
    assert (done.returncode, done.stdout) == (0, "")


def test_actionlint_would_find_something(actionlint: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text(WORKFLOWS[0].read_text().replace("runs-on:", "run-on:"))
    done = subprocess.run([actionlint, bad], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "runs-on" in done.stdout


def document(path: Path) -> dict[str, Any]:
    """A workflow; its ``on`` is YAML's True."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    """The steps of a workflow's only job, or of our action."""
    found = document(path)
    if path == READY:
        return list(found["runs"]["steps"])
    (job,) = found["jobs"].values()
    return list(job["steps"])


@pytest.mark.parametrize(
    ("name", "permissions", "place"),
    [
        (
            "preview",
            {"contents": "read", "id-token": "write", "pull-requests": "write"},
            "preview",
        ),
        ("up", {"contents": "read", "id-token": "write"}, "production"),
    ],
)
def test_a_job_may_no_more_than_it_needs(
    name: str, permissions: Mapping[str, str], place: str
) -> None:
    found = document(ROOT / ".github" / "workflows" / f"{name}.yml")
    assert found["permissions"] == {}
    (job,) = found["jobs"].values()
    assert job["permissions"] == permissions
    assert job["environment"] == place
    assert job["timeout-minutes"]
    assert found["concurrency"]["cancel-in-progress"] == (name == "preview")


def test_a_stranger_s_fork_is_not_run_with_credentials() -> None:
    (job,) = document(ROOT / ".github" / "workflows" / "preview.yml")["jobs"].values()
    assert job["if"] == "github.event.pull_request.head.repo.full_name == github.repository"


@pytest.mark.parametrize("path", [*WORKFLOWS, READY], ids=lambda path: path.stem)
def test_actions_are_pinned_and_commands_take_nothing_from_the_event(path: Path) -> None:
    for step in steps(path):
        if "uses" in step and not step["uses"].startswith("./"):
            assert re.search(r"@v\d+$|@[0-9a-f]{40}$", step["uses"]), step["uses"]
        assert "${{" not in step.get("run", ""), "an expression in a command is an injection"
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


def test_the_engine_is_the_one_that_the_set_up_pins() -> None:
    (engine,) = [step for step in steps(READY) if "pulumi/actions" in step.get("uses", "")]
    assert engine["with"]["pulumi-version"] == versions.load().pulumi


def test_nothing_is_deployed_that_the_gate_has_not_seen() -> None:
    names = [step.get("name") for step in steps(ROOT / ".github" / "workflows" / "up.yml")]
    assert names.index("Gate") < names.index("Up")
    for path in WORKFLOWS:
        (gate,) = [step for step in steps(path) if step.get("name") == "Gate"]
        assert not gate.keys() & {"if", "continue-on-error"}


def test_every_command_is_run_by_these_tests() -> None:
    for path in WORKFLOWS:
        named = [step["name"] for step in steps(path) if "run" in step]
        assert [name for name in named if name != "Comment"] == list(RUN[path.stem])


@dataclass
class Runner:
    """A checkout with a stack of its own, in which the commands of a workflow are run."""

    folder: Path
    environment: Mapping[str, str]

    def git(self, *words: str) -> str:
        """Run git there."""
        names = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        return subprocess.run(
            ["git", *names, *words], cwd=self.folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    def commit(self, words: str) -> str:
        """An empty commit that says this; the range of it alone."""
        self.git("commit", "--allow-empty", "-qm", words)
        return "HEAD~1..HEAD"

    def step(self, workflow: str, name: str, span: str) -> subprocess.CompletedProcess[str]:
        """Run the command of a step, as GitHub's runner does."""
        (found,) = [
            step
            for step in steps(ROOT / ".github" / "workflows" / f"{workflow}.yml")
            if step.get("name") == name
        ]
        return self.command(found["run"], RANGE=span)

    def command(self, text: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command as GitHub's runner does: ``bash -e``."""
        return subprocess.run(
            ["bash", "-e", "-c", text], cwd=self.folder, env={**self.environment, **more},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A stack of one node in the lab; whatever happens, nothing of it stays."""
    folder, state = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("state")
    for name in (".venv", "mesh", "templates", "Pulumi.yaml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "__main__.py").write_text((ROOT / "__main__.py").read_text())
    values = prod() | {
        "nodes": {NODE: {"number": 1}},
        "admin": {"ssh": ["198.51.100.250/32"], "keys": KEYS},
    }
    config = {f"mesh:{key}": value for key, value in values.items()}
    (folder / "Pulumi.net.yaml").write_text(yaml.safe_dump({"config": config}))
    (folder / "Pulumi.one.yaml").write_text("config:\n  mesh:twin: net\n")
    for each in ("pulumi", "state"):
        (state / each).mkdir()
    (state / "passphrase").write_text("of the tests")
    before = os.environ.get("MESH_LAB")
    os.environ["MESH_LAB"] = LAB
    files = {"GITHUB_STEP_SUMMARY": state / "summary.md", "GITHUB_PATH": state / "path"}
    own = environment(ROOT, state) | {"STACK": "one"}
    runs = Runner(folder, own | {name: str(path) for name, path in files.items()})
    clear_world(LAB)
    try:
        runs.git("init", "-q")
        runs.git("commit", "--allow-empty", "-qm", "first")
        for words in ("pulumi stack init one", "pulumi config set --secret mesh:bgpPassword-vultr "
                      "correct-horse-battery --stack one"):  # fmt: skip
            assert runs.command(words).returncode == 0
        yield runs
    finally:
        clear_world(LAB)
        os.environ.pop("MESH_LAB")
        if before is not None:
            os.environ["MESH_LAB"] = before


def test_the_environment_is_made_from_the_lock(tmp_path: Path) -> None:
    """In a checkout of its own, with the one package that an editable install needs: the real
    environment is in use by whoever else works here."""
    shutil.copytree(
        ROOT / "setup", tmp_path / "setup", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "__init__.py").touch()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text())
    (lock,) = [entry for entry in entries if entry.startswith("setuptools==")]
    (tmp_path / "requirements.lock").write_text(lock.rstrip() + "\n")
    (install,) = [step for step in steps(READY) if "run" in step]
    path = {"PATH": os.environ["PATH"], "GITHUB_PATH": str(tmp_path / "path")}
    done = Runner(tmp_path, os.environ | path).command(install["run"])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "path").read_text() == f"{tmp_path}/.venv/bin\n"
    assert (tmp_path / ".venv" / "bin" / "mesh").exists()


@pytest.mark.engine
def test_a_pull_request_is_previewed_told_and_judged(runner: Runner) -> None:
    span = runner.commit("Nothing is asked for")
    for name in RUN["preview"]:
        done = runner.step("preview", name, span)
        assert done.returncode == 0, f"{name}\n{done.stdout}\n{done.stderr}"
    summary = Path(runner.environment["GITHUB_STEP_SUMMARY"]).read_text()
    assert f"| created | {NODE} |" in summary
    assert "horse" not in summary + (runner.folder / "preview.json").read_text()


def test_what_commits_ask_for_is_taken_from_their_last_lines_and_nothing_else(
    tmp_path: Path,
) -> None:
    runs = Runner(tmp_path, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    runs.git("init", "-q")
    runs.git("commit", "--allow-empty", "-qm", "first\n\nMesh-Remove: ord-vultr-1")
    runs.commit("One\n\nMesh-Replace: mia-vultr-1")
    runs.commit("Two\n\nMesh-Remove: ewr-vultr-1\nMesh-Replace: $(touch evil) --most=1")
    runs.commit("Three: Mesh-Remove: lax-vultr-1 is not asked for here\n\nfor it is no trailer")
    for workflow in ("preview", "up"):
        done = runs.step(workflow, "What the commits ask for", "HEAD~3..HEAD")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "asked.txt").read_text().split() == [
            "--replace=mia-vultr-1",
            "--remove=ewr-vultr-1",
        ]
    assert not (tmp_path / "evil").exists()


@pytest.mark.engine
@pytest.mark.lab
def test_what_was_merged_is_deployed(runner: Runner) -> None:
    span = runner.commit("Nothing is asked for")
    for name in RUN["up"]:
        done = runner.step("up", name, span)
        assert done.returncode == 0, f"{name}\n{done.stdout}\n{done.stderr}"
    again = runner.step("up", "Preview", span)
    assert again.returncode == 0
    assert "nothing changes" in runner.step("up", "Gate", span).stdout


@pytest.mark.engine
@pytest.mark.lab
def test_a_preview_that_fails_stops_the_deployment_and_says_why(runner: Runner) -> None:
    stack = runner.folder / "Pulumi.net.yaml"
    good = stack.read_text()
    stack.write_text(good.replace("mesh:asn: 27218", "mesh:asn: 64512"))
    try:
        assert runner.step("up", "Check the stack file", "").returncode == 1
        assert runner.step("up", "Preview", "").returncode
        stopped = runner.step("up", "Gate", "")
    finally:
        stack.write_text(good)
    assert stopped.returncode == 1
    assert "mesh:asn = 64512" in stopped.stdout
