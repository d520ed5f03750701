"""The gate, ``mesh replace`` and ``mesh release`` ask who announces: of a real registry, by what
nodes have signed. The engine is a stand-in that tells of one state and one preview."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mesh.cli.announcing import live_announcers
from mesh.cli.main import app
from mesh.plan.document import write_plan
from mesh.publish import Fleet as State
from mesh.publish import dump_fleet
from mesh.trust import keys
from mesh.trust.documents import Health
from mesh.trust.encoding import dump
from tests.cli.test_status import secret, state
from tests.kit.previews import ADDRESS, NODE, SERVER, STACK, generation, step, text
from tests.kit.registry import Live, live, shared_fleet

FLEET = shared_fleet()
MADE = FLEET.fifth
LAX, ORD, MIA, EWR = NODES = ("lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1")
BOTH = {"vultr4": "Established", "vultr6": "Established"}
DOWN = {"vultr4": "Active", "vultr6": "Active"}
V4, V6 = FLEET.plan.prefixes.both()

ENGINE = """#!/bin/sh
echo "$@" >> "{folder}/asked"
case "$*" in
up*) [ ! -e "{folder}/fails" ] ;;
*"stack export"*) cat "{folder}/state.json" ;;
*preview*) cat "{folder}/preview.json" ;;
esac
"""


@dataclass
class Stack:
    """A deployed stack of four nodes, as the engine and its registry tell of it."""

    folder: Path
    registry: Live

    def say(self, node: str, in_service: bool, sessions: dict[str, str], age: float = 0) -> None:
        """A node's signed report, of so many seconds ago."""
        health = Health(in_service, {"web": True}, sessions)
        sequence = int((time.time() - age) * 1e6)
        report = FLEET.report(node, MADE, sequence=sequence, health=health)
        with self.registry.client(FLEET.node(node)) as client:
            assert client.ask("POST", "/api/v1/report", dump(report), signed=True).ok

    def all_say(self, sessions: dict[str, str] = BOTH) -> None:
        for node in NODES:
            self.say(node, True, sessions)

    def mesh(self, *words: str) -> Result:
        """Run a command; what is replaced in the preview is Miami."""
        done = CliRunner().invoke(app, [*words, "--stack", "prod"])
        assert FLEET.key not in done.output
        return done

    def asked(self) -> str:
        """What the engine was asked for."""
        path = self.folder / "asked"
        return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One for all tests, in order: what was said last of a node counts."""
    folder = tmp_path_factory.mktemp("registry")
    with live(folder, keys.signing_public(FLEET.key), b"a bundle") as one:
        with one.client(FLEET.operator) as client:
            body = dump(MADE.generation)
            assert client.ask("PUT", "/api/v1/generation/packed", body, signed=True).ok
        yield one


@pytest.fixture
def stack(registry: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    deployed(tmp_path, registry.url)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Stack(tmp_path, registry)


def deployed(folder: Path, url: str) -> None:
    """The engine's word on that stack."""
    document = state(
        operator_key=secret(FLEET.key),
        registries={LAX: url},
        plan=write_plan(FLEET.plan),
        fleet=dump_fleet(State(5, "0" * 64, FLEET.members())),
    )
    resources: list[dict[str, Any]] = document["deployment"]["resources"]
    for resource in resources:
        resource.setdefault("urn", f"{STACK}x::{resource['type']}")
    for node in NODES:
        component = f"{STACK}{NODE}::mesh-{node}"
        resources.append({"urn": component, "type": "mesh:index:Node"})
        for type_, name in ((SERVER, "instance"), (ADDRESS, "address")):
            resources.append(
                {
                    "urn": f"{STACK}{NODE}${type_}::mesh-{node}-{name}", "type": type_,
                    "custom": True, "parent": component, "protect": name == "address",
                }
            )  # fmt: skip
    (folder / "state.json").write_text(json.dumps(document))
    changes = [step("replace", MIA), generation(FLEET.plan, FLEET.plan, bundle="1")]
    (folder / "preview.json").write_text(text(*changes))
    engine = folder / "pulumi"
    engine.write_text(ENGINE.format(folder=folder))
    engine.chmod(0o755)


def test_what_is_heard_and_of_whom_nobody_can_tell(stack: Stack) -> None:
    stack.say(LAX, True, BOTH)
    stack.say(ORD, False, BOTH)
    stack.say(MIA, True, BOTH, age=3600)
    found = live_announcers("prod")
    assert found.announcing == dict.fromkeys((V4, V6), frozenset({LAX}))
    assert found.unsure == dict.fromkeys((V4, V6), frozenset({MIA, EWR}))


