"""Who is drained: ordered by the operator, obeyed by signed word, and kept over publications."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from mesh.publish import Fleet as State
from mesh.publish import Member, PublishError, dump_fleet, load_fleet, order_log, publish, stages
from mesh.publish.drain import Drains
from mesh.publish.mesh_health import health
from mesh.publish.registry_pool import RegistryPool
from mesh.registry import paths
from mesh.registry.client import Answer, Unreachable
from mesh.trust import keys, signing
from mesh.trust.documents import DrainOrder, Health
from mesh.trust.encoding import dump
from mesh.trust.orders import DRAIN
from mesh.trust.signing import Purpose, Signed
from tests.kit.nodes import Nodes, speaking
from tests.kit.registry import PLACES, Fleet, Live, holding, shared_fleet
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import PATIENCE, until

pytestmark = pytest.mark.usefixtures("soon_steady")

FLEET = shared_fleet()
NETWORK = FLEET.network
LAX, ORD, MIA, EWR = "lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1"
IDENTITIES = {node: member.identity for node, member in FLEET.members().items()}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Live]:
    with holding(tmp_path, FLEET) as one:
        yield one


@pytest.fixture
def drainage(registry: Live) -> Iterator[Drains]:
    pool = RegistryPool(FLEET.key, {LAX: registry.url})
    yield Drains(pool, FLEET.key, NETWORK, IDENTITIES)
    pool.close()


def held(registry: Live) -> DrainOrder | None:
    drains = registry.registry.standing(DRAIN)
    return None if drains is None else drains.order


# --- orders --------------------------------------------------------------------------------------


def test_an_order_says_the_whole_and_changes_only_who_was_asked_for(
    drainage: Drains, registry: Live
) -> None:
    drainage.change(drain=[MIA])
    drainage.change(drain=[LAX])
    assert held(registry) == DrainOrder(NETWORK, 2, (LAX, MIA))
    drainage.change(drain=[ORD], undrain=[MIA])
    assert held(registry) == DrainOrder(NETWORK, 3, (LAX, ORD))


def test_what_is_so_already_is_not_ordered_again(drainage: Drains, registry: Live) -> None:
    assert drainage.change(undrain=[LAX]) is None
    assert held(registry) is None
    drainage.change(drain=[LAX])
    assert drainage.change(drain=[LAX], undrain=[MIA]) == DrainOrder(NETWORK, 1, (LAX,))


def test_orders_that_cross_lose_nobody(registry: Live) -> None:
    """Hooks of several servers run side by side."""

    def drain(node: str) -> None:
        pool = RegistryPool(FLEET.key, {LAX: registry.url})
        Drains(pool, FLEET.key, NETWORK, IDENTITIES).change(drain=[node])
        pool.close()

    threads = [threading.Thread(target=drain, args=(node,)) for node in (LAX, ORD, MIA)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    order = held(registry)
    assert order is not None and set(order.nodes) == {LAX, ORD, MIA}


def test_where_no_registry_takes_it_the_reason_is_said() -> None:
    pool = RegistryPool(FLEET.key, {LAX: "https://127.0.0.1:1"})
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        Drains(pool, FLEET.key, NETWORK, IDENTITIES).change(drain=[MIA])


class Refuser:
    """The way to a registry that refuses every drain order, and shows in its place what it
    likes."""

    def __init__(self, shown: Signed | None) -> None:
        self.shown = shown
        self.ahead: float | None = None

    def ask(self, method: str, target: str, body: bytes = b"", **_: Any) -> Answer:
        if target != paths.DRAIN:
            return Answer(200, b"[]")
        if method == "PUT":
            return Answer(409, b"is not above what is held")
        return Answer(204, b"") if self.shown is None else Answer(200, dump(self.shown))

    def close(self) -> None:
        pass


def signed(number: int, *nodes: str, key: str = FLEET.key, network: str = NETWORK) -> Signed:
    return signing.signed_document(key, Purpose.DRAIN, DrainOrder(network, number, nodes))


REFUSERS = {
    "nothing": None,
    "an old order": signed(1, ORD),
    "a stranger's": signed(9, key=keys.new_operator_key()[0]),
    "another network's": signed(2**53 - 1, network="as27218-lab"),
}


@pytest.mark.parametrize("shown", REFUSERS)
def test_one_registry_that_refuses_vetoes_nothing(registry: Live, shown: str) -> None:
    """It comes first, and has nothing to show that would stand above ours."""
    pool = RegistryPool(FLEET.key, {LAX: registry.url})
    drainage = Drains(pool, FLEET.key, NETWORK, IDENTITIES)
    drainage.change(drain=[ORD])
    lying: Any = Refuser(REFUSERS[shown])
    pool._clients = {"a-liar": lying} | pool._clients
    assert drainage.change(drain=[MIA]) == DrainOrder(NETWORK, 2, (MIA, ORD))
    assert drainage.change(undrain=[MIA, ORD]) == DrainOrder(NETWORK, 3, ())
    assert held(registry) == DrainOrder(NETWORK, 3, ())
    pool.close()


def test_where_all_refuse_each_is_named() -> None:
    pool = RegistryPool(FLEET.key, {})
    lying: Any = Refuser(None)
    pool._clients = {"a-liar": lying}
    with pytest.raises(Unreachable, match="a-liar: HTTP 409"):
        Drains(pool, FLEET.key, NETWORK, IDENTITIES).change(drain=[MIA])


# --- registries that show an old order --------------------------------------------------------


def obeying(registry: Live, node: str, number: int) -> None:
    """The node's word that it has obeyed that order."""
    said = FLEET.report(node, FLEET.generation(5), health=Health(True, {}, {}, drain=number))
    with registry.client(FLEET.node(node)) as client:
        assert client.ask("POST", "/api/v1/report", dump(said), signed=True).ok


