"""``mesh drain`` and ``mesh undrain``: what is done, what is refused, and what is said."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mesh.cli.deployed import NoState
from mesh.cli.exits import ExitCode
from mesh.cli.main import app
from mesh.plan.document import write_plan
from mesh.publish import Fleet as State
from mesh.publish import dump_fleet, order_log
from mesh.publish.registry_pool import Deadline
from mesh.registry.paths import MAKE_ROOM
from mesh.trust.documents import Down, Health, Report
from mesh.trust.encoding import dump, parse
from mesh.trust.orders import DRAIN
from mesh.trust.signing import Signed
from tests.cli.test_status import secret, state
from tests.kit.nodes import Nodes, speaking
from tests.kit.registry import Live, holding, shared_fleet
from tests.kit.wait import PATIENCE
from tests.registry.test_full_disk import READ_ONLY, refusing

FLEET = shared_fleet()
LAX, ORD, MIA, EWR = "lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1"


def deployed(
    monkeypatch: pytest.MonkeyPatch, url: str, plan: str = "", fleet: State | None = None
) -> None:
    document = state(
        operator_key=secret(FLEET.key),
        registries={LAX: url},
        plan=plan or write_plan(FLEET.plan),
        fleet=dump_fleet(fleet or State(5, "0" * 64, FLEET.members())),
    )
    monkeypatch.setattr("mesh.cli.deployed.exported", lambda _: document)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """A deployed stack whose registry listens."""
    with holding(tmp_path, FLEET) as one:
        deployed(monkeypatch, one.url)
        yield one


def mesh(*words: str) -> Result:
    done = CliRunner().invoke(app, list(words))
    assert FLEET.key not in done.output
    return done


def ordered(registry: Live) -> tuple[int, tuple[str, ...]]:
    drains = registry.registry.standing(DRAIN)
    return (0, ()) if drains is None else (drains.order.number, drains.order.nodes)


@pytest.fixture
def heard(registry: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for nodes hears what all say of the order before the time is up: a busy machine
    lets them speak late."""

    class Heard(Deadline):
        @property
        def over(self) -> bool:
            reports = [
                parse(Report, parse(Signed, text).payload)
                for text in registry.registry.store.reports()
            ]
            number, _ = ordered(registry)
            return super().over and all(one.health.drain >= number for one in reports)

    monkeypatch.setattr("mesh.publish.drain.Deadline", Heard)


def test_a_node_is_drained_and_brought_back(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry)):
        drained = mesh("drain", MIA)
        assert ordered(registry) == (1, (MIA,))
        back = mesh("undrain", MIA)
    assert (drained.exit_code, back.exit_code) == (0, 0)
    assert f"drain order 1: {MIA}" in drained.stdout
    assert f"{MIA}: has withdrawn, after" in drained.stdout
    assert "drain order 2: no node" in back.stdout
    assert f"{MIA}: is back, after" in back.stdout
    assert ordered(registry) == (2, ())


def test_a_registry_that_stores_nothing_is_named_with_what_to_do(registry: Live) -> None:
    """It is the only one, so that its nodes go silent."""
    with speaking(Nodes(FLEET, registry)):
        assert mesh("drain", MIA).exit_code == 0
    with refusing(registry, FLEET, READ_ONLY):
        drained, shown = mesh("drain", ORD), mesh("status")
        document = json.loads(mesh("status", "--json").stdout)
    text = " ".join(drained.stderr.split())
    assert drained.exit_code == ExitCode.UNUSABLE
    assert f"{LAX}: HTTP 507" in text and READ_ONLY in text and MAKE_ROOM in text
    assert document["registries"] == {registry.url: f"takes no writes: {READ_ONLY}; {MAKE_ROOM}"}
    problem = f"registry {registry.url}: takes no writes: {READ_ONLY}; {MAKE_ROOM}"
    assert problem in document["problems"] and shown.exit_code == ExitCode.FAILED
    assert problem in " ".join(shown.stdout.split())


