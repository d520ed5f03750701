"""An agent and two registries over HTTP: one of its network, and one that offers what is not.

The agent applies nothing here: its part waits. So these are also the words of a node that has no
outcome to report yet.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.agent import systems
from mesh.agent.agent import Agent
from mesh.agent.host import Host
from mesh.agent.keys import own_keys
from mesh.agent.registry_client import RegistryLink
from mesh.agent.seed import Seed
from mesh.publish.refused import refusal_text, refusing
from mesh.publish.registry_pool import RegistryPool
from mesh.registry.client import Client
from mesh.trust import keys, signing
from mesh.trust.documents import DrainOrder, Report
from mesh.trust.encoding import dump
from mesh.trust.orders import DRAIN
from mesh.trust.signing import Purpose, Signed
from tests.kit.registry import Fleet, Live, live
from tests.kit.wait import until

NODE, OTHER = "lax-vultr-1", "as27218-another"


class Scene:
    """One real agent, the operator's fleet with its key in it, and both registries."""

    def __init__(self, folder: Path, ours: Live, stray: Live, fleet: Fleet) -> None:
        self.ours, self.stray, self.fleet = ours, stray, fleet
        host = Host(folder / "node")
        own = own_keys(host)
        fleet.identities[NODE] = own.identity
        fleet.facts[NODE] = replace(fleet.facts[NODE], identity=keys.signing_public(own.identity))
        operator = keys.signing_public(fleet.key)
        seed = Seed(NODE, (), operator, "0" * 64, fleet.token(NODE), False, 8443)
        self.agent = Agent(host, seed, systems.of(host))
        self.desk = RegistryPool(fleet.key, {NODE: ours.url})

    def report(self) -> Report | None:
        """The node's last word at its own registry, by the operator's desk."""
        found = self.desk.reports({NODE: self.fleet.facts[NODE].identity})
        return found[0] if found else None

    def refused(self) -> set[tuple[str, int]]:
        word = self.report()
        return set() if word is None else {(r.what, r.number) for r in word.health.refusals}

    def foreign(self, number: int) -> Signed:
        """Another network's manifest, by the same key; it even names this node with its own."""
        return self.fleet.generation(number, OTHER).generation.manifest


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    fleet = Fleet()
    operator = keys.signing_public(fleet.key)
    with live(tmp_path / "a", operator) as ours, live(tmp_path / "b", operator) as stray:
        one = Scene(tmp_path, ours, stray, fleet)
        ours.registry.accept_planned(dump(replace(fleet.planned(), network=fleet.network)))
        ours.registry.accept_packed(dump(fleet.generation(5).generation))
        threading.Thread(target=one.agent._reports.run, args=(one.agent.stop,), daemon=True).start()
        one.agent._links.connect(ours.url)
        until(lambda: one.agent._state.highest is not None, 10, "it follows its network")
        try:
            yield one
        finally:
            one.agent.stop.set()
            one.desk.close()


@contextmanager
def offered(scene: Scene) -> Iterator[None]:
    """The stray registry holds another network's generation and order, and the node asks it."""
    order = DRAIN.signed(scene.fleet.key, DrainOrder(OTHER, 900, (NODE,)))
    assert scene.stray.registry.accept_manifest(dump(scene.foreign(900)))
    assert scene.stray.registry.accept_order(DRAIN, dump(order))
    scene.agent._links.connect(scene.stray.url)
    yield


def test_both_are_refused_reported_signed_and_read_by_the_operator(scene: Scene) -> None:
    with offered(scene):
        until(lambda: scene.refused() == {("manifest", 900), ("drain", 900)}, 10, "it is reported")
    word = scene.report()
    assert word is not None and word.applied == 0
    found = refusing([word], DRAIN.digest(DrainOrder(OTHER, 900, (NODE,))))
    line = refusal_text(NODE, found[NODE])
    assert f"of the network {OTHER}, and this node is of {scene.fleet.network}" in line
    assert f"offered by {scene.stray.url}" in line
    highest = scene.agent._state.highest
    assert highest is not None and highest.number == 5
    assert scene.agent._state.obeyed_order(DRAIN) is None


def test_it_ends_when_the_operator_names_that_registrys_network(scene: Scene) -> None:
    with offered(scene):
        until(scene.refused, 10, "it is reported")
        named = replace(scene.fleet.planned(), network=scene.fleet.network)
        scene.stray.registry.accept_planned(dump(named))
        # The node brings its own manifest there, and another order of ours comes along.
        until(lambda: scene.stray.registry.current() is not None, 15, "it is handed on")
        order = DRAIN.signed(scene.fleet.key, DrainOrder(scene.fleet.network, 1, ()))
        scene.stray.registry.accept_order(DRAIN, dump(order))
        until(lambda: not scene.refused(), 15, "nothing is refused any more")


def test_it_ends_too_where_the_registry_drops_what_it_held_just_after_it_was_asked(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node asks for the manifest first, and waits for a higher one then."""
    asks, named = RegistryLink._theirs, replace(scene.fleet.planned(), network=scene.fleet.network)

    def asked(link: RegistryLink, client: Client) -> int:
        found = asks(link, client)
        if found == 900:
            scene.stray.registry.accept_planned(dump(named))
        return found

    def has_ours() -> bool:
        held = scene.stray.registry.current()
        return held is not None and held.manifest.network == scene.fleet.network

    monkeypatch.setattr(RegistryLink, "_theirs", asked)
    with offered(scene):
        until(has_ours, 15, "it is handed on")


def test_what_strangers_sign_fills_no_report(scene: Scene) -> None:
    stranger = Fleet(scene.fleet.plan).generation(900, OTHER).generation.manifest
    for number in range(50):
        forged = replace(stranger, payload=stranger.payload.replace("900", str(901 + number)))
        assert scene.agent._offers.manifest(forged, scene.stray.url) is None
    assert not scene.agent._refusals.standing


def test_what_is_ours_and_cannot_be_read_is_reported_with_its_theirs(scene: Scene) -> None:
    """A generation of a version that this agent does not understand."""
    later = signing.signed_document(scene.fleet.key, Purpose.MANIFEST, {"generation": 6, "v": 2})
    assert scene.agent._offers.manifest(later, scene.stray.url) is None
    until(lambda: scene.refused() == {("manifest", 6)}, 10, "it is reported")