def test_the_operators_memory_stands_above_what_a_registry_shows(registry: Live) -> None:
    """Else who is drained would be signed back in."""
    pool = RegistryPool(FLEET.key, {LAX: registry.url})
    Drains(pool, FLEET.key, NETWORK, IDENTITIES).change(drain=[EWR])
    known = DrainOrder(NETWORK, 7, (MIA, ORD))
    remembering = Drains(pool, FLEET.key, NETWORK, IDENTITIES, known)
    assert remembering.drained() == {MIA, ORD}
    # It is so already; the registry is brought what it does not show.
    assert remembering.change(drain=[MIA]) == known == held(registry)
    assert remembering.change(drain=[LAX]) == DrainOrder(NETWORK, 8, (LAX, MIA, ORD))
    # What we remember is overtaken by what a registry can show.
    later = Drains(pool, FLEET.key, NETWORK, IDENTITIES, known)
    assert later.drained() == {LAX, MIA, ORD}
    pool.close()


@pytest.mark.parametrize("shown", [0, 1])
def test_an_order_below_what_two_nodes_have_obeyed_is_not_built_on(
    drainage: Drains, registry: Live, shown: int
) -> None:
    if shown:
        drainage.change(drain=[EWR])
    obeying(registry, MIA, 7)
    obeying(registry, ORD, 7)
    both = f"{MIA} has applied 7, {ORD} has applied 7"
    old = rf"old drain order: the highest is {shown}, but {both}; bring back"
    for change in ({"drain": [LAX]}, {"undrain": [EWR]}):
        with pytest.raises(Unreachable, match=old):
            drainage.change(**change)
    order = held(registry)
    assert (0 if order is None else order.number) == shown


HIGHEST = 2**53 - 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_log, "PATIENCE", 0.5)


@pytest.mark.parametrize("shown", [0, 1])
@pytest.mark.usefixtures("impatient")
def test_one_node_vetoes_no_order_by_a_number_that_it_has_invented(
    registry: Live, monkeypatch: pytest.MonkeyPatch, shown: int
) -> None:
    """Not even the one that drains it."""
    pool, lines = RegistryPool(FLEET.key, {LAX: registry.url}), list[str]()
    drainage = Drains(pool, FLEET.key, NETWORK, IDENTITIES, warn=lines.append)
    if shown:
        drainage.change(drain=[EWR])
    obeying(registry, MIA, HIGHEST)
    order = drainage.change(drain=[MIA])
    assert order == held(registry) == DrainOrder(NETWORK, shown + 1, (EWR, MIA)[1 - shown :])
    (line,) = lines
    assert line.startswith(f"warning: {MIA} reports that it has applied drain order {HIGHEST}")
    assert f"mesh replace {MIA}" in line
    # It is not waited for again, and not spoken of.
    with monkeypatch.context() as patient:
        patient.setattr(order_log, "PATIENCE", 300.0)
        began = time.monotonic()
        assert drainage.change(undrain=[MIA, EWR]) == held(registry)
        assert time.monotonic() - began < PATIENCE and lines == [line]
    # A second one that says so changes it all.
    obeying(registry, ORD, shown + 3)
    with pytest.raises(Unreachable, match="old drain order"):
        drainage.change(drain=[LAX])
    pool.close()