def test_the_last_node_that_announces_is_drained_only_by_force(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, dark={EWR})):
        for node in (MIA, ORD):
            assert mesh("drain", node).exit_code == 0
        refused = mesh("drain", LAX)
        assert refused.exit_code == ExitCode.REFUSED
        assert f"{LAX}: is the last node that announces" in refused.output
        assert "--force" in refused.output
        assert ordered(registry) == (2, (MIA, ORD))
        # It announces nothing anyway.
        assert mesh("drain", EWR).exit_code == 0
        assert mesh("drain", LAX, "--force").exit_code == 0
    assert ordered(registry) == (4, (EWR, LAX, MIA, ORD))


def test_it_waits_longer_than_a_node_lingers(
    registry: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def wait(_: object, nodes: Collection[str], seconds: float, **__: object) -> list[str]:
        waited.append(seconds)
        return []

    monkeypatch.setattr("mesh.publish.drain.Drains.wait", wait)
    with speaking(Nodes(FLEET, registry)):
        assert mesh("drain", MIA).exit_code == 0
        assert mesh("drain", MIA, "--wait", "9").exit_code == 0
    assert waited == [30 + FLEET.plan.linger, 9]


def leaving(health: Health) -> Health:
    """A node in its own drain before an update."""
    return replace(health, in_service=False, announced={}, update="draining")


def warning(health: Health) -> Health:
    """The same in its first seconds: it announces with graceful shutdown."""
    return replace(health, update="draining")


@pytest.mark.parametrize("bend", [leaving, warning])
def test_a_node_that_drains_for_an_update_is_not_counted_on_and_named(
    registry: Live, bend: Callable[[Health], Health]
) -> None:
    with speaking(Nodes(FLEET, registry, bend={EWR: bend})):
        for node in (MIA, ORD):
            assert mesh("drain", node, "--wait", "0").exit_code == 0
        refused = mesh("drain", LAX)
    assert refused.exit_code == ExitCode.REFUSED
    assert f"not counted, since they take an update over: {EWR}" in refused.output


def downed(*names: str) -> Callable[[Health], Health]:
    """A node on which these sessions are down."""

    def bend(health: Health) -> Health:
        announced = {n: p for n, p in (health.announced or {}).items() if n not in names}
        return replace(
            health,
            sessions={n: "Active" if n in names else s for n, s in health.sessions.items()},
            announced=announced,
            down={n: Down("Socket: Connection refused", int(time.time()) - 75) for n in names},
        )

    return bend


def hung(health: Health) -> Health:
    """A node whose BIRD does not answer."""
    return replace(health, bird="runs, and does not answer", sessions={}, announced=None)


def older(health: Health) -> Health:
    """What an agent from before this says, of which BIRD does not answer."""
    return replace(health, bird=None, sessions={}, announced=None)


BENT = {
    "both sessions down": (downed("vultr4", "vultr6"), "192.30.120.0/23 and 2620:71:4000::/48", ""),
    "IPv6 down": (downed("vultr6"), " 2620:71:4000::/48,", ""),
    "BIRD hangs": (hung, "192.30.120.0/23 and", "its BIRD runs, and does not answer"),
}


@pytest.mark.parametrize(("bend", "prefixes", "doubt"), BENT.values(), ids=BENT)
def test_who_announces_nothing_in_effect_is_not_counted_on(
    registry: Live, bend: Callable[[Health], Health], prefixes: str, doubt: str
) -> None:
    """New York is told to announce, and its upstream does not hear it: on the others it hangs."""
    with speaking(Nodes(FLEET, registry, bend={EWR: bend})):
        assert mesh("drain", MIA, "--wait", "0").exit_code == 0
        assert mesh("drain", ORD, "--wait", "0").exit_code == 0
        refused = mesh("drain", LAX)
        assert refused.exit_code == ExitCode.REFUSED
        assert f"{LAX}: is the last node that announces" in refused.output
        assert prefixes in refused.output
        assert (f"their state is unknown: {EWR} ({doubt}" in refused.output) == bool(doubt)
        region = mesh("region", "withdraw", "lax")
        assert region.exit_code == ExitCode.REFUSED
        assert f"{LAX}: is the last node that announces" in region.output
    assert ordered(registry) == (2, (MIA, ORD))


@pytest.mark.usefixtures("heard")
def test_a_node_is_back_once_its_upstreams_hear_it_and_else_it_is_said_who_does_not(
    registry: Live,
) -> None:
    nodes = Nodes(FLEET, registry)
    with speaking(nodes):
        assert mesh("drain", MIA).exit_code == 0
        nodes.bend[MIA] = downed("vultr6")
        done = mesh("undrain", MIA, "--wait", "1")
        assert done.exit_code == ExitCode.FAILED
        assert (
            f"{MIA}: no longer drained, but announces IPv4 only: vultr6 is down (Active, Socket: "
            f"Connection refused)"
        ) in done.stdout
        nodes.bend.clear()
        nodes.speak()
        assert mesh("region", "announce", "mia").exit_code == 0


def test_who_still_exports_has_not_withdrawn(registry: Live) -> None:
    nodes = Nodes(FLEET, registry)
    exported = FLEET.well(MIA).announced
    nodes.bend[MIA] = lambda health: replace(health, announced=exported)
    with speaking(nodes):
        done = mesh("drain", MIA, "--wait", "1")
    assert done.exit_code == ExitCode.FAILED
    assert f"{MIA}: no report within 1 s" in done.stdout


def test_without_a_plan_that_can_be_read_nobody_is_drained_unforced(
    monkeypatch: pytest.MonkeyPatch, registry: Live
) -> None:
    deployed(monkeypatch, registry.url, plan="{}")
    with speaking(Nodes(FLEET, registry)):
        refused = mesh("drain", MIA)
        assert refused.exit_code == ExitCode.REFUSED
        assert "is of another version of this program" in refused.output
        assert mesh("drain", MIA, "--force").exit_code == 0


def test_who_speaks_of_a_time_to_come_is_not_counted_on(registry: Live) -> None:
    """A stolen node says once that it announces, with the highest number that there is."""
    with speaking(Nodes(FLEET, registry)) as nodes:
        last = FLEET.report(ORD, FLEET.generation(5), sequence=2**53 - 1)
        with registry.client(FLEET.node(ORD)) as client:
            assert client.ask("POST", "/api/v1/report", dump(last), signed=True).ok
        nodes.dark |= {MIA, EWR}
        nodes.speak()
        refused = mesh("drain", LAX)
    assert refused.exit_code == ExitCode.REFUSED
    assert f"{LAX}: is the last node that announces" in refused.output


@pytest.mark.parametrize("words", [("drain", MIA), ("region", "withdraw", "mia")])
def test_a_node_that_refuses_an_order_is_said_with_its_reason_at_once(
    registry: Live, words: tuple[str, ...]
) -> None:
    """Nothing would come of waiting, and the order is not obeyed as soon as it is read there."""
    with speaking(Nodes(FLEET, registry, refusing={MIA})):
        began = time.monotonic()
        done = mesh(*words, "--wait", "300")
        assert time.monotonic() - began < PATIENCE
        shown = mesh("status")
    assert done.exit_code == ExitCode.NODE_REFUSES
    line = f"{MIA} refuses drain order 1: of the network N, and this node is of M; if this is the"
    assert line in done.stdout and f"mesh replace {MIA}" in done.stdout
    assert "is obeyed as soon as" not in done.stdout
    assert shown.exit_code == ExitCode.FAILED
    assert line in shown.stdout and f"{MIA} refuses generation 5" in shown.stdout


def test_who_has_not_spoken_is_told_apart_from_who_refuses(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, refusing={MIA}, deaf={EWR})):
        both = mesh("drain", EWR, "--wait", "1"), mesh("drain", MIA)
        back = mesh("undrain", MIA)
    assert [done.exit_code for done in (*both, back)] == [
        ExitCode.FAILED,
        ExitCode.NODE_REFUSES,
        ExitCode.NODE_REFUSES,
    ]
    assert f"{EWR}: no report within 1 s; the order stays active" in both[0].stdout
    assert f"{MIA} refuses drain order 3" in back.stdout


