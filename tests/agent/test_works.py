"""When an agent has shown that it works, and what becomes of a node whose agents never do."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import cast

import pytest
from pydantic import TypeAdapter

from mesh.agent import bundle, entry, file_paths, systems
from mesh.agent.agent import Agent
from mesh.agent.announce import Announcer
from mesh.agent.announce_state import AnnounceState, written_state
from mesh.agent.apply import Applier
from mesh.agent.config import Config, NodeService
from mesh.agent.host import Host
from mesh.agent.iproute import IpRoute
from mesh.agent.notify import SystemdSupervisor
from mesh.agent.repairs import Repairs
from mesh.agent.seed import read_seed
from mesh.agent.state import APPLIED, Applied
from mesh.agent.workers import Workers
from mesh.bird.client import Bird
from mesh.render import node_files, placeholder_facts
from mesh.services.checks.check import Target
from mesh.services.checks.tcp import TcpCheck
from mesh.services.service import Ports
from mesh.trust import keys
from tests.kit.bird_control import control
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import PATIENCE, until

ADDRESS = "127.30.120.100"
"""The service's: it is on lo, as a service's address is on a node."""
STOP = "systemctl stop anycast-mesh-withdraw.timer anycast-mesh-withdraw.service"


def machine(folder: Path, bound: bool) -> Host:
    """One whose commands are written down and do nothing; the service's address is there or not.
    They fail while there is a file ``broken``, and nothing is bound while there is ``unbindable``.
    ``routes`` is what it says of routes."""
    shown = json.dumps([{"addr_info": [{"local": ADDRESS}]}] if bound else [])
    script = folder / "command"
    script.write_text(f"""#!/bin/sh
echo "$*" >>{folder}/commands
[ -e {folder}/broken ] && exit 124
case "$*" in
*"address show"*) [ -e {folder}/unbindable ] && echo '[]' || echo '{shown}' ;;
*"-4 route show"*) cat {folder}/routes 2>&- ;;
*-batch*) [ -e {folder}/unbindable ] && echo "no such device" >&2 && exit 1; cat >>{folder}/batch ;;
esac
exit 0
""")
    script.chmod(0o755)
    (folder / "commands").touch()
    return Host(folder / "node", prefix=(str(script),))


@dataclass
class Runs:
    """A BIRD, by its answers: it runs by what it has read last of the announce state's file."""

    folder: Path
    state: AnnounceState = field(default_factory=AnnounceState)
    refusal: str = ""
    """Why it takes no configuration; empty where it does."""
    configured: int = 0
    """So often it was asked to."""
    states: list[AnnounceState] = field(default_factory=list)
    """All that it has run by since."""
    queues: bool = False
    """Whether it queues a reconfiguration, and answers by the one before until a moment later."""

    def __call__(self, command: str) -> str:
        if command == "configure":
            self.configured += 1
            if self.refusal:
                return f"8002 {self.refusal}\n"
            state = written_state(Host(self.folder / "node"))
            self.states.append(state)
            if self.queues:
                threading.Timer(0.1, self.takes, (state,)).start()
                return "0004 Reconfiguration in progress\n"
            self.takes(state)
            return "0003 Reconfigured\n"
        values = {"IN_SERVICE": self.state.in_service, "DRAINING": self.state.draining}
        value = values.get(command.removeprefix("eval "))
        return "9001 unknown here\n" if value is None else f"0023 {str(value).upper()}\n"

    def takes(self, state: AnnounceState) -> None:
        """It runs by this from now on."""
        self.state = state


def asked(folder: Path) -> list[str]:
    """The commands so far."""
    return (folder / "commands").read_text().splitlines()