def test_an_honest_node_brings_its_order_to_a_registry_that_has_lost_it(
    drainage: Drains, registry: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its report may be there first: it is waited for, and what it had obeyed is built on."""
    monkeypatch.setattr(order_log, "PATIENCE", PATIENCE)
    obeying(registry, MIA, 7)

    def bring() -> None:
        time.sleep(0.5)
        with registry.client() as client:
            assert client.ask("PUT", "/api/v1/drain", dump(signed(7, MIA, ORD))).ok

    thread = threading.Thread(target=bring)
    thread.start()
    assert drainage.change(drain=[LAX]) == DrainOrder(NETWORK, 8, (LAX, MIA, ORD))
    thread.join(PATIENCE)


@pytest.mark.usefixtures("impatient")
def test_where_registries_differ_one_nodes_word_stops_all(registry: Live) -> None:
    """One of them has lost something, or hides it."""
    pool = RegistryPool(FLEET.key, {LAX: registry.url})
    drainage = Drains(pool, FLEET.key, NETWORK, IDENTITIES)
    drainage.change(drain=[EWR])
    obeying(registry, MIA, 7)
    other: Any = Refuser(None)
    pool._clients = {ORD: other} | pool._clients
    with pytest.raises(Unreachable, match=f"old drain order: the highest is 1, but {MIA} has"):
        drainage.change(drain=[LAX])
    # The registry on the very node that says so is no second witness.
    pool._clients = {MIA: other, LAX: pool._clients[LAX]}
    assert drainage.change(drain=[LAX]) == DrainOrder(NETWORK, 2, (EWR, LAX))
    pool.close()


@pytest.mark.usefixtures("impatient")
def test_what_the_operator_remembers_above_all_registries_is_not_passed_over(
    registry: Live,
) -> None:
    """They have lost it: a node above even that may know better."""
    pool = RegistryPool(FLEET.key, {LAX: registry.url})
    known = DrainOrder(NETWORK, 5, (ORD,))
    drainage = Drains(pool, FLEET.key, NETWORK, IDENTITIES, known)
    obeying(registry, MIA, 7)
    with pytest.raises(Unreachable, match=f"old drain order: the highest is 5, but {MIA} has"):
        drainage.change(drain=[LAX])
    pool.close()


def test_an_old_order_ends_no_publication(registry: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether registries or nodes hold it: a node that is made anew stays drained, and a warning
    says so. Chicago does not report, and is waited for in vain."""
    monkeypatch.setattr(stages, "SILENT_SECONDS", 0.5)
    with registry.client() as client:
        assert client.ask("PUT", "/api/v1/drain", dump(signed(1, MIA))).ok
    obeying(registry, LAX, 7)
    obeying(registry, EWR, 7)
    fleet, before = with_a_new_server(registry)
    lines: list[str] = []
    order = fleet.order(registries={LAX: registry.url}, deadline=300.0, settle=1.0)

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("generation 6 signed"):
            speaker.start()

    nodes = Nodes(fleet, registry, deaf={MIA})
    speaker = threading.Thread(target=nodes.speak)
    done, _ = publish(order, before, say)
    speaker.join(PATIENCE)
    assert done.generation == 6
    start = (
        f"warning: {MIA}: has a new server and is still drained (mesh undrain): the registries "
        f"hold an old"
    )
    assert [line for line in lines if line.startswith(start)]


def test_a_state_from_before_there_were_orders_is_read() -> None:
    order = DrainOrder(NETWORK, 2, (ORD,))
    fleet = State(5, "0" * 64, FLEET.members(), order)
    assert load_fleet(dump_fleet(fleet)) == fleet
    text = json.loads(dump_fleet(fleet))
    del text["drain"]
    assert load_fleet(json.dumps(text)) == replace(fleet, drain=None)


# --- the nodes' word -----------------------------------------------------------------------------


def test_only_a_nodes_own_word_on_this_order_counts(drainage: Drains, registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, deaf={MIA})):
        until(lambda: drainage.wait([LAX, MIA], 2.0) == [MIA], 4, "Miami alone is missing")
        assert drainage.wait([LAX], 60.0, drain=False) == []
    assert held(registry) == DrainOrder(NETWORK, 2, (MIA,))