def test_registries_of_another_network_are_said_and_nothing_is_ordered(
    registry: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = State(5, "0" * 64, FLEET.members(), network="as27218-another")
    deployed(monkeypatch, registry.url, fleet=fleet)
    done = mesh("drain", MIA)
    assert done.exit_code == ExitCode.UNUSABLE
    assert "of the network as27218-prod, and this stack's is as27218-another" in done.output
    assert "mesh replace <node>" in done.output
    assert ordered(registry) == (0, ())
    shown = mesh("status")
    assert shown.exit_code == ExitCode.FAILED
    assert "holds a generation of the network as27218-prod, not of as27218-another" in shown.stdout


@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_a_registry_that_shows_an_old_order_is_said(registry: Live, verb: str) -> None:
    """Built on, it would bring back whom it does not name."""
    obeying(registry, 3, EWR, ORD)
    done = mesh(verb, MIA)
    assert done.exit_code == 2
    assert f"the highest is 0, but {EWR} has applied 3, {ORD} has applied 3" in done.output
    assert ordered(registry) == (0, ())


def obeying(registry: Live, number: int, *nodes: str) -> None:
    """These nodes' word that they have obeyed that order."""
    for node in nodes:
        health = FLEET.well(node, drain=number)
        said = FLEET.report(node, FLEET.generation(5), time.time_ns() // 1000, health=health)
        with registry.client(FLEET.node(node)) as client:
            assert client.ask("POST", "/api/v1/report", dump(said), signed=True).ok


def test_a_stolen_node_is_drained_whatever_number_it_invents(
    registry: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_log, "PATIENCE", 0.5)
    obeying(registry, 2**53 - 1, MIA)
    done = mesh("drain", MIA, "--force", "--wait", "0")
    assert done.exit_code == 0, done.output
    assert f"warning: {MIA} reports that it has applied drain order {2**53 - 1}" in done.stdout
    assert ordered(registry) == (1, (MIA,))


def test_a_service_that_goes_with_its_node_is_said(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, alone={"east": MIA})):
        done = mesh("drain", MIA)
    assert f"warning: east: no other node serves it than {MIA}" in done.stdout
    assert "warning: web" not in done.stdout


def test_a_node_that_does_not_hear_is_waited_for_no_longer_than_asked(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, deaf={MIA})):
        done = mesh("drain", MIA, "--wait", "1")
        assert done.exit_code == ExitCode.FAILED
        assert f"{MIA}: no report within 1 s; the order stays active" in done.stdout
        # Asked for once more: no second order.
        assert mesh("drain", MIA, "--wait", "0").exit_code == 0
    assert ordered(registry) == (1, (MIA,))