def served(port: int, fall: int = 2, interval: float = 0.1) -> Config:
    """One service, with a check of a TCP port."""
    check = TcpCheck(port=port, interval=interval, fall=fall)
    web = NodeService(
        name="web",
        addresses=(IPv4Address(ADDRESS),),
        ports=Ports((80,)),
        checks=(check,),
        local=True,
    )
    return Config("lax-vultr-1", "lax", "dummy0", (), (IPv4Address("10.10.10.2"),), (web,), True)


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """What takes a node seconds takes less here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, seconds in (
            ("service_addresses.RETRY", 0.5),
            ("bird_state.RECONCILE", 0.5),
            ("announce.CATCH_UP", 120.0),
            ("announce_state.SHUTDOWN", 1.5),
            ("announce_state.LINGER", 0.5),
        ):
            patch.setattr(f"mesh.agent.{name}", seconds)
        yield


@pytest.fixture
def port() -> Iterator[int]:
    """A port that is listened on."""
    with socket.create_server((ADDRESS, 0)) as one:
        yield one.getsockname()[1]


@pytest.fixture
def closed() -> int:
    """One that is not."""
    with socket.create_server((ADDRESS, 0)) as one:
        number: int = one.getsockname()[1]
    return number


@contextmanager
def presence(
    folder: Path,
    bird: Bird,
    *,
    bound: bool = True,
    repairs: Repairs | None = None,
    is_behind: Callable[[], bool] = lambda: False,
    is_left_out: Callable[[], bool] = lambda: False,
) -> Iterator[Announcer]:
    """A node's presence, on a machine where an agent before has bound the address, or not."""
    stop = threading.Event()
    workers = Workers(stop)
    host = machine(folder, bound)
    one = Announcer(
        host, bird, IpRoute(host), lambda: None, workers, repairs, is_behind, is_left_out
    )
    workers.start("presence", lambda: one.run(stop))
    try:
        yield one
    finally:
        one._generation += 1  # its checks end
        stop.set()
        one._wake.set()
        until(lambda: not workers.alive, 5, "it says nothing more")


def test_an_agent_that_has_asked_the_service_and_bird_works(tmp_path: Path, port: int) -> None:
    with control(tmp_path, Runs(tmp_path)) as bird, presence(tmp_path, bird) as one:
        assert not one.works, "it has only started"
        one.watch(served(port))
        until(lambda: one.works, 10, "it works")


def test_a_node_that_starts_announces_nothing_before_it_has_what_is_in_force(
    tmp_path: Path, port: int
) -> None:
    behind = [True]
    with (
        control(tmp_path, Runs(tmp_path)) as bird,
        presence(tmp_path, bird, is_behind=lambda: behind[0]) as one,
    ):
        one.watch(served(port))
        until(lambda: one.works, 10, "it works, and its service is well")
        assert not one.announcing and not written_state(Host(tmp_path / "node")).in_service
        behind[0] = False
        until(lambda: one.announcing, 10, "it has what is in force")
        behind[0] = True
        rounds = one._rounds
        until(lambda: one._rounds > rounds + 2, 10, "it has looked again")
        assert one.announcing, "what is announced is not withdrawn for that"