def test_a_registry_that_is_away_for_a_moment_does_not_end_the_wait() -> None:
    pool = RegistryPool(FLEET.key, {LAX: "https://127.0.0.1:1"})
    began = time.monotonic()
    with pytest.raises(Unreachable):
        Drains(pool, FLEET.key, NETWORK, IDENTITIES).wait([MIA], 1.0)
    assert time.monotonic() - began >= 1.0
    # Silence is nobody's word that it is back.
    assert Drains(pool, FLEET.key, NETWORK, IDENTITIES).wait([MIA], 1.0, drain=False) == [MIA]


def test_an_order_is_given_again_above_one_that_was_brought_back(
    drainage: Drains, registry: Live
) -> None:
    """The registry had lost its memory; a node hands on what it knows, and that is higher."""
    found: list[list[str]] = []
    nodes = Nodes(FLEET, registry, deaf={LAX})
    with speaking(nodes):
        thread = threading.Thread(target=lambda: found.append(drainage.wait([LAX], PATIENCE)))
        thread.start()
        brought = signing.signed_document(FLEET.key, Purpose.DRAIN, DrainOrder(NETWORK, 40, (ORD,)))
        with registry.client() as client:
            assert client.ask("PUT", "/api/v1/drain", dump(brought)).ok
        nodes.deaf.clear()
        thread.join(PATIENCE)
    assert found == [[]]
    assert held(registry) == DrainOrder(NETWORK, 41, (LAX, ORD))


# --- publications --------------------------------------------------------------------------------


def members_but(*gone: str) -> dict[str, Member]:
    return {node: one for node, one in FLEET.members().items() if node not in gone}


def without(node: str) -> Fleet:
    """The same operator's network without a node."""
    values = prod()
    del values["nodes"][node]
    fleet = Fleet(plan_of(values), FLEET.key)
    fleet.identities, fleet.sealing, fleet.facts = FLEET.identities, FLEET.sealing, FLEET.facts
    return fleet


def with_a_new_server(registry: Live) -> tuple[Fleet, State]:
    """The network with a new server of Miami, which has asked to join, and the state of before."""
    fleet = Fleet(FLEET.plan, FLEET.key)
    fleet.identities = FLEET.identities | {MIA: fleet.identities[MIA]}
    fleet.sealing = FLEET.sealing | {MIA: fleet.sealing[MIA]}
    fleet.facts = FLEET.facts | {MIA: fleet.facts[MIA]}
    registry.raw("POST", "/api/v1/join", body=fleet.join(MIA), source=PLACES[MIA])
    before = FLEET.members()
    before[MIA] = replace(before[MIA], instance_id="i-of-the-server-before")
    return fleet, State(5, "0" * 64, before)


def leave(registry: Live, nodes: Nodes) -> list[str]:
    """What is said while Miami leaves the plan."""
    lines: list[str] = []
    smaller = without(MIA)
    facts = {n: f for n, f in FLEET.facts.items() if n != MIA}
    smaller.facts = facts
    smaller.plan = replace(smaller.plan, linger=0)
    order = smaller.order(registries={LAX: registry.url}, deadline=300.0, settle=PATIENCE)
    with speaking(nodes):
        done, _ = publish(order, State(5, "0" * 64, FLEET.members()), lines.append)
    assert set(done.members) == set(members_but(MIA))
    return lines


def test_who_leaves_withdraws_before_the_others_stop_to_know_it(registry: Live) -> None:
    lines = leave(registry, Nodes(FLEET, registry))
    assert lines.index(f"{MIA}: withdrawn") < lines.index("generation 6 signed for 3 nodes")
    assert not [line for line in lines if "warning" in line]
    # Its server is still there: it stays drained until it is gone.
    assert held(registry) == DrainOrder(NETWORK, 1, (MIA,))


