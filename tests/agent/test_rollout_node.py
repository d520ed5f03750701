"""Two nodes with real daemons, and generations that wait for their release.

The tests share the boxes and run in order; each leaves a mesh in operation behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import Any

import pytest

from mesh.agent import bundle
from mesh.agent.announce_state import SHUTDOWN, AnnounceState
from mesh.netns import inside
from mesh.publish.generation import SignedGeneration, make
from mesh.publish.order_log import latest
from mesh.publish.preparation import planned
from mesh.publish.registry_pool import RegistryPool
from mesh.trust import signing
from mesh.trust.documents import Blackhole, BlackholeOrder, DrainOrder, Report, RolloutOrder
from mesh.trust.encoding import sha256
from mesh.trust.orders import BLACKHOLE, DRAIN, ROLLOUT, Order, OrderKind
from mesh.trust.signing import Purpose
from tests.agent.test_bundle_trial import with_file, with_patience
from tests.agent.test_node import (
    LAX,
    ORD,
    Running,
    announces,
    as_systemd,
    connections,
    fingerprint,
    read_at,
    rendering,
    serves,
    serves_nothing,
    stands,
    two_nodes,
)
from tests.kit import wait
from tests.kit.machines import AgentMachine
from tests.kit.wait import BUSY

pytestmark = [pytest.mark.image, pytest.mark.beside_labs]
LINGER = 2
until = partial(wait.until, nap=0.2)
"""Each look is a log-in at the registry; what is waited for takes seconds."""
BIRD, SYSCTL = "/etc/bird/bird.conf", "/etc/sysctl.d/99-anycast-mesh.conf"


class Waves:
    """An operator who publishes generations with waves, and releases nodes by hand."""

    def __init__(self, mesh: Running) -> None:
        self.mesh = mesh
        assert mesh.fleet is not None
        self.members, self.network = mesh.fleet.members, mesh.fleet.network or ""
        self.generation, self.number = mesh.fleet.generation, 0
        self.made: SignedGeneration | None = None

    def publish(self, **changed: Any) -> None:
        """A generation with waves is at the registry; nobody is released."""
        self.generation += 1
        order = self.mesh.network.order(**changed)
        made = make(order, self.members, self.generation, self.network)
        manifest = replace(made.manifest, waves=True)
        envelope = signing.signed_document(order.operator_key, Purpose.MANIFEST, manifest)
        packed = replace(made.generation, manifest=envelope)
        self.made = replace(made, generation=packed, manifest=manifest)

        def put(desk: RegistryPool) -> None:
            desk.prepare(order.bundle, planned(order, self.network))
            assert desk.put_generation(packed) == []

        self._at_desk(put)

    def release(self, *nodes: str, drained: tuple[str, ...] = (), everyone: bool = False) -> None:
        """The next order is at the registry."""
        assert self.made is not None
        self.number += 1
        self.order(
            ROLLOUT,
            RolloutOrder(
                self.network,
                self.number,
                self.generation,
                self.made.digest,
                nodes,
                drained,
                everyone,
            ),
        )

    def order(self, kind: OrderKind[Any], order: Order) -> None:
        """An order of any kind is at the registry."""
        key = self.mesh.network.key
        assert self._at_desk(lambda desk: desk.put_order(kind, order, key))

    def report(self, node: str) -> Report:
        identities = {name: member.identity for name, member in self.members.items()}
        return latest(self._at_desk(lambda desk: desk.reports(identities)))[node]

    def update(self, node: str) -> str | None:
        return self.report(node).health.update

    def applied(self, node: str) -> bool:
        """Whether it reports the last generation as applied, and that nothing goes on."""
        word = self.report(node)
        return word.applied == self.generation and word.outcome == "applied"

    def failed(self, node: str) -> bool:
        word = self.report(node)
        return (word.generation, word.outcome) == (self.generation, "failed")

    def _at_desk(self, work: Callable[[RegistryPool], Any]) -> Any:
        order = self.mesh.network.order()

        def there() -> Any:
            desk = RegistryPool(order.operator_key, order.registries)
            try:
                return work(desk)
            finally:
                desk.close()

        return inside(order.namespace, there)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # What works shows it within seconds, and much later on a busy machine.
    own = with_patience(bundle.build(), 120)
    with two_nodes(tmp_path_factory.mktemp("wire"), bundle=own, linger=LINGER) as running:
        until(lambda: all(map(stands, running.boxes)), 30, "sessions are up")
        yield running


@pytest.fixture(scope="module")
def waves(mesh: Running) -> Waves:
    return Waves(mesh)


def with_note(text: str) -> str:
    return text + "\n# a note\n"


def without_note(text: str) -> str:
    return text


def state(box: AgentMachine) -> bytes:
    return box.path("/run/anycast-mesh/bird/announce.conf").read_bytes()


def test_each_node_applies_when_it_is_released_and_not_before(
    mesh: Running, waves: Waves, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendering(monkeypatch, ORD, {SYSCTL: with_note})
    before = [fingerprint(box) for box in mesh.boxes]
    waves.publish()
    until(lambda: waves.update(LAX) == waves.update(ORD) == "waiting", 10, "both wait")
    waves.release(ORD)
    began = time.monotonic()
    until(lambda: waves.applied(ORD), 10, "it is released")
    assert time.monotonic() - began < BUSY * 3
    assert waves.update(LAX) == "waiting"
    assert (fingerprint(mesh.lax) == before[0], fingerprint(mesh.ord) == before[1]) == (True, False)
    waves.release(ORD, everyone=True)
    until(lambda: waves.applied(LAX), 10, "all are released")
    assert waves.report(LAX).health.rollout == waves.number


def test_a_node_that_is_to_drain_withdraws_applies_and_announces_again(
    mesh: Running, waves: Waves, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendering(monkeypatch, ORD, {SYSCTL: without_note})
    mesh.in_operation()
    waves.publish()
    until(lambda: waves.update(ORD) == "waiting", 10, "it waits")
    leaving, began = AnnounceState(True, draining=True).file(), time.monotonic()
    waves.release(ORD, drained=(ORD,))

    def drains() -> bool:
        # All of it lasts for some seconds only.
        return state(mesh.ord) == leaving and waves.update(ORD) == "draining"

    until(drains, 10, "it drains")
    assert not waves.applied(ORD)
    # Until it has applied, which takes less than a second.
    until(partial(serves_nothing, mesh.ord), 20, "it has let go", nap=0.02)
    assert time.monotonic() - began > SHUTDOWN + LINGER
    assert not waves.report(ORD).health.drained
    until(lambda: waves.applied(ORD), 10, "it applies")
    assert waves.report(ORD).health.update == ""
    until(partial(announces, mesh.ord), 5, "it announces again")
    mesh.in_operation()
    waves.release(everyone=True)
    until(lambda: waves.applied(LAX), 10, "all are released")


def test_an_agent_that_is_killed_while_its_node_drains_goes_on(mesh: Running, waves: Waves) -> None:
    waves.publish()
    waves.release(ORD, drained=(ORD,))
    until(lambda: waves.update(ORD) == "draining", 10, "it drains")
    mesh.ord.kill("agent")
    mesh.ord.start("agent")
    until(lambda: waves.applied(ORD), 30, "it goes on")
    until(partial(announces, mesh.ord), 5, "it announces again")


def test_a_higher_generation_ends_the_drain_of_the_one_before(mesh: Running, waves: Waves) -> None:
    waves.publish()
    waves.release(ORD, drained=(ORD,))
    until(lambda: waves.update(ORD) == "draining", 10, "it drains")
    waves.publish()
    until(lambda: waves.update(ORD) == "waiting", 10, "it waits for the higher one")
    until(partial(announces, mesh.ord), 5, "it announces again")
    waves.release(everyone=True)
    until(lambda: waves.applied(LAX) and waves.applied(ORD), 10, "it is applied")


def test_what_a_daemon_refuses_is_refused_before_the_node_drains(
    mesh: Running, waves: Waves, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendering(monkeypatch, ORD, {BIRD: lambda text: text + "\nprotocol nonsense {\n"})
    before = mesh.ord.log("agent").count("drain wanted")
    waves.publish()
    waves.release(ORD, drained=(ORD,))
    until(lambda: waves.failed(ORD), 10, "it refuses")
    assert announces(mesh.ord)
    assert mesh.ord.log("agent").count("drain wanted") == before
    assert waves.update(ORD) == ""


def test_orders_take_effect_while_a_generation_is_checked_and_survive_its_roll_back(
    mesh: Running, waves: Waves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session with the other node does not come back: the node waits for it, for a while."""
    mesh.in_operation()
    until(lambda: all(map(stands, mesh.boxes)), 30, "sessions are up")
    rendering(
        monkeypatch,
        ORD,
        {BIRD: lambda text: text.replace("hold time 9;", 'hold time 9; password "wrong";')},
    )
    before = fingerprint(mesh.ord)
    waves.publish()
    waves.release(ORD)
    until(lambda: fingerprint(mesh.ord) != before, 10, "it is in force for now")
    until(lambda: not stands(mesh.ord), 10, "the session is gone")
    address = ip_address("192.30.120.200")
    entry = Blackhole(address, int(time.time()) + 600, "a flood")
    waves.order(DRAIN, DrainOrder(waves.network, 1, (ORD,)))
    waves.order(BLACKHOLE, BlackholeOrder(waves.network, 1, (entry,)))
    until(lambda: b"DRAINING = true" in state(mesh.ord), 5, "it drains")
    until(lambda: f"{address}/32" in mesh.ord.run("birdc", "show", "route"), 5, "it discards")
    assert waves.update(ORD) == "applying", "and is not through with the check"
    until(lambda: waves.failed(ORD), 30, "it is rolled back")
    assert fingerprint(mesh.ord) == before
    until(lambda: waves.report(ORD).health.drained, 20, "the order holds")
    assert f"{address}/32" in mesh.ord.run("birdc", "show", "route")
    until(lambda: all(map(stands, mesh.boxes)), 30, "the session is back")
    waves.order(DRAIN, DrainOrder(waves.network, 2, ()))
    waves.order(BLACKHOLE, BlackholeOrder(waves.network, 2, ()))
    monkeypatch.undo()
    waves.publish()
    waves.release(everyone=True)
    until(lambda: waves.applied(ORD) and waves.applied(LAX), 20, "the next one is applied")
    mesh.in_operation()


