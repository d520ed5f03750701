"""`mesh strays`: account and state side by side, as a person and as a program reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mesh.cli.main import app
from mesh.infra.providers.vultr.v2 import Mark, connect, stated, waiting
from mesh.infra.providers.vultr.v2 import client as client_module
from tests.cli.engine import Stub, stub
from tests.kit.vultr_api import KEY, Fault, Served, Vultr, answering, refused

OURS, THEIRS = "ab12cd34", "ffff0000"
NODE = "lax-vultr-1"
ADDRESS = "pulumi-python:dynamic/vultr:Address"
MARK = Mark(OURS, NODE, "address")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture
def served(certificates: Path) -> Iterator[Served]:
    with answering(Vultr(), certificates) as served:
        yield served


@pytest.fixture
def vultr(served: Served) -> Vultr:
    return served.vultr


@pytest.fixture
def engine(tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> Stub:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client_module, "AWAY", (0.01,))
    monkeypatch.setattr(waiting, "FIRST", 0.05)
    monkeypatch.delenv("VULTR_API_KEY", raising=False)
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    engine = stub(tmp_path, monkeypatch)
    engine.set("vultr:apiKey", KEY)
    engine.knows(state())
    return engine


def entry(type_: str, id_: str, name: str, **inputs: Any) -> dict[str, Any]:
    return {"urn": f"urn:pulumi:prod::anycast-mesh::{type_}::{name}", "type": type_, "id": id_,
            "inputs": inputs, "outputs": inputs}  # fmt: skip


def state(*ids: str, begun: bool = False, identity: str | None = OURS) -> dict[str, Any]:
    """A state with the network's identity, and addresses of these ids; one may be in the making."""
    found = [] if identity is None else [
        entry(stated.IDENTITY, identity, "mesh-vultr-identity", identity=identity)
    ]  # fmt: skip
    found += [entry(ADDRESS, id_, f"mesh-{id_}", node=NODE) for id_ in ids]
    making = {"type": "creating", "resource": entry(ADDRESS, "", "mesh-new", node=NODE)}
    return {"version": 3, "deployment": {"resources": found} | (
        {"pending_operations": [making]} if begun else {}
    )}  # fmt: skip


def reserve(label: str) -> None:
    with connect(KEY) as client:
        body = {"region": "lax", "ip_type": "v4", "label": label}
        client.send("POST", "/reserved-ips", body)


def strays(*words: str, answer: str = "") -> Result:
    done = CliRunner().invoke(app, ["strays", "--stack", "prod", *words], input=answer)
    assert KEY not in done.output
    assert "Traceback" not in done.output
    return done


def test_nothing_is_too_much(engine: Stub, vultr: Vultr) -> None:
    reserve("mail.example.net")
    reserve(Mark(THEIRS, NODE, "address").text())
    done = strays("--remove", "--yes")
    assert (done.exit_code, "have the same" in done.output) == (0, True)
    assert len(vultr.addresses) == 2


def test_a_stray_is_listed_and_stays(engine: Stub, vultr: Vultr) -> None:
    reserve(MARK.text())
    (stray,) = vultr.addresses
    done = strays()
    assert done.exit_code == 1
    assert stray in done.output
    assert set(vultr.addresses) == {stray}


def test_removal_is_asked_for(engine: Stub, vultr: Vultr) -> None:
    reserve(MARK.text())
    assert strays("--remove", answer="n\n").exit_code == 1
    assert len(vultr.addresses) == 1
    assert strays("--remove", answer="y\n").exit_code == 0
    assert vultr.addresses == {}


def test_for_machines(engine: Stub, vultr: Vultr) -> None:
    reserve(MARK.text())
    (stray,) = vultr.addresses.values()
    engine.knows(state("gone"))
    done = strays("--json", "--remove", "--yes")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "stack": "prod",
        "identity": OURS,
        "elsewhere": True,
        "strays": [{
            "kind": "reserved address", "id": stray.id, "label": MARK.text(),
            "where": f"lax {stray.subnet}", "node": NODE, "resource": "address",
            "begun": False, "removed": True, "kept": None,
        }],
        "missing": [{"kind": "reserved address", "id": "gone", "resource": "mesh-gone"}],
    }  # fmt: skip


def test_the_key_of_another_account_is_suspected(engine: Stub, vultr: Vultr) -> None:
    """To follow the usual advice, a refresh, would cost a second fleet."""
    engine.knows(state("one", "two"))
    done = strays()
    assert done.exit_code == 1
    assert "nothing that the state has is in this account" in " ".join(done.output.split())


class TestAnUpdateThatWasCut:
    @pytest.fixture(autouse=True)
    def left(self, engine: Stub, vultr: Vultr) -> None:
        reserve(MARK.text())
        engine.knows(state(begun=True))

    def test_what_it_was_making_is_the_next_updates(self) -> None:
        done = strays()
        assert (done.exit_code, "`pulumi up` adopts it" in done.output) == (1, True)

    def test_goes_when_asked_and_the_state_forgets_it(self, engine: Stub, vultr: Vultr) -> None:
        """An object of a node that is not wanted any more."""
        assert strays("--remove", "--yes").exit_code == 0
        assert vultr.addresses == {}
        assert "pending_operations" not in engine.state["deployment"]

    def test_while_it_runs_nothing_is_removed(self, engine: Stub, vultr: Vultr) -> None:
        engine.lock()
        done = strays("--remove", "--yes")
        assert (done.exit_code, "currently locked" in done.output) == (2, True)
        assert len(vultr.addresses) == 1


def test_what_an_update_takes_on_meanwhile_stays(engine: Stub, vultr: Vultr) -> None:
    reserve(MARK.text())
    (stray,) = vultr.addresses
    engine.knows(state(), then=state(stray))
    done = strays("--remove", "--yes")
    assert done.exit_code == 1
    assert "an update has adopted it meanwhile" in done.output
    assert set(vultr.addresses) == {stray}


def test_what_cannot_be_removed_is_told(engine: Stub, vultr: Vultr) -> None:
    reserve(MARK.text())
    (stray,) = vultr.addresses
    vultr.fail(Fault("DELETE", ".*", refused("Invalid API token.", 401), times=9))
    done = strays("--remove", "--yes")
    assert done.exit_code == 1
    assert f"kept {stray}: vultr:apiKey" in done.output


UNUSABLE = {
    "no API key": (lambda e, _v: (e.folder / "config" / "vultr:apiKey").unlink(), "unset"),
    "a wrong API key": (lambda _e, v: setattr(v, "key", "another"), "does not know this API key"),
    "no state": (lambda e, _v: (e.folder / "state.json").unlink(), "stack prod"),
    "the API out of order": (lambda _e, v: v.fail(Fault("GET", ".*", times=9)), "API fails"),
}


@pytest.mark.parametrize(("cause", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_asked_is_told(engine: Stub, vultr: Vultr, cause: Any, said: str) -> None:
    cause(engine, vultr)
    done = strays("--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())


def test_a_stack_without_an_identity_has_nothing_at_the_api(engine: Stub, vultr: Vultr) -> None:
    engine.knows(state(identity=None))
    reserve(MARK.text())
    done = strays("--remove", "--yes")
    assert (done.exit_code, "has no identity at Vultr" in done.output) == (0, True)
    assert len(vultr.addresses) == 1
