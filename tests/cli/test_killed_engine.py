"""A killed engine hurts no later run: its lock, its orphans and its half-done work are seen to."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from mesh.cli import engine
from mesh.cli.environment import checkout, engine_folder, environment
from mesh.cli.working_copy import STACK
from tests.kit.wait import until

pytestmark = pytest.mark.engine

# The first deployment of `slow` takes its time; a later one finds its file and takes none.
PROGRAM = """
    import pathlib, time
    from pulumi import dynamic

    class Provider(dynamic.ResourceProvider):
        def create(self, props):
            mark = pathlib.Path("begun")
            if not mark.exists():
                mark.touch()
                time.sleep(SECONDS)
            return dynamic.CreateResult("made", props)

    class Thing(dynamic.Resource):
        def __init__(self, name):
            super().__init__(Provider(), name, {})

    Thing("slow")
"""


def plugins(home: Path) -> list[str]:
    """Ids of the plugins that run for an engine with that home."""
    return [
        process.name
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and engine._is_plugin(process, str(home))
    ]


@dataclass(frozen=True)
class Laid:
    """A project with a stack in which an engine can run."""

    root: Path
    state: Path
    config: Path
    environment: dict[str, str]

    def run(self, *words: str) -> int:
        return engine.run_engine(
            list(words),
            root=self.root,
            state=self.state,
            config=self.config,
            environment=self.environment,
        )


def laid(folder: Path, seconds: int) -> Laid:
    """A project whose first deployment takes so long."""
    root, state = folder / "root", folder / "state"
    for each in (root, state, state / "state"):
        each.mkdir()
    runtime = {"name": "python", "options": {"virtualenv": sys.prefix}}
    for each in (root, state):
        project = {"name": "anycast-mesh", "runtime": runtime}
        (each / "Pulumi.yaml").write_text(json.dumps(project))
    (root / "__main__.py").write_text(dedent(PROGRAM).replace("SECONDS", str(seconds)))
    (root / ".mesh").mkdir()
    (root / ".mesh" / "engine").symlink_to(engine_folder(checkout()))
    (state / "passphrase").write_text("a passphrase")
    env = environment(checkout(), state)
    subprocess.run(
        ["pulumi", "-C", state, "--non-interactive", "stack", "init", STACK], env=env, check=True
    )
    return Laid(root, state, state / f"Pulumi.{STACK}.yaml", env)


def test_the_next_run_goes_on_from_where_a_killed_engine_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    here = laid(tmp_path, 600)
    chosen = ["--stack", STACK, "--config-file", str(here.config)]
    killed = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", *chosen],
        cwd=here.root,
        env=here.environment,
        stdout=subprocess.DEVNULL,
    )
    until((here.root / "begun").exists, 50, "the program has begun")
    killed.kill()
    killed.wait()
    assert engine.abandoned(here.state / "state")
    assert plugins(here.state / "pulumi")

    began = time.monotonic()
    assert here.run("up", "--yes", "--skip-preview") == 0
    assert time.monotonic() - began < 500, "the killed one's ten minutes were waited for"
    until(lambda: not plugins(here.state / "pulumi"), 50, "no plugin runs")
    assert here.run("up", "--yes", "--skip-preview", "--expect-no-changes") == 0
    assert here.run("destroy", "--yes", "--skip-preview", "--run-program") == 0
    assert "pending operations" not in capfd.readouterr().out


# `mesh lab up` in a process of its own: what is killed is the command and not the engine.
COMMAND = """
    import os, sys
    from pathlib import Path
    from mesh.cli.engine import Interrupted, run_engine

    root, state, config = map(Path, sys.argv[1:])
    try:
        run_engine(["up", "--yes", "--skip-preview"], root=root, state=state, config=config,
                   environment=os.environ)
    except Interrupted:
        sys.exit("interrupted")
"""


def command(here: Laid) -> subprocess.Popen[bytes]:
    """The command at work on the slow deployment."""
    words = [sys.executable, "-c", dedent(COMMAND), *map(str, (here.root, here.state, here.config))]
    with (here.root / "said").open("w") as said:
        began = subprocess.Popen(
            words, cwd=checkout(), env=here.environment, stdout=subprocess.DEVNULL, stderr=said
        )
    until((here.root / "begun").exists, 50, "the program has begun")
    return began


def test_a_killed_command_takes_its_engine_along_and_the_next_run_waits_for_that(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    here = laid(tmp_path, 5)
    killed = command(here)
    killed.kill()
    killed.wait()
    assert here.run("up", "--yes", "--skip-preview") == 0
    assert here.run("up", "--yes", "--skip-preview", "--expect-no-changes") == 0
    said = capfd.readouterr()
    assert "an engine still works on this lab; waiting for it to end" in said.out
    assert "currently locked" not in said.out + said.err


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    here = laid(tmp_path, 3)
    stopped = command(here)
    stopped.terminate()
    assert stopped.wait() == 1
    assert (here.root / "said").read_text().strip().endswith("interrupted")
