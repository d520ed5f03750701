"""``mesh drain`` and ``mesh undrain``: what is done, what is refused, and what is said."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mesh.cli import orders as module
from mesh.cli import status
from mesh.cli.main import app
from mesh.cli.status import NoState
from mesh.infra.dynamic.documents import write_plan
from mesh.publish import Fleet as State
from mesh.publish import dump_fleet, standing
from mesh.trust import keys
from mesh.trust.documents import Health
from mesh.trust.encoding import dump
from mesh.trust.orders import DRAIN
from tests.cli.test_status import secret, state
from tests.discovery.live import Fleet, Live, live
from tests.publish.nodes import Nodes, speaking

FLEET = Fleet()
LAX, ORD, MIA, EWR = "lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1"


def deployed(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    document = state(
        operator_key=secret(FLEET.key),
        registries={LAX: url},
        plan=write_plan(FLEET.plan),
        fleet=dump_fleet(State(5, "0" * 64, FLEET.members())),
    )
    monkeypatch.setattr(module, "exported", lambda _: document)
    monkeypatch.setattr(status, "exported", lambda _: document)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """A deployed stack whose registry listens."""
    with live(tmp_path, keys.signing_public(FLEET.key), b"a bundle") as one:
        with one.client(FLEET.operator) as client:
            body = dump(FLEET.generation(5).generation)
            assert client.ask("PUT", "/api/v1/generation", body, signed=True).ok
        deployed(monkeypatch, one.url)
        yield one


def mesh(*words: str) -> Result:
    done = CliRunner().invoke(app, list(words))
    assert FLEET.key not in done.output
    return done


def ordered(registry: Live) -> tuple[int, tuple[str, ...]]:
    drains = registry.registry.standing(DRAIN)
    return (0, ()) if drains is None else (drains.order.number, drains.order.nodes)


def test_a_node_is_drained_and_brought_back(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry)):
        drained = mesh("drain", MIA)
        assert ordered(registry) == (1, (MIA,))
        back = mesh("undrain", MIA)
    assert (drained.exit_code, back.exit_code) == (0, 0)
    assert f"drain order 1: {MIA}" in drained.stdout
    assert f"{MIA}: has withdrawn, after" in drained.stdout
    assert "drain order 2: nobody" in back.stdout
    assert f"{MIA}: is back, after" in back.stdout
    assert ordered(registry) == (2, ())


def test_the_last_node_that_announces_is_drained_only_by_force(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, dark={EWR})):
        for node in (MIA, ORD):
            assert mesh("drain", node).exit_code == 0
        refused = mesh("drain", LAX)
        assert refused.exit_code == module.REFUSED
        assert f"{LAX}: is the last node that announces" in refused.output
        assert "--force" in refused.output
        assert ordered(registry) == (2, (MIA, ORD))
        # It announces nothing anyway.
        assert mesh("drain", EWR).exit_code == 0
        assert mesh("drain", LAX, "--force").exit_code == 0
    assert ordered(registry) == (4, (EWR, LAX, MIA, ORD))


def test_who_speaks_of_a_time_to_come_is_not_counted_on(registry: Live) -> None:
    """A stolen node says once that it announces, with the highest number that there is."""
    with speaking(Nodes(FLEET, registry)) as nodes:
        last = FLEET.report(ORD, FLEET.generation(5), sequence=2**53 - 1)
        with registry.client(FLEET.node(ORD)) as client:
            assert client.ask("POST", "/api/v1/report", dump(last), signed=True).ok
        nodes.dark |= {MIA, EWR}
        nodes.speak()
        refused = mesh("drain", LAX)
    assert refused.exit_code == module.REFUSED
    assert f"{LAX}: is the last node that announces" in refused.output


@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_a_registry_that_shows_an_old_order_is_said(registry: Live, verb: str) -> None:
    """Built on, it would bring back whom it does not name."""
    obeying(registry, 3, EWR, ORD)
    done = mesh(verb, MIA)
    assert done.exit_code == 2
    assert f"the highest is 0, but {EWR} has obeyed 3, {ORD} has obeyed 3" in done.output
    assert ordered(registry) == (0, ())


def obeying(registry: Live, number: int, *nodes: str) -> None:
    """These nodes' word that they have obeyed that order."""
    health = Health(True, {}, {}, drain=number)
    for node in nodes:
        said = FLEET.report(node, FLEET.generation(5), time.time_ns() // 1000, health=health)
        with registry.client(FLEET.node(node)) as client:
            assert client.ask("POST", "/api/v1/report", dump(said), signed=True).ok


def test_a_stolen_node_is_drained_whatever_number_it_invents(
    registry: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "PATIENCE", 0.5)
    obeying(registry, 2**53 - 1, MIA)
    done = mesh("drain", MIA, "--force", "--wait", "0")
    assert done.exit_code == 0, done.output
    assert f"warning: {MIA} says that it has obeyed drain order {2**53 - 1}" in done.stdout
    assert ordered(registry) == (1, (MIA,))


def test_a_service_that_goes_with_its_node_is_said(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, alone={"east": MIA})):
        done = mesh("drain", MIA)
    assert f"warning: east: nobody else serves it; it goes with {MIA}" in done.stdout
    assert "warning: web" not in done.stdout