def test_a_node_that_starts_and_reaches_no_registry_announces_what_it_has(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.agent.announce.CATCH_UP", 0.5)
    with (
        control(tmp_path, Runs(tmp_path)) as bird,
        presence(tmp_path, bird, is_behind=lambda: True) as one,
    ):
        one.watch(served(port))
        until(lambda: one.announcing, 10, "it has waited for long enough")


def test_a_node_that_was_removed_while_it_was_off_announces_nothing(
    tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own instance is well; it serves and announces again once the network names it."""
    left_out = [True]
    with (
        control(tmp_path, Runs(tmp_path)) as bird,
        presence(tmp_path, bird, is_left_out=lambda: left_out[0]) as one,
    ):
        one.watch(served(port))
        until(lambda: one.gone, 10, "it serves nothing")
        assert not one.announcing and "left-out" in caplog.text
        left_out[0] = False
        one.watch(served(port))
        until(lambda: one.announcing, 10, "it is back")


def test_a_node_that_is_removed_announces_until_no_peer_speaks_with_it(
    tmp_path: Path, port: int
) -> None:
    """Peers that have yet to apply the update may not announce in its place."""
    left_out = [False]
    way = [{"dst": "10.10.10.2", "dev": "wg-ord-vultr-1"}]
    (tmp_path / "routes").write_text(json.dumps(way))
    with (
        control(tmp_path, Runs(tmp_path)) as bird,
        presence(tmp_path, bird, is_left_out=lambda: left_out[0]) as one,
    ):
        one.watch(served(port))
        until(lambda: one.announcing, 10, "it announces")
        left_out[0] = True
        rounds = one._rounds
        until(lambda: one._rounds > rounds + 2, 10, "it has looked again")
        assert one.announcing and not one.faults
        (tmp_path / "routes").write_text("[]")
        until(lambda: not one.announcing, 10, "it withdraws")


def test_a_node_that_reaches_nobody_and_hears_nothing_new_goes_on(
    tmp_path: Path, port: int
) -> None:
    with control(tmp_path, Runs(tmp_path)) as bird, presence(tmp_path, bird) as one:
        one.watch(served(port))
        until(lambda: one.announcing, 10, "it announces what it serves itself")


def test_while_bird_does_not_answer_it_has_shown_nothing(tmp_path: Path, port: int) -> None:
    with presence(tmp_path, Bird(tmp_path / "bird.ctl")) as one:
        one.watch(served(port))
        until(lambda: one._locals["web"].watches[0].judged, 10, "the service is well")
        until(lambda: written_state(Host(tmp_path / "node")).in_service, 10, "BIRD's file says so")
        assert not one.works
        with control(tmp_path, Runs(tmp_path)):
            until(lambda: one.works, 10, "it works once BIRD answers")


def test_a_word_that_bird_does_not_take_is_told_again_until_it_does(
    tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bird = Runs(tmp_path, refusal="/etc/bird/bird.conf:7:1 syntax error")
    with control(tmp_path, bird) as there, presence(tmp_path, there) as one:
        one.watch(served(port))
        until(lambda: bird.configured > 1, 20, "it is told again")
        assert written_state(Host(tmp_path / "node")) == AnnounceState(in_service=True)
        assert not one.announcing, "what counts is what BIRD runs by"
        assert one.faults == {"announce": f"bird: {bird.refusal}"}
        assert not one.works
        bird.refusal = ""
        until(lambda: one.announcing, 20, "it is told again")
        assert bird.state == AnnounceState(in_service=True)
        assert one.faults == {}
        until(lambda: one.works, 10, "it works now")
    told = [line.message for line in caplog.records if line.message.startswith("announce ")]
    assert len(told) == 2, "each state once"


def test_a_bird_that_has_gone_back_to_an_earlier_word_is_told_again(
    tmp_path: Path, port: int
) -> None:
    """By its undo timer, or because the agent before has told it in vain: the file is right."""
    bird = Runs(tmp_path)
    with control(tmp_path, bird) as there, presence(tmp_path, there) as one:
        one.watch(served(port))
        until(lambda: bird.state.in_service, 20, "it announces")
        bird.state = AnnounceState()
        until(lambda: bird.state.in_service, 20, "it announces again")


def test_a_node_whose_bird_does_not_take_it_has_not_drained(tmp_path: Path, port: int) -> None:
    bird = Runs(tmp_path)
    with control(tmp_path, bird) as there, presence(tmp_path, there) as one:
        one.watch(served(port))
        until(lambda: bird.state.in_service, 20, "it announces")
        bird.refusal = "no"
        before = bird.configured
        one.drain(True)
        until(lambda: bird.configured > before + 1, 20, "it is told")
        assert one._drain_sequence is not None
        assert one._drain_sequence.leaving is None, "nobody was warned so far"
        assert one.announcing
        bird.refusal = ""
        until(lambda: one.drained, 30, "it drains")
        assert bird.state == AnnounceState(draining=True)


def test_a_node_drains_gracefully_right_after_a_queued_announcement(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer after the reconfiguration is still that of the one before (BIRD 2.17.6, a table of
    thousands, two busy processors)."""
    monkeypatch.setattr("mesh.agent.bird_state.RECONCILE", 600.0)
    bird = Runs(tmp_path, queues=True)
    with control(tmp_path, bird) as there, presence(tmp_path, there) as one:
        one.watch(served(port))
        until(lambda: bird.state.in_service, 20, "it announces")
        one.drain(True)
        until(lambda: bird.state.draining, 20, "it drains")
        assert bird.states[:2] == [AnnounceState(True), AnnounceState(True, draining=True)]


def test_a_node_drains_although_its_bird_does_not_run(tmp_path: Path, port: int) -> None:
    with presence(tmp_path, Bird(tmp_path / "bird.ctl")) as one:
        one.watch(served(port))
        until(lambda: written_state(Host(tmp_path / "node")).in_service, 20, "it is in service")
        one.drain(True)
        until(lambda: one.drained, 30, "it drains: it announces nothing")


@pytest.mark.parametrize("step", [AnnounceState(True, draining=True), AnnounceState(draining=True)])
def test_an_agent_that_is_killed_while_its_node_drains_goes_on_draining(
    tmp_path: Path, port: int, step: AnnounceState
) -> None:
    bird = Runs(tmp_path)
    with control(tmp_path, bird) as there:
        with presence(tmp_path, there) as one:
            one.watch(served(port))
            until(lambda: bird.state.in_service, 20, "it announces")
            one.drain(True)
            until(lambda: step in bird.states, 30, "it drains")
        bird.states.clear()
        with presence(tmp_path, there) as one:
            one.drain(True)
            one.watch(served(port))
            until(lambda: one.drained, 30, "it is drained")
        assert bird.state == AnnounceState(draining=True)
        assert all(state.draining for state in bird.states), "nobody is drawn back"


def test_a_service_that_was_taken_over_is_no_sign_while_its_answers_are_bad(
    tmp_path: Path, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent before may have died with it: the address is bound until the checks have fallen."""
    honest, seen = TcpCheck.problem, threading.Event()

    def slow(check: TcpCheck, target: Target) -> str:
        if one._locals["web"].watches[0].streak == 3:
            seen.wait(PATIENCE)
        return honest(check, target)

    monkeypatch.setattr(TcpCheck, "problem", slow)
    with control(tmp_path, Runs(tmp_path)) as bird, presence(tmp_path, bird) as one:
        one.watch(served(closed, fall=15))
        until(lambda: one._locals["web"].watches[0].streak == 3, 10, "its checks fail")
        assert one.services() == {"web": True}
        assert not one.works
        seen.set()
        until(lambda: one.works, 10, "it works")
        assert one.services() == {"web": False}, "not before the service is down"


def test_a_family_that_is_dead_is_unbound_alone_and_the_journal_says_so_once(
    tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here IPv6 has no listener, and an agent before has bound it."""
    # Its interface shows always the same: a second look would have to unbind it again.
    monkeypatch.setattr("mesh.agent.service_addresses.INTERFACE", 10 * PATIENCE)
    caplog.set_level(logging.INFO, "anycast-mesh")
    config = served(port)
    (web,) = config.services
    both = (*web.addresses, IPv6Address("::1"))
    config = replace(config, services=(replace(web, addresses=both),))
    host = tmp_path / "command"
    with presence(tmp_path, Bird(tmp_path / "nobody")) as one:
        host.write_text(host.read_text().replace('"}]', '"}, {"local": "::1"}]'))
        one.watch(config)
        until(lambda: one.families() == {"web": {"ipv4": True, "ipv6": False}}, 10, "IPv6 is down")
        assert one.services() == {"web": False}
        assert one.failures() == {"web": f"IPv6: tcp port {port}: connection refused"}
        asked_again = time.monotonic() + 0.5
        until(lambda: time.monotonic() > asked_again, 5, "it is asked again and again")
    assert (tmp_path / "batch").read_text().splitlines() == ["address del ::1/128 dev dummy0"]
    said = [record.getMessage() for record in caplog.records if "service " in record.getMessage()]
    assert said == [
        f'service name="web" family="ipv6" up="False" reason="tcp port {port}: connection refused"'
    ]


def test_a_check_that_cannot_even_ask_takes_its_service_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else the service would stay what it was for ever."""

    def broken(_: TcpCheck, target: Target) -> str:
        raise MemoryError("no more of it")

    monkeypatch.setattr(TcpCheck, "problem", broken)
    with presence(tmp_path, Bird(tmp_path / "nobody")) as one:
        one.watch(served(80))
        until(lambda: one.services() == {"web": False}, 10, "it is down")
        until(lambda: "the check itself fails: MemoryError" in one.failures()["web"], 5, "and why")


# --- rounds that fail ----------------------------------------------------------------------------


def beats(one: Announcer) -> bool:
    """Whether it shows life for a watchdog."""
    before = one.beat
    until(lambda: time.monotonic() - before > 1.0, 10, "time goes by")
    return one.beat > before


@pytest.mark.parametrize("step", ["_announce", "_look_again"])
@pytest.mark.parametrize("error", [OSError(28, "full"), KeyError("what nobody has thought of")])
def test_a_presence_that_fails_in_every_round_shows_no_life(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    """Else no watchdog would end it, and nobody would withdraw what it no longer looks after."""
    with control(tmp_path, Runs(tmp_path)) as bird, presence(tmp_path, bird) as one:
        one.watch(served(port))
        until(lambda: one.works, 20, "it works")
        until(lambda: beats(one), 10, "it shows life")

        def fails() -> None:
            raise error

        monkeypatch.setattr(one, step, fails)
        one.look_soon()
        until(lambda: "presence" in one.faults, 20, "it says so")
        assert type(error).__name__ in one.faults["presence"]
        assert not beats(one)
        one.works = False
        until(lambda: not beats(one), 10, "another round has failed")
        assert not one.works
        monkeypatch.undo()
        one.look_soon()
        until(lambda: one.works, 20, "it works again")
        until(lambda: beats(one), 10, "it shows life again")
        assert one.faults == {}


def test_what_cannot_be_seen_for_a_moment_withdraws_nothing(tmp_path: Path, closed: int) -> None:
    """This node's own service is down; that a peer's can be reached is read of the kernel."""
    (tmp_path / "routes").write_text(json.dumps([{"dst": ADDRESS, "dev": "wg-ord-vultr-1"}]))
    bird = Runs(tmp_path)
    with control(tmp_path, bird) as there, presence(tmp_path, there) as one:
        one.watch(served(closed))
        until(lambda: one.works and one.services() == {"web": False}, 20, "it is down here")
        assert bird.state.in_service, "and served elsewhere"
        (tmp_path / "broken").touch()
        until(lambda: "presence" in one.faults, 20, "it sees nothing")
        assert not beats(one)
        assert bird.state.in_service
        (tmp_path / "routes").write_text("[]")
        (tmp_path / "broken").unlink()
        until(lambda: not bird.state.in_service, 20, "it sees that nobody serves")


def test_a_service_that_cannot_be_bound_is_not_served_here(tmp_path: Path, port: int) -> None:
    bird = Runs(tmp_path)
    with control(tmp_path, bird) as there, presence(tmp_path, there) as one:
        one.watch(served(port))
        until(lambda: bird.state.in_service, 20, "it is served")
        (tmp_path / "unbindable").touch()
        one.look_soon()  # As the kernel tells it.
        until(lambda: not bird.state.in_service, 20, "its address has gone, and no mate has it")
        assert one.failures() == {"web": "no such device"}
        (tmp_path / "unbindable").unlink()
        until(lambda: bird.state.in_service, 20, "it is back")
        assert one.failures() == {}


def test_an_address_that_is_taken_from_a_held_node_is_not_served_there(
    tmp_path: Path, port: int
) -> None:
    bird, held = Runs(tmp_path), threading.Event()
    repairs = Repairs(held=held.is_set)
    with control(tmp_path, bird) as there, presence(tmp_path, there, repairs=repairs) as one:
        one.watch(served(port))
        until(lambda: bird.state.in_service, 20, "it is served")
        held.set()
        (tmp_path / "unbindable").touch()
        one.look_soon()  # As the kernel tells it.
        until(lambda: not bird.state.in_service, 20, "and no mate has it")
        assert "was taken from this node, which is held" in one.failures()["web"]
        held.clear()
        (tmp_path / "unbindable").unlink()
        one.look_soon()
        until(lambda: bird.state.in_service, 20, "it is back")


# --- the timer -----------------------------------------------------------------------------------


@dataclass
class Still:
    """An agent that has started and shown nothing, so far."""

    stop: threading.Event
    works: bool = False
    beat: float = 0.0


def test_only_an_agent_that_works_takes_back_that_its_node_withdraws(tmp_path: Path) -> None:
    host, one = machine(tmp_path, bound=True), Still(threading.Event())
    thread = threading.Thread(
        target=entry.tend, args=(cast(Agent, one), SystemdSupervisor(host)), daemon=True
    )
    thread.start()
    one.stop.wait(1.5)
    assert asked(tmp_path) == []
    one.works = True
    until(lambda: asked(tmp_path) == [STOP], 5, "it is taken back")
    one.stop.set()
    thread.join(PATIENCE)
    assert asked(tmp_path) == [STOP], "once"


def seeded(folder: Path) -> Host:
    """A machine with a seed."""
    host = machine(folder, bound=True)
    operator, public = keys.new_operator_key()
    seed = {
        "node": "lax-vultr-1", "registries": [], "operator": public, "bundle": "0" * 64,
        "token": keys.join_token(operator, "lax-vultr-1"), "registry": False,
        "registry_port": 8443,
    }  # fmt: skip
    host.write(file_paths.SEED, json.dumps(seed).encode(), 0o600)
    return host


def test_an_agent_whose_key_file_is_broken_lets_the_timer_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loops: each start fails, and systemd tries the next."""
    host = seeded(tmp_path)
    host.path(f"{file_paths.KEYS}/identity.key").mkdir(parents=True)
    monkeypatch.setattr("mesh.agent.systems.here", lambda: host)
    for _ in range(3):
        with pytest.raises(OSError, match="is not a file"):
            entry.agent()
        entry.stopped()
    assert not [line for line in asked(tmp_path) if line.startswith("systemctl stop")]
    assert [line.split()[0] for line in asked(tmp_path)] == ["systemd-run"] * 3


@pytest.fixture
def withdrawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Withdrawing]:
    """A node that is in service, and the timer's command for it."""
    one = Withdrawing(tmp_path, seeded(tmp_path), Runs(tmp_path, AnnounceState(in_service=True)))
    one.host.write(file_paths.CONFIG, TypeAdapter(Config).dump_json(served(80)), 0o644)
    one.host.write(file_paths.ANNOUNCE, AnnounceState(in_service=True).file(), 0o644)
    one.show(*OWN, ADDRESS, EARLIER)
    monkeypatch.setattr("mesh.agent.systems.here", lambda: one.host)
    monkeypatch.setattr("mesh.agent.log.start", lambda: None)
    monkeypatch.setattr(entry, "_AGAIN", 0.1)
    place = one.host.path(file_paths.BIRD_SOCKET)
    place.parent.mkdir(parents=True)
    with control(place.parent, one.bird):
        yield one


@dataclass
class Withdrawing:
    folder: Path
    host: Host
    bird: Runs

    def show(self, *addresses: str) -> None:
        """What is on the interface; `ip` takes away what it is told to."""
        (self.folder / "bound").write_text("".join(f"{one}\n" for one in addresses))
        script = f"""#!/bin/sh
cd {self.folder}
case "$*" in
*"address show dev dummy0"*)
	printf '[{{"addr_info":[{{"local":"fe80::1","scope":"link"}}'
	sed 's/.*/,{{"local":"&"}}/' bound
	echo ']}}]' ;;
*-batch*)
	[ -e stuck ] && echo "busy" >&2 && exit 1
	while read -r _ _ gone _; do grep -vx "${{gone%/*}}" bound >left; mv left bound; done ;;
*) exit 1 ;;
esac
"""
        (self.folder / "command").write_text(script)

    @property
    def bound(self) -> set[str]:
        return set((self.folder / "bound").read_text().split())


OWN = ("10.10.10.1", "fd00:10:10::1", "192.30.120.1", "2620:71:4000::1")
EARLIER = "2620:71:4000::77"
"""Of a service of a generation before."""


def test_the_node_withdraws_although_an_agent_runs_that_has_shown_nothing(
    withdrawing: Withdrawing,
) -> None:
    """In a loop one runs nearly always. (Its unit says which addresses are its own.)"""
    lay_unit(withdrawing.host)
    entry.withdraw()
    assert withdrawing.bound == set(OWN)
    assert written_state(withdrawing.host) == withdrawing.bird.state == AnnounceState()


def lay_unit(host: Host) -> None:
    """The unit that brings up the interface, as it is rendered."""
    plan = plan_of(prod())
    files = node_files(plan, placeholder_facts(plan))["lax-vultr-1"].files
    (text,) = [f.content for f in files if f.path.endswith("/anycast-mesh-dummy.service")]
    host.write("/etc/systemd/system/anycast-mesh-dummy.service", text.encode(), 0o644)


@pytest.mark.parametrize(
    "unreadable", [None, b"", b"{", b"[]", b'{"interface": "dummy0", "services": [1]}']
)
def test_a_node_withdraws_whatever_became_of_its_configuration(
    withdrawing: Withdrawing, unreadable: bytes | None
) -> None:
    if unreadable is None:
        withdrawing.host.remove(file_paths.CONFIG)
    else:
        withdrawing.host.write(file_paths.CONFIG, unreadable, 0o644)
    lay_unit(withdrawing.host)
    entry.withdraw()
    assert withdrawing.bound == set(OWN)
    assert written_state(withdrawing.host) == withdrawing.bird.state == AnnounceState()


def test_a_configuration_of_another_version_says_which_interface(withdrawing: Withdrawing) -> None:
    """Where not even the unit is left, what the services have is known by it."""
    document = json.loads(withdrawing.host.read(file_paths.CONFIG) or b"") | {"of_tomorrow": {}}
    withdrawing.host.write(file_paths.CONFIG, json.dumps(document).encode(), 0o644)
    entry.withdraw()
    assert withdrawing.bound == {*OWN, EARLIER}


def test_what_fails_of_it_is_tried_again_and_the_rest_is_done(withdrawing: Withdrawing) -> None:
    lay_unit(withdrawing.host)
    withdrawing.bird.refusal = "/etc/bird/bird.conf:7:1 syntax error"
    (withdrawing.folder / "stuck").touch()
    thread = threading.Thread(target=entry.withdraw, daemon=True)
    thread.start()
    until(lambda: withdrawing.bird.configured > 2, 20, "BIRD is told again")
    assert written_state(withdrawing.host) == AnnounceState()
    assert thread.is_alive()
    (withdrawing.folder / "stuck").unlink()
    until(lambda: withdrawing.bound == set(OWN), 20, "the addresses go although BIRD refuses")
    withdrawing.bird.refusal = ""
    until(lambda: not thread.is_alive(), 20, "it is done")
    assert withdrawing.bird.state == AnnounceState()


def test_a_withdrawal_needs_no_package_that_an_agent_may_miss() -> None:
    script = "import sys, mesh.agent.withdrawal, mesh.agent.log, mesh.agent.systems, "
    script += "mesh.agent.entry; "
    script += "print([m for m in ('pydantic', 'cryptography') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=bundle.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# --- a change that was cut short -----------------------------------------------------------------


def test_an_agent_that_undoes_a_change_for_long_shows_meanwhile_that_it_works(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the node would withdraw what is well, or the watchdog end the undoing, for ever."""
    host = seeded(tmp_path)
    host.write(file_paths.CONFIG, TypeAdapter(Config).dump_json(served(port)), 0o644)
    host.write(file_paths.ANNOUNCE, AnnounceState(in_service=True).file(), 0o644)
    applied = Applied(4, "0" * 64, "{}")
    host.write(APPLIED, TypeAdapter(Applied).dump_json(applied), 0o600)
    undone, begun = threading.Event(), threading.Event()

    def recover(_: Applier) -> bool:
        begun.set()
        undone.wait()
        return True

    monkeypatch.setattr(Applier, "recover", recover)
    place = host.path(file_paths.BIRD_SOCKET)
    place.parent.mkdir(parents=True)
    with control(place.parent, Runs(tmp_path, AnnounceState(in_service=True))):
        one = Agent(host, read_seed(host), systems.of(host))
        one._rejected_routes._port = 0
        threading.Thread(target=one.run, daemon=True).start()
        try:
            until(begun.is_set, 20, "it undoes a change")
            until(lambda: one.works, 20, "it works meanwhile")
            until(lambda: beats(one._announcer), 10, "it shows life")
        finally:
            one.stop.set()
            undone.set()