GATE = ("preview", "--gate", "--replace", MIA)


@pytest.mark.parametrize("command", [GATE, ("replace", MIA, "--yes")])
def test_where_all_announce_a_server_may_be_replaced(
    stack: Stack, command: tuple[str, ...]
) -> None:
    stack.all_say()
    done = stack.mesh(*command)
    assert done.exit_code == 0, done.output


def test_a_replacement_that_fails_says_that_the_node_may_stay_drained(stack: Stack) -> None:
    stack.all_say()
    (stack.folder / "fails").touch()
    done = stack.mesh("replace", MIA, "--yes")
    assert done.exit_code == 1, done.output
    assert f"`mesh replace {MIA} --stack prod` again" in done.stderr
    assert f"or `mesh undrain {MIA} --stack prod`" in done.stderr


@pytest.mark.parametrize(
    ("command", "others", "lost"),
    [
        (GATE, DOWN, {V4, V6}),
        (GATE, {"vultr4": "Established"}, {V6}),
        (GATE, {}, {V4, V6}),
        (("replace", MIA, "--yes"), DOWN, {V4, V6}),
        (("release", MIA), DOWN, {V4, V6}),
    ],
)
def test_the_last_node_that_announces_in_effect_is_neither_replaced_nor_released(
    stack: Stack, command: tuple[str, ...], others: dict[str, str], lost: set[Any]
) -> None:
    """By the plan four nodes announce: three are in service, and no upstream hears them."""
    stack.all_say(others)
    stack.say(MIA, True, BOTH)
    done = stack.mesh(*command)
    assert done.exit_code == 3, done.output
    said = [
        line for line in done.output.splitlines() if line.startswith(("refused", f"error: {MIA}"))
    ]
    assert {prefix for prefix in (V4, V6) if any(str(prefix) in line for line in said)} == lost
    assert "pulumi up" not in stack.asked() and "unprotect" not in stack.asked()


def test_release_is_forced_where_somebody_insists(stack: Stack) -> None:
    stack.all_say(DOWN)
    stack.say(MIA, True, BOTH)
    done = stack.mesh("release", MIA, "--force")
    assert (done.exit_code, done.stdout) == (0, f"released mesh-{MIA}-address\n")
    assert f"unprotect {STACK}{NODE}${ADDRESS}::mesh-{MIA}-address" in stack.asked()


def test_a_node_that_announces_nothing_goes_although_no_other_announces(stack: Stack) -> None:
    stack.all_say(DOWN)
    assert stack.mesh(*GATE).exit_code == 0
    assert stack.mesh("release", MIA).exit_code == 0


@pytest.mark.parametrize("command", [GATE, ("replace", MIA, "--yes")])
def test_where_no_registry_answers_only_the_plan_can_be_believed(
    stack: Stack, command: tuple[str, ...]
) -> None:
    deployed(stack.folder, "https://127.0.0.1:9")
    done = stack.mesh(*command)
    assert done.exit_code == 3
    assert "it could not be asked who else announces in effect: no registry answers" in done.stdout
    assert "--by-plan" in done.stdout
    assert stack.mesh(*command, "--by-plan").exit_code == 0


def test_release_goes_on_where_nobody_can_be_asked_and_says_so(stack: Stack) -> None:
    deployed(stack.folder, "https://127.0.0.1:9")
    done = stack.mesh("release", MIA)
    assert done.exit_code == 0
    assert "warning: it could not be asked whether others announce" in done.stderr


def test_nobody_is_asked_where_nothing_is_disturbed(stack: Stack) -> None:
    (stack.folder / "preview.json").write_text(text(generation(FLEET.plan, FLEET.plan, bundle="1")))
    assert stack.mesh("preview", "--gate").exit_code == 0
    assert "export" not in stack.asked()


def test_a_saved_preview_is_judged_by_the_stack_that_is_named(stack: Stack) -> None:
    stack.all_say()
    saved = ("--from", str(stack.folder / "preview.json"))
    assert stack.mesh(*GATE, *saved).exit_code == 0
    stack.all_say(DOWN)
    stack.say(MIA, True, BOTH)
    assert stack.mesh(*GATE, *saved).exit_code == 3


def test_a_stack_of_which_nothing_was_published_announces_nothing(stack: Stack) -> None:
    (stack.folder / "state.json").write_text('{"version": 3, "deployment": {}}')
    assert live_announcers("prod").announcing == {}


def test_an_engine_that_does_not_answer_is_the_reason(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(stack.folder / "nowhere"))
    found = live_announcers("prod")
    assert found.announcing is None
    assert "make setup" in found.why
