"""``mesh status``: what is read from the stack's state, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mesh.cli import deployed
from mesh.cli import status as module
from mesh.cli.main import app
from mesh.publish import Fleet as State
from mesh.publish import dump_fleet
from mesh.publish.served import ServiceStatus
from mesh.publish.status import MeshStatus, NodeStatus, PrefixStatus
from tests.kit.registry import shared_fleet

FLEET = shared_fleet()
SIGNATURE = "4dabf18193072939515e22adb298388d"


def secret(value: str) -> dict[str, str]:
    """As `pulumi stack export --show-secrets` writes a secret."""
    return {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps(value)}


def state(**outputs: Any) -> dict[str, Any]:
    publish = {"type": "pulumi-python:dynamic/mesh:Publish", "outputs": outputs}
    stack = {"type": "pulumi:pulumi:Stack"}
    return {"version": 3, "deployment": {"resources": [stack, publish]}}


GOOD = state(
    operator_key=secret(FLEET.key),
    registries={"lax-vultr-1": "https://203.0.113.1:8443"},
    namespace="mesh-lab-operator",
    fleet=dump_fleet(State(7, "0" * 64, FLEET.members())),
)


def test_the_publication_is_found_in_the_state_with_its_secrets_in_clear() -> None:
    found = deployed.of_state(GOOD)
    assert found.operator_key == FLEET.key
    assert found.fleet.generation == 7
    assert found.namespace == "mesh-lab-operator"
    assert FLEET.key not in repr(found)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "nothing has been published"),
        ({"deployment": {"resources": None}}, "nothing has been published"),
        (state(fleet=None), "nothing has been published"),
        (state(fleet="{}", operator_key="", registries={}), "the stack's state"),
    ],
)
def test_a_state_without_a_publication_is_said(document: dict[str, Any], words: str) -> None:
    with pytest.raises(deployed.NoState, match=words):
        deployed.of_state({key: value for key, value in document.items() if value is not None})


WELL = NodeStatus("applied", 7, 1.0, "", True, {"web": True}, {"vultr4": "Established"})
ILL = NodeStatus("failed", 6, 1.0, "bird refuses: line 7", True, {"web": False}, {"vultr4": "Idle"})


@pytest.mark.parametrize(
    ("node", "code"), [(WELL, 0), (ILL, 1), (NodeStatus("silent", 0, None), 1)]
)
def test_the_exit_code_says_whether_all_is_well(
    monkeypatch: pytest.MonkeyPatch, node: NodeStatus, code: int
) -> None:
    found = MeshStatus(True, 7, 7, False, {"https://203.0.113.1:8443": "ok"}, {"lax-vultr-1": node})
    monkeypatch.setattr("mesh.cli.deployed.exported", lambda _: GOOD)
    monkeypatch.setattr(module, "look", lambda *_: found)
    shown = CliRunner().invoke(app, ["status", "--json"])
    assert shown.exit_code == code
    nodes = json.loads(shown.stdout)["nodes"]
    assert nodes["lax-vultr-1"]["state"] == node.state
    table = CliRunner().invoke(app, ["status"])
    assert table.exit_code == code
    assert node.reason in table.stdout
    assert FLEET.key not in table.stdout + shown.stdout


@pytest.fixture
def unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployed stack of which no registry answers: nothing listens on that port."""
    document = state(
        operator_key=secret(FLEET.key),
        registries={"lax-vultr-1": "https://127.0.0.1:1"},
        fleet=dump_fleet(State(7, "0" * 64, FLEET.members())),
    )
    monkeypatch.setattr("mesh.cli.deployed.exported", lambda _: document)


@pytest.mark.usefixtures("unanswered")
def test_where_no_registry_answers_nothing_is_claimed_of_the_nodes() -> None:
    shown = CliRunner().invoke(app, ["status"])
    assert shown.exit_code == 1
    assert shown.stdout.startswith("no registry answers: the state of the nodes is unknown")
    assert shown.stdout.count("https://127.0.0.1:1: ") == 1
    assert "go on with what they have" in shown.stdout
    assert "silent" not in shown.stdout and "generation 0" not in shown.stdout


@pytest.mark.usefixtures("unanswered")
def test_a_machine_is_told_that_no_registry_answers() -> None:
    shown = CliRunner().invoke(app, ["status", "--json"])
    document = json.loads(shown.stdout)
    assert shown.exit_code == 1
    assert (document["answered"], document["generation"], document["published"]) == (False, None, 7)
    assert document["registries"]["https://127.0.0.1:1"] != "ok"
    assert {node["state"] for node in document["nodes"].values()} == {"unknown"}


@pytest.mark.parametrize("stack", ["prod", "lab"])
def test_without_the_engine_the_cure_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("mesh.cli.stacks.checkout", lambda: tmp_path)
    monkeypatch.setenv("MESH_CACHE", str(tmp_path))
    (tmp_path / ".mesh").mkdir()
    shown = CliRunner().invoke(app, ["status", "--stack", stack])
    assert shown.exit_code == 2
    assert f"stack {stack}: " in shown.output
    assert "make setup" in shown.output