@pytest.mark.usefixtures("heard")
def test_a_node_that_is_back_and_announces_nothing_is_told_apart(registry: Live) -> None:
    nodes = Nodes(FLEET, registry)
    with speaking(nodes):
        mesh("drain", MIA)
        nodes.dark.add(MIA)
        done = mesh("undrain", MIA, "--wait", "1")
    assert done.exit_code == ExitCode.FAILED
    assert f"{MIA}: no longer drained, but announces nothing: it is out of service" in done.stdout


def test_an_undrain_of_who_is_not_drained_is_no_order(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry)):
        done = mesh("undrain", MIA)
    assert done.exit_code == 0
    assert f"{MIA}: is in service by order already" in done.stdout
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

    monkeypatch.setattr("mesh.cli.deployed.exported", nothing)
    done = mesh("drain", MIA, "--stack", "prod")
    assert done.exit_code == 2
    assert "stack prod: no such stack" in done.output


def test_a_drained_node_is_shown_by_the_status(registry: Live) -> None:
    nodes = Nodes(FLEET, registry, deaf={ORD})
    with speaking(nodes):
        mesh("drain", MIA)
        assert mesh("status").exit_code == 0, "a deliberate drain is well"
        mesh("drain", ORD, "--wait", "0")
        told = mesh("status", "--json")
        table = mesh("status")
    assert told.exit_code == table.exit_code == 1
    document = json.loads(told.stdout)
    shown = {name: node["drain"] for name, node in document["nodes"].items()}
    assert shown == {LAX: "", EWR: "", MIA: "drained", ORD: "draining"}
    assert document["drained"] == [MIA, ORD]
    assert document["problems"] == [f"{ORD}: has not applied drain order 2 yet"]
    cells = {line.split()[0]: line.split()[3] for line in table.stdout.splitlines()[2:6]}
    assert cells == {LAX: "v4", EWR: "v4", MIA: "drained", ORD: "draining"}
    assert f"drained by order 2: {MIA}, {ORD}" in table.stdout