def test_a_generation_that_changes_nothing_touches_no_session(mesh: Running, waves: Waves) -> None:
    until(lambda: all(map(stands, mesh.boxes)), 30, "sessions are up")
    before, read = list(map(connections, mesh.boxes)), list(map(read_at, mesh.boxes))
    waves.publish()
    waves.release(everyone=True)
    until(lambda: waves.applied(ORD) and waves.applied(LAX), 20, "it is applied")
    assert list(map(connections, mesh.boxes)) == before
    # BIRD prints the same time with another last digit now and then.
    assert [read_at(box) for box in mesh.boxes] == pytest.approx(read, abs=0.1)


# --- bundles -------------------------------------------------------------------------------------

MAIN = """from mesh.agent.entry import main
main()
"""
HANGS = """import sys, time
from mesh.agent.entry import main
if sys.argv[1:] == ["agent"]:
    time.sleep(1000)
main()
"""


@contextmanager
def systemd(mesh: Running) -> Iterator[None]:
    """Agents that end are started again."""
    stopped = threading.Event()
    starter = threading.Thread(target=as_systemd, args=(mesh, stopped))
    starter.start()
    try:
        yield
    finally:
        stopped.set()
        starter.join()


def bundle_of(box: AgentMachine) -> str:
    return box.path("/var/lib/anycast-mesh/bundle.pyz").readlink().name.removesuffix(".pyz")