def test_a_node_that_does_not_hear_is_waited_for_no_longer_than_asked(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, deaf={MIA})):
        done = mesh("drain", MIA, "--wait", "1")
        assert done.exit_code == module.NOT_YET
        assert f"{MIA}: no word within 1 s; the order stands" in done.stdout
        # Asked for once more: no second order.
        assert mesh("drain", MIA, "--wait", "0").exit_code == 0
    assert ordered(registry) == (1, (MIA,))


def test_a_node_that_is_back_and_announces_nothing_is_told_apart(registry: Live) -> None:
    nodes = Nodes(FLEET, registry)
    with speaking(nodes):
        mesh("drain", MIA)
        nodes.dark.add(MIA)
        done = mesh("undrain", MIA, "--wait", "1")
    assert done.exit_code == module.NOT_YET
    assert f"{MIA}: drained no more, but announces nothing yet" in done.stdout


def test_an_undrain_of_who_is_not_drained_is_no_order(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry)):
        done = mesh("undrain", MIA)
    assert done.exit_code == 0
    assert f"{MIA}: is to be in service already" in done.stdout
    assert ordered(registry) == (0, ())


@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_a_node_that_is_none_is_refused_with_those_that_are(registry: Live, verb: str) -> None:
    done = mesh(verb, "lax-vultr-7")
    assert done.exit_code == 2
    assert "lax-vultr-7: is no node of the stack lab" in done.output
    assert EWR in done.output
    assert ordered(registry) == (0, ())


@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_without_a_registry_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    deployed(monkeypatch, "https://127.0.0.1:1")
    done = mesh(verb, MIA)
    assert done.exit_code == 2
    assert "no registry answers" in done.output
    assert "127.0.0.1:1" in done.output


def test_a_stack_that_published_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> dict[str, Any]:
        raise NoState("stack prod: no such stack")

    monkeypatch.setattr(module, "exported", nothing)
    done = mesh("drain", MIA, "--stack", "prod")
    assert done.exit_code == 2
    assert "stack prod: no such stack" in done.output


def test_a_drained_node_is_shown_by_the_status(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, deaf={ORD})):
        mesh("drain", MIA)
        mesh("drain", ORD, "--wait", "0")
        told = mesh("status", "--json")
        table = mesh("status")
    assert told.exit_code == table.exit_code == 0
    shown = {name: node["drain"] for name, node in json.loads(told.stdout)["nodes"].items()}
    assert shown == {LAX: "", EWR: "", MIA: "drained", ORD: "draining"}
    cells = {line.split()[0]: line.split()[3] for line in table.stdout.splitlines()[2:]}
    assert cells == {LAX: "yes", EWR: "yes", MIA: "drained", ORD: "draining"}
