"""A killed engine hurts no later run: its lock, its orphans and its half-done work are seen to."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from mesh.cli import engine
from mesh.cli.environment import checkout, engine_folder, environment
from mesh.cli.working_copy import STACK

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        not (engine_folder(checkout()) / "pulumi").exists(), reason="`make setup` brings the engine"
    ),
]

# The first deployment of `slow` would take a minute; a later one finds its file and takes none.
PROGRAM = """
    import pathlib, time
    from pulumi import dynamic

    class Provider(dynamic.ResourceProvider):
        def create(self, props):
            mark = pathlib.Path("begun")
            if not mark.exists():
                mark.touch()
                time.sleep(60)
            return dynamic.CreateResult("made", props)

    class Thing(dynamic.Resource):
        def __init__(self, name):
            super().__init__(Provider(), name, {})

    Thing("slow")
"""


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something holds; fail after the deadline."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to hold in time"
        time.sleep(0.05)


def plugins(home: Path) -> list[str]:
    """Ids of the plugins that run for an engine with that home."""
    return [
        process.name
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and engine._is_plugin(process, str(home))
    ]


def test_the_next_run_goes_on_from_where_a_killed_engine_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root, state = tmp_path / "root", tmp_path / "state"
    for folder in (root, state, state / "state"):
        folder.mkdir()
    runtime = {"name": "python", "options": {"virtualenv": sys.prefix}}
    for folder in (root, state):
        project = {"name": "anycast-mesh", "runtime": runtime}
        (folder / "Pulumi.yaml").write_text(json.dumps(project))
    (root / "__main__.py").write_text(dedent(PROGRAM))
    (root / ".mesh").mkdir()
    (root / ".mesh" / "engine").symlink_to(engine_folder(checkout()))
    (state / "passphrase").write_text("a passphrase")
    env = environment(checkout(), state)
    config = state / f"Pulumi.{STACK}.yaml"
    subprocess.run(
        ["pulumi", "-C", state, "--non-interactive", "stack", "init", STACK], env=env, check=True
    )

    def run(*words: str) -> int:
        return engine.run_engine(
            list(words), root=root, state=state, config=config, environment=env
        )

    killed = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--stack", STACK, "--config-file", config],
        cwd=root,
        env=env,
        stdout=subprocess.DEVNULL,
    )
    until((root / "begun").exists)
    killed.kill()
    killed.wait()
    assert engine.abandoned(state / "state")
    assert plugins(state / "pulumi")

    began = time.monotonic()
    assert run("up", "--yes", "--skip-preview") == 0
    assert time.monotonic() - began < 30
    until(lambda: not plugins(state / "pulumi"), 5)
    assert run("up", "--yes", "--skip-preview", "--expect-no-changes") == 0
    assert run("destroy", "--yes", "--skip-preview", "--run-program") == 0
    assert "pending operations" not in capfd.readouterr().out
