"""Where a node is in a rollout: what it waits for, and what releases it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from mesh.agent import rollout
from mesh.agent.announce import CATCH_UP, Announcer, DrainReason
from mesh.agent.announce_state import SHUTDOWN, AnnounceState, write_state, written_state
from mesh.agent.apply import NotApplied, NotWritten
from mesh.agent.config import Config
from mesh.agent.generations import Generations
from mesh.agent.holds import Holds
from mesh.agent.host import Host
from mesh.agent.iproute import IpRoute
from mesh.agent.keys import NodeKeys
from mesh.agent.offers import Offers
from mesh.agent.parts import Parts
from mesh.agent.rollout import Rollout
from mesh.agent.seed import Seed
from mesh.agent.state import (
    APPLIED,
    Applied,
    HighestManifest,
    Rejected,
    State,
    verified,
    verified_order,
)
from mesh.agent.workers import Workers
from mesh.bird.client import Bird
from mesh.trust import keys, signing
from mesh.trust.documents import Part, RolloutOrder
from mesh.trust.encoding import parse
from mesh.trust.orders import ROLLOUT
from mesh.trust.requests import Signer
from mesh.trust.sealing import NotForUs
from mesh.trust.signing import Purpose, Signed
from tests.kit.registry import shared_fleet
from tests.kit.wait import until

NODE, OTHER = "lax-vultr-1", "ord-vultr-1"
FLEET = shared_fleet()
OPERATOR = keys.signing_public(FLEET.key)


def manifest(number: int, **changed: Any) -> Signed:
    made = replace(FLEET.fifth.manifest, generation=number, **({"waves": True} | changed))
    return signing.signed_document(FLEET.key, Purpose.MANIFEST, made)


SIXTH = manifest(6)


class Node:
    """A node that has generation 5 in force, and generation 6, in waves, before it."""

    def __init__(
        self, folder: Path, highest: Signed = SIXTH, applied: int = 5, announces: bool = False
    ) -> None:
        self.host = Host(folder, prefix=("true",))
        write_state(self.host, AnnounceState(announces))
        self.state = State(self.host, OPERATOR, lambda _: True)
        self.state.accept(verified(OPERATOR, highest))
        if applied:
            self.state.confirm(Applied(applied, FLEET.fifth.digest, "{}"))
        self.changes = 0
        bird = Bird(self.host.path("/no-bird"))
        self.announcer = Announcer(
            self.host, bird, IpRoute(self.host), lambda: None, Workers(threading.Event())
        )
        self.has_peer = True
        self.rollout = self.started(self.state)

    def started(self, state: State) -> Rollout:
        """The same of an agent that starts with this state."""
        return Rollout(NODE, state, self.announcer, lambda: self.has_peer, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def order(self, number: int = 1, **changed: Any) -> None:
        values: dict[str, Any] = {
            "generation": 6,
            "manifest_sha256": SIXTH.digest,
            "released": (NODE,),
        }
        order = RolloutOrder(FLEET.network, number, **(values | changed))
        envelope = ROLLOUT.signed(FLEET.key, order)
        self.state.accept_order(verified_order(OPERATOR, ROLLOUT, envelope))

    @property
    def is_due(self) -> bool:
        assert self.state.highest is not None
        return self.rollout.is_due(self.state.highest)

    @property
    def waits(self) -> bool:
        assert self.state.highest is not None
        return self.rollout.waits(self.state.highest)


@pytest.mark.parametrize(
    ("changed", "waits", "why"),
    [
        ({}, False, "it is released"),
        ({"released": (OTHER, NODE)}, False, "with others"),
        ({"released": (), "everyone": True}, False, "all are"),
        ({"released": (OTHER,)}, True, "another one is"),
        ({"released": ()}, True, "nobody is"),
        ({"generation": 5}, True, "for another generation"),
        ({"manifest_sha256": "0" * 64}, True, "for another manifest of that number"),
    ],
)
def test_a_node_waits_until_an_order_releases_it_for_exactly_this_generation(
    tmp_path: Path, changed: dict[str, Any], waits: bool, why: str
) -> None:
    node = Node(tmp_path)
    assert node.waits and node.rollout.update == "waiting"
    node.order(**changed)
    assert node.waits is waits, why
    assert node.is_due is not waits
    assert node.rollout.update == ("waiting" if waits else "")
    assert node.rollout.obeyed == 1


@pytest.mark.parametrize(
    ("highest", "applied", "why"),
    [
        (SIXTH, 0, "nothing is in force"),
        (manifest(6, waves=False), 5, "it goes to all at once"),
        (manifest(6, retired=True), 5, "the network is taken down"),
        (FLEET.fifth.generation.manifest, 5, "it is in force"),
    ],
)
def test_a_node_waits_for_no_order_where_none_is_needed(
    tmp_path: Path, highest: Signed, applied: int, why: str
) -> None:
    node = Node(tmp_path, highest, applied)
    assert not node.waits, why
    assert node.is_due is (highest is not FLEET.fifth.generation.manifest)
    assert node.rollout.update == ""


@pytest.mark.parametrize(
    ("number", "announces", "seconds", "waits", "why"),
    [
        (6, False, 0.0, True, "it has what the others have"),
        (7, False, 0.0, False, "it has been off, and announces nothing"),
        (7, True, 0.0, True, "only its agent has started anew"),
        (7, False, CATCH_UP, True, "it has reached no registry for so long"),
    ],
)
def test_a_node_that_starts_and_has_missed_a_generation_waits_for_no_wave(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    announces: bool,
    seconds: float,
    waits: bool,
    why: str,
) -> None:
    """What it has may have been withdrawn everywhere else meanwhile."""
    node = Node(tmp_path, manifest(number), announces=announces)
    now = time.monotonic() + seconds
    monkeypatch.setattr("mesh.agent.announce.time.monotonic", lambda: now)
    assert node.waits is waits, why
    assert node.is_due is not waits
    node.order(generation=number, drained=(NODE,), manifest_sha256=manifest(number).digest)
    assert node.state.highest is not None
    assert node.rollout.drains(node.state.highest) is waits, "it has nothing to withdraw"


def test_a_higher_generation_waits_again(tmp_path: Path) -> None:
    node = Node(tmp_path, announces=True)
    node.order()
    node.state.accept(verified(OPERATOR, manifest(7)))
    assert node.waits


def test_a_node_is_a_witness_for_the_rollout_of_the_highest_generation_only(tmp_path: Path) -> None:
    """The rollout before may have ended without its last order, as one that was killed."""
    node, witness = Node(tmp_path), Mock()
    seed = SimpleNamespace(node=NODE, operator=OPERATOR)
    offers = Offers(
        cast(Seed, seed), node.state, node.announcer, Mock(), witness, Mock(), Mock(), Mock()
    )
    order = RolloutOrder(FLEET.network, 1, 6, SIXTH.digest, witnesses={OTHER: (NODE,)})
    offers.order(ROLLOUT, ROLLOUT.signed(FLEET.key, order), "https://registry")
    witness.obey.assert_called_with(order)
    offers.manifest(manifest(7, waves=False), "https://registry")
    witness.obey.assert_called_with(None)


def test_a_lower_order_takes_no_release_back(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.order(2)
    with pytest.raises(Rejected, match="not above rollout order 2"):
        node.order(1, released=())
    assert not node.waits


def test_a_released_node_is_released_after_a_reboot(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.order()
    again = node.started(State(node.host, OPERATOR, lambda _: True))
    assert node.state.highest is not None
    assert not again.waits(node.state.highest)
    assert again.obeyed == 1


def test_each_step_is_reported_once(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.order()
    for _ in range(2):
        node.rollout.apply()
    assert (node.rollout.update, node.changes) == ("applying", 1)
    for _ in range(2):
        node.rollout.end()
    assert (node.rollout.update, node.changes) == ("", 2)


# --- the node's own drain ------------------------------------------------------------------------


class Draining(Node):
    """The same node with a configuration and no BIRD: it withdraws as soon as it may."""

    def __init__(self, folder: Path, linger: float = 0.0) -> None:
        super().__init__(folder)
        mates = (IPv4Address("10.10.10.2"),)
        config = Config(NODE, "lax", "dummy0", (), mates, (), True, linger=linger)
        self.announcer.watch(config)
        self.order(drained=(NODE,))

    def round(self) -> None:
        for _ in range(2):
            self.announcer._round()


@pytest.mark.parametrize(
    "steps",
    [steps for steps in permutations(("U+", "U-", "O+", "O-"))
     if steps.index("U+") < steps.index("U-") and steps.index("O+") < steps.index("O-")],
    ids=" ".join,
)  # fmt: skip
def test_the_operators_drain_and_the_updates_end_each_by_itself(
    tmp_path: Path, steps: tuple[str, ...]
) -> None:
    node = Draining(tmp_path)
    reasons: dict[str, DrainReason] = {"U": "update", "O": "order"}
    wanted: set[str] = set()
    for step in steps:
        for _ in range(2):  # the same once more changes nothing
            node.announcer.drain(step[1] == "+", reasons[step[0]])
        wanted ^= {step[0]}
        node.round()
        assert node.announcer.withdrawn is bool(wanted), step
        assert node.announcer.drained is ("O" in wanted), step
        assert written_state(node.host).draining is bool(wanted), step


def test_a_node_drains_before_it_applies_and_comes_back_afterwards(tmp_path: Path) -> None:
    node = Draining(tmp_path)
    assert node.state.highest is not None and node.rollout.drains(node.state.highest)
    assert not node.rollout.has_left()
    assert node.rollout.update == "draining"
    node.round()
    assert node.rollout.has_left()
    assert not node.announcer.drained, "no order of the operator's"
    node.rollout.apply()
    node.rollout.end()
    node.round()
    assert not written_state(node.host).draining


def test_a_node_lingers_as_long_as_its_configuration_says(tmp_path: Path) -> None:
    node = Draining(tmp_path, linger=600)
    node.rollout.has_left()
    node.round()
    assert not node.rollout.has_left()
    assert node.announcer.drain_seconds == SHUTDOWN + 600


def test_a_node_that_reaches_no_other_stays(tmp_path: Path) -> None:
    node = Draining(tmp_path)
    node.has_peer = False
    assert node.rollout.has_left()
    node.round()
    assert not written_state(node.host).draining


def test_a_node_that_does_not_withdraw_is_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "SPARE", -SHUTDOWN)
    node = Draining(tmp_path)
    with pytest.raises(NotApplied, match="has not withdrawn in time"):
        node.rollout.has_left()


def test_nothing_of_its_own_drain_is_on_the_disk(tmp_path: Path) -> None:
    """A power cut in the middle: what the node did for an update is over."""
    node = Draining(tmp_path)
    node.rollout.has_left()
    node.round()
    again = Draining(tmp_path)
    again.round()
    assert not written_state(again.host).draining
    assert again.rollout.drains(verified(OPERATOR, SIXTH)), "it begins again"


def test_what_is_announced_by_the_floor_is_announced_after_an_update(tmp_path: Path) -> None:
    """The service is down everywhere: a rollout of drains must not darken one node after the
    other."""
    node = Draining(tmp_path)
    announced = AnnounceState(in_service=True)
    node.announcer._bird.wanted = announced
    node.rollout.has_left()
    node.round()
    assert not node.announcer._bird.wanted.in_service
    node.rollout.end()
    assert node.announcer._last_state == announced


class Following(Draining):
    """The same node, following its manifest: what it applies ends as told."""

    def __init__(self, folder: Path, error: Exception | None, linger: float = 0.0) -> None:
        super().__init__(folder, linger)
        self.stop, self.outcomes = threading.Event(), list[str]()
        self.holds = SimpleNamespace(until=0)
        self.error = error
        self.drained_when_applied, self.fetched = False, 0
        nothing = Mock(wait=lambda: None, undone=None, settle=lambda: False, apply=self._apply)
        self.generations = Generations(
            self.state,
            Mock(urls=[]),
            Mock(fetched=self._fetch),
            nothing,
            Mock(on_trial=False, needed=lambda _: False),
            Mock(),
            self.announcer,
            cast(Holds, self.holds),
            Mock(settle=lambda _, outcome, *__: self.outcomes.append(outcome)),
            Mock(),
            self.rollout,
            lambda: None,
            self.stop,
        )

    def _fetch(self, _: HighestManifest) -> tuple[str, Part]:
        self.fetched += 1
        return "{}", Part(NODE, (), (), ())

    def _apply(self, known: HighestManifest, *_: object) -> list[str]:
        self.drained_when_applied = self.announcer.withdrawn
        if self.error is not None:
            raise self.error
        self.state.confirm(Applied(known.number, known.envelope.digest, "{}"))
        return []

    @contextmanager
    def runs(self) -> Iterator[None]:
        """It follows, and announces."""
        work = (lambda: self.announcer.run(self.stop), self.generations.follow)
        threads = [threading.Thread(target=each) for each in work]
        for thread in threads:
            thread.start()
        self.generations.look()
        try:
            yield
        finally:
            self.stop.set()
            self.generations.look()
            for thread in threads:
                thread.join()

    def is_back(self) -> bool:
        """Whether nothing is left of its drain."""
        return not written_state(self.host).draining and self.rollout.update in ("", "waiting")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "applied"),
        (NotApplied("the daemon refuses it"), "failed"),
        (NotWritten("the disk is full"), "failed"),
        (OSError(28, "no space"), "failed"),
        (RuntimeError("a mistake of ours"), "failed"),
    ],
    ids=["in force", "refused", "disk full", "no space", "mistake"],
)
def test_the_drain_ends_with_the_change_whatever_becomes_of_it(
    tmp_path: Path, error: Exception | None, outcome: str
) -> None:
    node = Following(tmp_path, error)
    with node.runs():
        until(lambda: node.outcomes[:1] == [outcome], 10, "it is tried")
        assert node.drained_when_applied
        until(node.is_back, 5, "and not when it is tried again")


def test_a_drain_ends_where_the_thread_that_applies_has_failed(
    tmp_path: Path,
) -> None:
    """Nothing might wake it up again."""
    node = Following(tmp_path, None)
    assert not node.rollout.has_left() and node.rollout.update == "draining"
    node.stop.set()
    node.generations.follow()
    assert node.is_back()


def test_a_node_that_waits_has_its_part_before_it_is_released(tmp_path: Path) -> None:
    node = Following(tmp_path, None)
    node.state.confirm(Applied(6, SIXTH.digest, "{}"))
    seventh = manifest(7)
    node.state.accept(verified(OPERATOR, seventh))
    with node.runs():
        until(lambda: node.fetched == 1, 5, "it is fetched")
        assert node.outcomes == []
        node.order(2, generation=7, manifest_sha256=seventh.digest)
        node.generations.look()
        until(lambda: node.outcomes == ["applied"], 5, "it is applied")
    assert node.fetched == 1


def test_a_hold_ends_the_drain(tmp_path: Path) -> None:
    node = Following(tmp_path, None, linger=600)
    with node.runs():
        until(lambda: written_state(node.host).draining, 5, "it drains")
        node.holds.until = 2**31
        until(node.is_back, 5, "it is held")
        assert node.outcomes == []


# --- content that comes back ---------------------------------------------------------------------


def test_secrets_of_content_that_comes_back_are_opened_as_they_were_sealed(tmp_path: Path) -> None:
    """A node's part of generation 5 returns as generation 7, byte for byte."""
    nodes = dict(FLEET.fifth.manifest.nodes)
    nodes[NODE] = replace(nodes[NODE], sealed_in=5)
    known = verified(OPERATOR, manifest(7, nodes=nodes))
    own = NodeKeys(FLEET.identities[NODE], FLEET.sealing[NODE][0], "")
    parts = Parts(Signer("node", NODE, own.identity), NODE, own, tuple)
    text = FLEET.fifth.generation.part(NODE)
    applied = Applied.of(known, NODE, text)
    found = parts.secrets(applied.parsed(), applied)
    assert b"hunter2-of-the-session" in found["/etc/bird/mesh/secrets.conf"]
    with pytest.raises(NotForUs):
        parts.secrets(applied.parsed(), replace(applied, sealed_in=None))
    state = State(Host(tmp_path), OPERATOR, lambda _: True)
    state.confirm(applied)
    assert State(Host(tmp_path), OPERATOR, lambda _: True).applied == applied


def test_an_earlier_version_reads_what_is_in_force_unless_content_came_back(tmp_path: Path) -> None:
    """It refuses a key that it does not know, and would take the node for one without any."""
    node = Node(tmp_path)
    stored = parse(dict, node.host.read(APPLIED) or b"")
    assert stored.keys() == {"generation", "manifest_sha256", "part"}
