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
from tests.kit.forks import with_forks
from tests.kit.program import KEYS
from tests.kit.stacks import ROOT, prod
from tests.kit.wait import patience

ACTIONLINT, MODULE = "1.7.7", "github.com/rhysd/actionlint"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
READY = ROOT / ".github" / "actions" / "ready" / "action.yml"
READY_HERE = "./.github/actions/ready"
LAB = f"ci-{crc32(str(ROOT).encode()) & 0xFFFF:04x}"
NODE = "lax-vultr-1"
JUDGED = ("Check the stack file", "What the commits ask for", "Preview", "Gate", "Summary")
RUN = {
    ("preview", "preview"): (*JUDGED, "Policies"),
    ("up", "preview"): (*JUDGED, "Policies"),
    ("up", "up"): (*JUDGED, "Up"),
}
"""The steps whose commands are run here, by workflow and job: all but the comment, which needs
GitHub."""
UP = ("up", "up")
HEARD = {"What the commits ask for", "Summary", "Comment"}
"""Those that print nothing of what others wrote."""
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
            [go, "install", "-trimpath", f"{MODULE}/cmd/actionlint@v{ACTIONLINT}"],
            env=own | {"GOBIN": str(binary.parent)}, check=True, timeout=patience(300),
        )  # fmt: skip
    return binary


