"""`mesh rollout` and the same options of `mesh lab up`: what the engine is run with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mesh.cli.main import app
from mesh.cli.rollout_options import RolloutOptions
from mesh.spec import SpecError
from tests.kit.previews import NODE, STACK, generation, text
from tests.kit.stacks import plan_of, prod

PLAN = plan_of(prod())
NODES = ("ewr-vultr-1", "lax-vultr-1", "mia-vultr-1", "ord-vultr-1")
ENGINE = """#!/bin/sh
echo "$MESH_ROLLOUT $*" >> '{folder}/asked'
case " $*" in
*"stack export"*) cat '{folder}/state.json' ;;
*" up --yes"*) exit {status} ;;
*preview*) cat '{folder}/preview.json' ;;
esac
"""


class Engine:
    """A stand-in that keeps what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        resources = [
            {"urn": f"{STACK}{NODE}::mesh-{node}", "type": "mesh:index:Node"} for node in NODES
        ]
        (folder / "state.json").write_text(json.dumps({"deployment": {"resources": resources}}))
        (folder / "preview.json").write_text(text(generation(PLAN, PLAN, bundle="1")))
        self.ends_with(0)

    def ends_with(self, status: int) -> None:
        program = self.folder / "pulumi"
        program.write_text(ENGINE.format(folder=self.folder, status=status))
        program.chmod(0o755)

    def asked(self) -> list[str]:
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def ups(self) -> list[str]:
        """The choices of each update."""
        return [line.partition(" ")[0] for line in self.asked() if " up --yes" in line]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("MESH_ROLLOUT", raising=False)
    return Engine(tmp_path)


def rollout(*words: str, answer: str = "") -> Result:
    return CliRunner().invoke(app, ["rollout", "--stack", "prod", *words], input=answer)


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        ((), ""),
        (("--now",), "now"),
        (("--accept-outage",), "accept-outage"),
        (("--without", "ord-vultr-1"), "without=ord-vultr-1"),
        (
            ("--without", "ord-vultr-1", "--accept-outage", "--without", "mia-vultr-1"),
            "accept-outage,without=mia-vultr-1,without=ord-vultr-1",
        ),
    ],
    ids=["none", "now", "outage", "one node", "several"],
)
def test_the_engine_gets_what_was_chosen(
    engine: Engine, words: tuple[str, ...], choices: str
) -> None:
    done = rollout("--yes", *words)
    assert done.exit_code == 0, done.output
    assert engine.ups() == [choices]
    assert not [line for line in engine.asked() if "preview" in line.split()]


def test_without_yes_it_shows_what_changes_and_asks(engine: Engine) -> None:
    done = rollout(answer="n\n")
    assert done.exit_code == 1
    assert "generation" in done.output
    assert engine.ups() == []
    assert rollout(answer="y\n").exit_code == 0
    assert engine.ups() == [""]


def test_it_says_once_what_no_waves_mean(engine: Engine) -> None:
    assert rollout("--yes", "--now").output.count("what it breaks, it breaks everywhere") == 1
    assert "breaks" not in rollout("--yes").output


def test_a_node_that_there_is_not_is_no_choice(engine: Engine) -> None:
    done = rollout("--yes", "--without", "ord-vultr-2")
    assert done.exit_code == 2
    assert (
        "--without = ord-vultr-2: this stack has no such node; use one of ewr-vultr-1, "
        "lax-vultr-1, mia-vultr-1, ord-vultr-1" in " ".join(done.stderr.split())
    )
    assert engine.ups() == []


def test_an_update_that_stops_is_a_failure(engine: Engine) -> None:
    engine.ends_with(255)
    assert rollout("--yes").exit_code == 1


def test_the_lab_has_the_same_options() -> None:
    shown = CliRunner().invoke(app, ["lab", "up", "--help"]).output
    for option in ("--now", "--accept-outage", "--without"):
        assert option in shown


def test_a_choice_of_the_environment_stays_where_no_option_is_given() -> None:
    """`MESH_ROLLOUT=now make up`."""
    assert RolloutOptions().variables() == {}


def test_the_lab_refuses_a_node_that_its_stack_file_has_not() -> None:
    with pytest.raises(SpecError, match="--without = nobody: this stack has no such node"):
        RolloutOptions(without=("nobody",)).check(NODES)