def test_a_bundle_waits_for_the_release_and_is_in_force_once_it_works(
    mesh: Running, waves: Waves
) -> None:
    mesh.in_operation()
    before = mesh.network.bundle
    later = with_patience(with_file(before, "__main__.py", MAIN), 10)
    pid = mesh.ord.run("cat", "/run/whoami.pid")
    with systemd(mesh):
        waves.publish(bundle=later)
        until(lambda: waves.update(LAX) == waves.update(ORD) == "waiting", 10, "both wait")
        waves.release(ORD)
        until(lambda: waves.applied(ORD), 30, "it is released")
        assert waves.report(ORD).bundle == bundle_of(mesh.ord) == sha256(later)
        assert bundle_of(mesh.lax) == sha256(before)
        assert mesh.ord.run("cat", "/run/whoami.pid") != pid, "the others run it as well"
        trial = mesh.ord.path("/var/lib/anycast-mesh/state/bundle-trial.json")
        assert not trial.exists()
        waves.release(everyone=True)
        until(lambda: waves.applied(LAX), 30, "the registry's node follows")
    mesh.network.bundle = later
    mesh.in_operation()


def test_a_bundle_that_hangs_is_refused_for_its_manifest_and_nothing_is_withdrawn(
    mesh: Running, waves: Waves
) -> None:
    """The bundle that runs waits 10 s for it."""
    before = bundle_of(mesh.ord)
    bad = with_file(mesh.network.bundle, "__main__.py", HANGS)
    with systemd(mesh):
        waves.publish(bundle=bad)
        waves.release(ORD)
        until(lambda: bundle_of(mesh.ord) == sha256(bad), 15, "it is in place")
        until(lambda: waves.failed(ORD), 30, "it goes back")
    assert bundle_of(mesh.ord) == before
    why = waves.report(ORD).reason
    assert why == f"bundle {sha256(bad)[:12]}: has not shown within 10 s that it works"
    assert announces(mesh.ord) and serves(mesh.ord)
    waves.publish()
    waves.release(everyone=True)
    until(lambda: waves.applied(ORD) and waves.applied(LAX), 20, "the next one is applied")
