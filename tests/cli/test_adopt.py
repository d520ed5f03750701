"""`mesh adopt`: what stops it, and that nothing is written then."""

from __future__ import annotations

import copy
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mesh.cli.main import app
from mesh.infra.providers.vultr.adoption.resources import held_by_plugin
from mesh.infra.providers.vultr.v2 import client as client_module
from tests.adoption.test_vultr import EXPORTED, of
from tests.cli.engine import Stub, stub
from tests.kit.vultr_api import KEY, Fault, Served, Vultr, answering, refused
from tests.kit.vultr_api.objects import Address, Group, Key, Server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with answering(Vultr(), tmp_path_factory.mktemp("tls")) as served:
        yield served


@pytest.fixture
def vultr(served: Served) -> Vultr:
    """An account with what the state has."""
    vultr = served.vultr
    for kept in (vultr.keys, vultr.addresses, vultr.groups, vultr.servers, vultr.faults):
        kept.clear()
    vultr.key = KEY
    for r in of(EXPORTED, ":SSHKey"):
        vultr.keys[r["id"]] = Key(r["id"], "", r["inputs"]["name"], r["inputs"]["sshKey"])
    for r in of(EXPORTED, ":FirewallGroup"):
        vultr.groups[r["id"]] = Group(r["id"], "", "", r["inputs"]["description"])
    for r in of(EXPORTED, ":ReservedIp"):
        vultr.addresses[r["id"]] = Address(
            r["id"], r["inputs"]["region"], "v4", r["outputs"]["subnet"], 32, r["inputs"]["label"]
        )
    for r in of(EXPORTED, ":Instance"):
        vultr.servers[r["id"]] = _server(vultr, r)
    vultr.forget_calls()
    return vultr


def _server(vultr: Vultr, r: dict[str, Any]) -> Server:
    inputs, outputs = r["inputs"], r["outputs"]
    return Server(
        id=r["id"], metal=False, created=outputs["dateCreated"], born=vultr.clock(),
        region=inputs["region"], plan=inputs["plan"], os_id=inputs["osId"], label=inputs["label"],
        hostname=inputs["hostname"], tags=inputs["tags"], address=inputs["reservedIpId"],
        main_ip=outputs["mainIp"], enable_ipv6=True, v6_network=outputs["v6Network"],
        v6_main_ip=outputs["v6MainIp"], firewall_group=inputs["firewallGroupId"], ssh_keys=(),
        user_data="", ddos_protection=False, password="", activation_email=False,
    )  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path, served: Served, vultr: Vultr, monkeypatch: pytest.MonkeyPatch) -> Stub:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client_module, "AWAY", (0.01,))
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    engine = stub(tmp_path, monkeypatch)
    engine.knows(EXPORTED)
    engine.set("vultr:apiKey", KEY)
    return engine


def adopt(*words: str, answer: str = "") -> Result:
    done = CliRunner().invoke(app, ["adopt", "--stack", "prod", *words], input=answer)
    assert KEY not in done.output
    assert "Traceback" not in done.output
    return done


def test_writes_the_state_anew_and_marks_every_object(engine: Stub, vultr: Vultr) -> None:
    done = adopt("--yes")
    assert done.exit_code == 0, done.output
    assert held_by_plugin(engine.state) == []
    assert len(vultr.changes()) == 2 + 2 + 2 + 1
    assert "7 objects are marked" in done.output


def test_asks_before_it_writes(engine: Stub, vultr: Vultr, tmp_path: Path) -> None:
    done = adopt(answer="n\n")
    assert done.exit_code == 1
    assert "There is no way back" in done.output
    assert (engine.state, vultr.changes()) == (EXPORTED, [])
    assert not list(tmp_path.glob("*.json"))
    assert adopt(answer="y\n").exit_code == 0


def test_keeps_every_copy_for_its_owner_alone(engine: Stub, tmp_path: Path) -> None:
    first = tmp_path / "prod.state-before-adoption-1.json"
    first.write_text("of another day")
    assert adopt("--yes").exit_code == 0
    second = tmp_path / "prod.state-before-adoption-2.json"
    assert json.loads(second.read_text()) == EXPORTED
    assert stat.S_IMODE(second.stat().st_mode) == 0o600
    assert first.read_text() == "of another day"


def _ask_for_the_plugin(engine: Stub, _vultr: Vultr) -> None:
    engine.set("mesh:providers", '{"vultr": {"through": "plugin"}}')


def _change_meanwhile(engine: Stub, _vultr: Vultr) -> None:
    later = copy.deepcopy(EXPORTED)
    later["deployment"]["manifest"]["time"] = "2026-11-28T07:00:00Z"
    engine.knows(EXPORTED, later)


def _lock(engine: Stub, _vultr: Vultr) -> None:
    engine.lock()


def _forget_the_key(engine: Stub, _vultr: Vultr) -> None:
    (engine.folder / "config" / "vultr:apiKey").unlink()


def _another_key(_engine: Stub, vultr: Vultr) -> None:
    vultr.key = "another"


def _out_of_order(_engine: Stub, vultr: Vultr) -> None:
    vultr.fail(Fault("GET", "/instances", times=9))


STOPPED = {
    "the stack file asks for the plugin": (
        _ask_for_the_plugin, "mesh:providers.vultr.through = plugin",
    ),
    "an update has ended meanwhile": (_change_meanwhile, "the state has changed meanwhile"),
    "an update runs": (_lock, "currently locked"),
    "no API key": (_forget_the_key, "vultr:apiKey = unset"),
    "a wrong API key": (_another_key, "vultr:apiKey = [secret]: Vultr does not know"),
    "the API out of order": (_out_of_order, "Vultr's API fails"),
}  # fmt: skip


@pytest.mark.parametrize(("cause", "said"), STOPPED.values(), ids=STOPPED)
def test_what_stops_it_leaves_all_as_it_was(
    engine: Stub, vultr: Vultr, cause: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VULTR_API_KEY", raising=False)
    cause(engine, vultr)
    done = adopt("--yes")
    assert done.exit_code == 1
    assert said in " ".join(done.output.split())
    assert held_by_plugin(engine.state)
    assert vultr.changes() == []


def test_a_folder_that_takes_no_copy_stops_it(
    engine: Stub, vultr: Vultr, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is not written before it is kept."""
    monkeypatch.chdir("/proc")
    done = adopt("--yes")
    assert done.exit_code == 1
    assert "the state can't be kept there" in " ".join(done.output.split())
    assert held_by_plugin(engine.state)


def test_a_mark_that_vultr_refuses_is_left_to_a_refresh(engine: Stub, vultr: Vultr) -> None:
    vultr.fail(Fault("PATCH", "/instances/.*", refused("Instance is locked"), times=9))
    done = adopt("--yes")
    said = " ".join(done.output.split())
    assert done.exit_code == 1
    assert "Instance is locked" in said
    assert "`pulumi up --refresh --stack prod` marks the others" in said
    assert held_by_plugin(engine.state) == []


def test_a_stack_without_the_plugin_has_nothing_to_adopt(engine: Stub, vultr: Vultr) -> None:
    assert adopt("--yes").exit_code == 0
    again = adopt("--yes")
    assert (again.exit_code, "nothing of Vultr's plugin" in again.output) == (0, True)
