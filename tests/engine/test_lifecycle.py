"""The life of a stack under the real engine, in order: a killed run, two that go through, the loss
of everything, and the end. (What else an operator does is told in tests/twin.)"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh import netns
from mesh.infra.ending import GIVEN_UP
from mesh.lab.world import clear_world
from tests.engine.conftest import LAB
from tests.kit.engine import Engine, changed, secrets_of, until_none
from tests.kit.forks import with_forks
from tests.kit.program import KEYS

pytestmark = [pytest.mark.engine, pytest.mark.lab]

UP = ("up", "--yes", "--skip-preview")


def by_name(engine: Engine) -> dict[str, dict[str, Any]]:
    """The resources of the state by the last part of their URN."""
    return {r["urn"].rpartition("::")[2]: r for r in engine.resources()}


@pytest.fixture(scope="module")
def forking(engine: Engine) -> Engine:
    """The same, for runs of which none is killed and after which no process is looked for."""
    return replace(engine, environment=with_forks(engine.environment))


def generation(engine: Engine) -> int:
    """The number of the generation in force."""
    number: int = by_name(engine)["mesh-generation"]["outputs"]["generation"]
    return number


def test_up_goes_through_after_a_run_that_was_killed(engine: Engine) -> None:
    engine.killed(*UP, at="joined")
    until_none(engine, 15)
    engine.run("cancel", "--yes")
    engine.run(*UP, "--refresh")
    assert generation(engine) >= 1


def test_a_second_up_changes_neither_resources_nor_outputs(forking: Engine) -> None:
    before, outputs = identities(forking), forking.outputs()
    forking.run(*UP, "--expect-no-changes")
    assert forking.outputs() == outputs
    assert identities(forking) == before


def identities(engine: Engine) -> dict[str, tuple[Any, Any]]:
    """Each resource's id and pickled provider."""
    return {
        name: (resource.get("id"), resource.get("outputs", {}).get("__provider"))
        for name, resource in by_name(engine).items()
    }


def test_outputs_name_every_node_and_the_registry(engine: Engine) -> None:
    topology = engine.outputs()["topology"]
    assert set(topology["nodes"]) == set(engine.outputs()["access"])
    assert topology["registries"] == ["https://203.0.113.1:8443"]


PUBLISHED = {"mesh-candidate", "mesh-generation"}
NEW_NODE = {f"mesh-lax-vultr-2{part}" for part in ("", "-address", "-instance")}


@pytest.mark.parametrize(
    ("keys", "created", "updated"),
    [
        ({"without": ["mia-vultr-1"]}, set(), PUBLISHED),
        ({"admin": {"ssh": ["198.51.100.250/32"], "keys": KEYS}}, set(), PUBLISHED),
        (
            {"nodes": {"lax-vultr-2": {"number": 9}}},
            NEW_NODE,
            PUBLISHED | {"mesh-lab-world"},
        ),
    ],
    ids=["a setting of the network", "other keys to log in with", "one node more"],
)
def test_a_change_of_the_plan_touches_no_server_that_runs(
    forking: Engine, tmp_path: Path, keys: dict[str, Any], created: set[str], updated: set[str]
) -> None:
    shown = changed(forking, tmp_path, keys).run("preview").stdout
    steps = re.findall(r"^ *([-+~]+) +\S+:\S+ (\S+) (?:create|update|replace|delete)", shown, re.M)
    assert {name for sign, name in steps if sign == "+"} == created
    assert {name for sign, name in steps if sign == "~"} == updated
    assert {sign for sign, _ in steps} <= {"+", "~"}


def test_what_must_survive_is_not_deleted_by_accident(forking: Engine) -> None:
    refused = forking.run("destroy", "--preview-only", "--run-program", check=False)
    assert refused.returncode
    assert "protect" in refused.text


def test_a_fleet_that_is_gone_altogether_is_made_again(forking: Engine) -> None:
    """As after a restart of the machine: the addresses and the operator's key are the same."""
    before, number = by_name(forking), generation(forking)
    clear_world(LAB)
    forking.run("refresh", "--yes", "--skip-preview")
    assert not [name for name in by_name(forking) if name.endswith("-instance")]
    forking.run(*UP)
    after = by_name(forking)
    for name in ("mesh-operator", "mesh-mia-vultr-1-address"):
        assert after[name]["id"] == before[name]["id"]
    name = "mesh-mia-vultr-1-instance"
    assert after[name]["id"] != before[name]["id"]
    assert generation(forking) > number


def test_no_secret_was_ever_shown(forking: Engine) -> None:
    said = list(forking.said)
    secrets = secrets_of(forking.resources("--show-secrets"))
    assert len(secrets) >= 6, "the operator's key, the password, four nodes' user data"
    said.append(json.dumps(forking.resources()))
    said.append(forking.run("preview", "--diff").stdout)
    for secret in secrets:
        for text in said:
            assert secret not in text


def test_destroy_leaves_nothing(engine: Engine) -> None:
    engine.run("destroy", "--yes", "--skip-preview", *GIVEN_UP)
    assert engine.resources() == []
    assert not list(netns.FOLDER.glob(f"mesh-{LAB}-*"))
    assert not Path(f"/run/anycast-mesh/{LAB}").exists()
    assert not Path(f"/var/lib/anycast-mesh/{LAB}").exists()
    until_none(engine, 15)