def test_a_dead_node_that_leaves_is_warned_about_and_holds_up_nobody(
    registry: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("mesh.publish.publish"), "DRAIN_SECONDS", 1.0)
    lines = leave(registry, Nodes(FLEET, registry, deaf={MIA}))
    assert [line for line in lines if line.startswith(f"warning: {MIA}: no report within 1 s")]
    assert "generation 6 signed for 3 nodes" in lines


def test_a_node_made_anew_is_drained_no_more_and_all_others_stay_what_they_are(
    drainage: Drains, registry: Live
) -> None:
    drainage.change(drain=[MIA, ORD])
    fleet, before = with_a_new_server(registry)
    lines: list[str] = []
    order = fleet.order(registries={LAX: registry.url}, deadline=300.0, settle=PATIENCE)
    with speaking(Nodes(fleet, registry)):
        done, _ = publish(order, before, lines.append)
    assert held(registry) == done.drain == DrainOrder(NETWORK, 2, (ORD,))
    assert f"{MIA}: has a new server, no longer drained" in lines
    # Chicago stays drained, and is not waited for.
    assert "44 of 44 sessions up, 3 of 3 edges announce" in lines
    assert not [line for line in lines if "not up yet" in line]


def test_a_new_node_that_is_drained_after_an_unfinished_update_stays_drained(
    drainage: Drains, registry: Live
) -> None:
    """The update published it, and ended before the state knew of it."""
    fleet, before = with_a_new_server(registry)
    with registry.client(FLEET.operator) as client:
        body = dump(fleet.generation(6).generation)
        assert client.ask("PUT", "/api/v1/generation/packed", body, signed=True).status == 201
    drainage.change(drain=[MIA])
    lines: list[str] = []
    order = fleet.order(registries={LAX: registry.url}, deadline=300.0, settle=PATIENCE)
    with speaking(Nodes(fleet, registry)):
        publish(order, before, lines.append)
    assert held(registry) == DrainOrder(NETWORK, 1, (MIA,))
    assert not [line for line in lines if "no longer drained" in line]


def test_an_order_that_was_lost_does_not_drain_a_new_server_when_it_is_brought_back(
    registry: Live,
) -> None:
    """The registry itself was replaced: its nodes bring the order back after the generation."""
    fleet, before = with_a_new_server(registry)
    brought = signing.signed_document(FLEET.key, Purpose.DRAIN, DrainOrder(NETWORK, 9, (MIA,)))

    def say(line: str) -> None:
        if line.startswith("generation 6 signed"):
            with registry.client() as client:
                assert client.ask("PUT", "/api/v1/drain", dump(brought)).ok

    order = fleet.order(registries={LAX: registry.url}, deadline=300.0, settle=PATIENCE)
    with speaking(Nodes(fleet, registry)):
        publish(order, before, say)
    assert held(registry) == DrainOrder(NETWORK, 10, ())


def test_a_drained_edge_is_not_expected_to_announce(registry: Live) -> None:
    nodes = Nodes(FLEET, registry, dark={ORD})
    nodes.speak()
    pool = RegistryPool(FLEET.key, {LAX: registry.url})
    reports = {report.node: report for report in pool.reports(IDENTITIES)}
    pool.close()
    why = "it is out of service: no service is healthy here or at a node that it reaches"
    assert health(FLEET.plan, reports).down == (f"{ORD}: announces nothing: {why}",)
    drained = health(FLEET.plan, reports, {ORD})
    assert (drained.edges, drained.announcing, drained.down) == (3, 3, ())


def test_a_publication_that_fails_before_the_generation_drains_nobody(registry: Live) -> None:
    """The one that comes has not joined: the one that goes stays."""
    smaller = without(MIA)
    before = {n: m for n, m in FLEET.members().items() if n != ORD}
    smaller.facts = {n: f for n, f in FLEET.facts.items() if n != MIA}
    order = smaller.order(registries={LAX: registry.url}, deadline=1.0)
    with pytest.raises(PublishError, match=f"{ORD}: did not join"):
        publish(order, State(5, "0" * 64, before), lambda _: None)
    assert held(registry) is None