def test_a_stack_that_cannot_be_read_is_an_error_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(_: str) -> dict[str, Any]:
        raise deployed.NoState("stack lab: no such stack")

    monkeypatch.setattr("mesh.cli.deployed.exported", nothing)
    shown = CliRunner().invoke(app, ["status"])
    assert shown.exit_code == 2
    assert "no such stack" in shown.output


def test_a_generation_that_the_state_does_not_know_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an update that did not finish, or with a state from a backup."""
    found = MeshStatus(True, 9, 7, False, {}, {"lax-vultr-1": WELL}, unrecorded=9)
    monkeypatch.setattr("mesh.cli.deployed.exported", lambda _: GOOD)
    monkeypatch.setattr(module, "look", lambda *_: found)
    shown = CliRunner().invoke(app, ["status"])
    assert "the registries hold generation 9, and the stack's state knows 7" in shown.stdout
    assert "pulumi up --refresh" in shown.stdout
    assert shown.exit_code == 1
    document = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert document["unrecorded"] == 9


LAX, EWR = "lax-vultr-1", "ewr-vultr-1"
ANYWHERE = {
    "192.30.120.0/23": PrefixStatus((EWR, LAX), (), ()),
    "2620:71:4000::/48": PrefixStatus((EWR, LAX), (), ()),
}
AT_ONE = {"2620:71:4001::/48": PrefixStatus((EWR,), (), ())}


@pytest.mark.parametrize("prefixes", [ANYWHERE, ANYWHERE | AT_ONE], ids=["one each", "several"])
def test_with_several_prefixes_of_a_family_each_has_a_line(
    monkeypatch: pytest.MonkeyPatch, prefixes: dict[str, PrefixStatus]
) -> None:
    found = MeshStatus(True, 7, 7, False, {}, {LAX: WELL, EWR: WELL}, prefixes=prefixes)
    monkeypatch.setattr("mesh.cli.deployed.exported", lambda _: GOOD)
    monkeypatch.setattr(module, "look", lambda *_: found)
    shown = CliRunner().invoke(app, ["status"]).stdout.splitlines()
    lines = [f"{prefix}: announced by {', '.join(p.announcers)}" for prefix, p in prefixes.items()]
    assert [line for line in shown if "announced by" in line] == (
        lines if len(prefixes) > 2 else []
    )


BOTH = {"web": {"ipv4": True, "ipv6": True}}
FOUR = {"web": {"ipv4": True, "ipv6": False}}
NOWHERE: dict[str, tuple[str, ...]] = {"ipv4": (), "ipv6": ()}
EVERYWHERE: dict[str, tuple[str, ...]] = {"ipv4": (EWR, LAX), "ipv6": (EWR, LAX)}
SERVED: dict[str, tuple[ServiceStatus, dict[str, dict[str, bool]], str, str]] = {
    "everywhere": (
        ServiceStatus(EVERYWHERE, NOWHERE, "a" * 64), BOTH,
        "web", "service web: served by all 2 nodes; content aaaaaaaaaaaa",
    ),
    "not everywhere": (
        ServiceStatus({"ipv4": (EWR,), "ipv6": (EWR,)}, {"ipv4": (LAX,), "ipv6": (LAX,)}),
        {"web": {"ipv4": False, "ipv6": False}},
        "web (down)", f"service web: served by {EWR}",
    ),
    "in one family": (
        ServiceStatus({"ipv4": (EWR, LAX), "ipv6": (EWR,)}, {"ipv4": (), "ipv6": (LAX,)}), FOUR,
        "web (IPv6 down)", f"service web: served in IPv4 by {EWR}, {LAX}, in IPv6 by {EWR}",
    ),
    "with older content": (
        ServiceStatus(EVERYWHERE, NOWHERE, "a" * 64, {LAX: "b" * 64}), BOTH,
        "web", f"service web: served by all 2 nodes; content aaaaaaaaaaaa, older at {LAX}",
    ),
    "by older agents": (ServiceStatus(EVERYWHERE, NOWHERE), {}, "web", ""),
}  # fmt: skip


@pytest.mark.parametrize(("served", "families", "cell", "line"), SERVED.values(), ids=SERVED)
def test_who_serves_each_service_is_a_line(
    monkeypatch: pytest.MonkeyPatch,
    served: ServiceStatus,
    families: dict[str, dict[str, bool]],
    cell: str,
    line: str,
) -> None:
    up = {"web": all(families.get("web", {"ipv4": True}).values())}
    nodes = {EWR: WELL, LAX: replace(WELL, services=up, families=families, units={"web": "failed"})}
    found = MeshStatus(True, 7, 7, False, {}, nodes, services={"web": served})
    monkeypatch.setattr("mesh.cli.deployed.exported", lambda _: GOOD)
    monkeypatch.setattr(module, "look", lambda *_: found)
    shown = CliRunner().invoke(app, ["status"]).stdout.splitlines()
    assert [text for text in shown if text.startswith("service web: served")] == [line] * bool(line)
    assert f"{LAX}: unit is failed for web" in shown
    assert any(cell in text for text in shown if text.startswith(f"{LAX} "))
    document = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert document["services"]["web"]["older"] == served.older
    assert document["nodes"][LAX]["families"] == families