# --- who asks who announces ----------------------------------------------------------------------


def test_a_bird_that_is_gone_is_unknown_to_the_status_and_not_well(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, bend={EWR: hung, MIA: older, ORD: downed("vultr6")})):
        shown = mesh("status")
        told = mesh("status", "--json")
    assert shown.exit_code == told.exit_code == ExitCode.FAILED
    rows = {line.split()[0]: line.split()[1:] for line in shown.stdout.splitlines()[2:6]}
    assert rows[EWR] == ["applied", "5", "unknown", "web", "unknown"]
    assert rows[MIA] == ["applied", "5", "unknown", "web", "unknown"]
    assert rows[ORD] == ["applied", "5", "v4", "only", "web", "10", "of", "11"]
    assert rows[LAX] == ["applied", "5", "v4", "v6", "web", "11", "of", "11"]
    assert f"2620:71:4000::/48: announced by {LAX}; not by {ORD}; unknown of {EWR}, {MIA}" in (
        shown.stdout
    )
    line = rf"^{ORD}: vultr6 is down for \d+ s \(Active\): Socket: Connection refused$"
    assert re.search(line, shown.stdout, re.MULTILINE)
    assert f"{EWR}: its BIRD runs, and does not answer: " in shown.stdout
    document = json.loads(told.stdout)
    assert document["nodes"][EWR]["announces"]["192.30.120.0/23"] == "unknown"
    assert document["nodes"][EWR]["bird"] == "runs, and does not answer"
    down = document["nodes"][ORD]["down"]["vultr6"]
    assert (down["state"], down["error"]) == ("Active", "Socket: Connection refused")
    assert 75 <= down["age"] < 75 + PATIENCE
    assert set(document["prefixes"]["192.30.120.0/23"]["announcers"]) == {LAX, ORD}


def test_a_silent_nodes_old_words_are_not_shown_as_if_they_were_of_now(registry: Live) -> None:
    nodes = Nodes(FLEET, registry, mute={ORD})
    old = FLEET.report(ORD, FLEET.generation(5), time.time_ns() // 1000 - 60 * 10**6)
    with registry.client(FLEET.node(ORD)) as client:
        assert client.ask("POST", "/api/v1/report", dump(old), signed=True).ok
    with speaking(nodes):
        shown = mesh("status")
    assert shown.exit_code == ExitCode.FAILED
    (row,) = [line.split() for line in shown.stdout.splitlines() if line.startswith(f"{ORD} ")]
    assert row == [ORD, "silent", "5", "unknown", "unknown", "unknown"]
    age = re.search(rf"^{ORD}: silent: last report (\d+) s ago; ", shown.stdout, re.MULTILINE)
    assert age is not None and 60 <= int(age[1]) < 60 + PATIENCE