@pytest.mark.network
def test_actionlint_finds_nothing(actionlint: Path) -> None:
    done = subprocess.run(
        [actionlint, "-no-color", *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert len(WORKFLOWS) == 2
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.network
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


def workflow(name: str) -> Path:
    """The file of a workflow."""
    return ROOT / ".github" / "workflows" / f"{name}.yml"


def steps(path: Path, job: str | None = None) -> list[dict[str, Any]]:
    """The steps of a workflow, of one of its jobs or of all, or those of our action."""
    found = document(path)
    if path == READY:
        return list(found["runs"]["steps"])
    jobs = found["jobs"] if job is None else {job: found["jobs"][job]}
    return [step for each in jobs.values() for step in each["steps"]]


@pytest.mark.parametrize(
    ("name", "job", "permissions", "place"),
    [
        (
            "preview",
            "preview",
            {"contents": "read", "id-token": "write", "pull-requests": "write"},
            "preview",
        ),
        ("up", "preview", {"contents": "read", "id-token": "write"}, "preview"),
        ("up", "up", {"contents": "read", "id-token": "write"}, "production"),
    ],
)
def test_a_job_may_no_more_than_it_needs(
    name: str, job: str, permissions: Mapping[str, str], place: str
) -> None:
    found = document(workflow(name))
    assert found["permissions"] == {}
    assert found["jobs"][job]["permissions"] == permissions
    assert found["jobs"][job]["environment"] == place
    assert found["jobs"][job]["timeout-minutes"]
    assert found["concurrency"]["cancel-in-progress"] == (name == "preview")


@pytest.mark.parametrize(("name", "job"), sorted(RUN))
def test_what_previews_takes_other_roles_than_what_deploys(name: str, job: str) -> None:
    """Whoever may run code in a preview has what it has, and that code nobody may have read."""
    (ready,) = [step for step in steps(workflow(name), job) if step.get("uses") == READY_HERE]
    mine, others = (
        {f"${{{{ vars.{role} }}}}" for role in roles}
        for roles in (
            ("PULUMI_TEAM", "AWS_ROLE", "GCP_ACCOUNT"),
            ("PULUMI_PREVIEW_TEAM", "AWS_PREVIEW_ROLE", "GCP_PREVIEW_ACCOUNT"),
        )
    )
    used = set(ready["with"].values())
    assert mine <= used if job == "up" else others <= used
    assert not used & (others if job == "up" else mine)


def test_the_preview_says_what_its_environment_has_to_be_set_to() -> None:
    head = " ".join(workflow("preview").read_text().partition("name:")[0].replace("#", "").split())
    assert "THE ENVIRONMENT `preview` HAS TO REQUIRE REVIEWERS" in head
    assert "HOLDS THE OPERATOR'S KEY" in head


def test_a_stranger_s_fork_is_not_run_with_credentials() -> None:
    (job,) = document(workflow("preview"))["jobs"].values()
    assert job["if"] == "github.event.pull_request.head.repo.full_name == github.repository"


@pytest.mark.parametrize("path", [*WORKFLOWS, READY], ids=lambda path: path.stem)
def test_actions_are_pinned_by_their_commit_and_commands_take_nothing_from_the_event(
    path: Path,
) -> None:
    for step in steps(path):
        if "uses" in step and not step["uses"].startswith("./"):
            assert re.search(r"@[0-9a-f]{40}$", step["uses"]), step["uses"]
        assert "${{" not in step.get("run", ""), "an expression in a command is an injection"
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


def test_the_engine_is_the_one_that_the_set_up_pins() -> None:
    (engine,) = [step for step in steps(READY) if "pulumi/actions" in step.get("uses", "")]
    assert engine["with"]["pulumi-version"] == versions.load().pulumi


def test_nothing_is_deployed_that_the_gate_has_not_seen_before_and_after_somebody_agreed() -> None:
    assert document(workflow("up"))["jobs"]["up"]["needs"] == "preview"
    names = [step.get("name") for step in steps(workflow("up"), "up")]
    assert names.index("Gate") == names.index("Up") - 2  # its summary between them
    for name, job in RUN:
        (gate,) = [step for step in steps(workflow(name), job) if step.get("name") == "Gate"]
        assert not gate.keys() & {"if", "continue-on-error"}


def test_every_command_is_run_by_these_tests() -> None:
    jobs = {(path.stem, job) for path in WORKFLOWS for job in document(path)["jobs"]}
    assert jobs == RUN.keys()
    for name, job in RUN:
        named = [step["name"] for step in steps(workflow(name), job) if "run" in step]
        assert [each for each in named if each != "Comment"] == list(RUN[name, job])


def test_no_line_that_others_wrote_is_a_command_to_github(tmp_path: Path) -> None:
    for name, job in RUN:
        for step in steps(workflow(name), job):
            if "run" in step and step["name"] not in HEARD:
                assert step["run"].startswith(". .github/unheard\n"), step["name"]
    (tmp_path / ".github").symlink_to(ROOT / ".github")
    runs = Runner(tmp_path, {"PATH": os.environ["PATH"]})
    foreign = "echo '::error::one'; echo '::error::two' >&2; printf '::error::three'; (exit 7)"
    done = runs.command(f". .github/unheard\n{foreign}\n")
    first, *said, last = done.stdout.splitlines()
    word = first.removeprefix("::stop-commands::")
    assert re.fullmatch(r"[0-9a-f-]{36}", word)
    assert said == ["::error::one", "::error::two", "::error::three"]
    assert (last, done.stderr, done.returncode) == (f"::{word}::", "", 7)
    assert word not in runs.command(". .github/unheard").stdout


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

    def step(self, job: tuple[str, str], name: str, span: str) -> subprocess.CompletedProcess[str]:
        """Run the command of a step of a workflow's job, as GitHub's runner does."""
        (found,) = [step for step in steps(workflow(job[0]), job[1]) if step.get("name") == name]
        return self.command(found["run"], RANGE=span)

    def command(self, text: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command as GitHub's runner does: ``bash -e``."""
        return subprocess.run(
            ["bash", "-e", "-c", text], cwd=self.folder, env={**self.environment, **more},
            capture_output=True, text=True, check=False, timeout=patience(300),
        )  # fmt: skip


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A stack of one node in the lab; whatever happens, nothing of it stays."""
    folder, state = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("state")
    for name in (".github", ".venv", "mesh", "templates", "Pulumi.yaml"):
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
    own = with_forks(environment(ROOT, state)) | {"STACK": "one"}
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


@pytest.mark.network
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
    for name in RUN["preview", "preview"]:
        done = runner.step(("preview", "preview"), name, span)
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
    runs.commit("Two and a half\n\nMesh-Restart-Sessions: yes\nMesh-By-Plan: --most=1")
    runs.commit("Three: Mesh-Remove: lax-vultr-1 is not asked for here\n\nfor it is no trailer")
    for job in RUN:
        done = runs.step(job, "What the commits ask for", "HEAD~4..HEAD")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "asked.txt").read_text().split() == [
            "--replace=mia-vultr-1",
            "--remove=ewr-vultr-1",
            "--restart-sessions",
        ]
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("asked", "choices"),
    [("--restart-sessions\n", "accept-outage"), ("--replace=mia-vultr-1\n", ""), ("", "")],
    ids=["sessions", "another thing", "nothing"],
)
def test_who_asks_that_sessions_restart_accepts_that_a_prefix_is_off_meanwhile(
    tmp_path: Path, asked: str, choices: str
) -> None:
    """Or the update would stop at what the gate has let through."""
    (tmp_path / ".github").symlink_to(ROOT / ".github")
    (tmp_path / "asked.txt").write_text(asked)
    engine = tmp_path / "pulumi"
    engine.write_text('#!/bin/sh\necho "choices: $MESH_ROLLOUT."\n')
    engine.chmod(0o755)
    done = Runner(tmp_path, {"PATH": f"{tmp_path}:{os.environ['PATH']}"}).step(UP, "Up", "")
    assert done.returncode == 0
    assert f"choices: {choices}." in done.stdout


@pytest.mark.engine
@pytest.mark.lab
def test_what_was_merged_is_deployed(runner: Runner) -> None:
    span = runner.commit("Nothing is asked for")
    for job in (("up", "preview"), UP):
        for name in RUN[job]:
            done = runner.step(job, name, span)
            assert done.returncode == 0, f"{name}\n{done.stdout}\n{done.stderr}"
    again = runner.step(UP, "Preview", span)
    assert again.returncode == 0
    assert "nothing changes" in runner.step(UP, "Gate", span).stdout


@pytest.mark.engine
@pytest.mark.lab
def test_a_preview_that_fails_stops_the_deployment_and_says_why(runner: Runner) -> None:
    stack = runner.folder / "Pulumi.net.yaml"
    good = stack.read_text()
    stack.write_text(good.replace("mesh:asn: 27218", "mesh:asn: 64512"))
    try:
        assert runner.step(UP, "Check the stack file", "").returncode == 1
        assert runner.step(UP, "Preview", "").returncode
        stopped = runner.step(UP, "Gate", "")
    finally:
        stack.write_text(good)
    assert stopped.returncode == 1
    assert "mesh:asn = 64512" in stopped.stdout
