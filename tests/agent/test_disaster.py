"""What a node does whose disk takes nothing, whose clock is wrong, or whose agent has a fault: it
goes on obeying, and says so."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesh.agent import file_paths
from mesh.agent.agent import Agent
from mesh.agent.offers import Offers
from mesh.trust import keys
from mesh.trust.documents import Report
from mesh.trust.orders import DRAIN
from tests.agent.member import NODE, Member, member
from tests.kit.wait import until


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Member]:
    with member(tmp_path) as one:
        yield one


@contextmanager
def running(node: Member) -> Iterator[Agent]:
    agent = node.agent()
    try:
        yield agent
    finally:
        agent.stop.set()


def outcome(node: Member, of: str) -> Report | None:
    """Its report, once that speaks of this outcome."""
    word = node.report()
    return word if word is not None and word.outcome == of else None


def faults(node: Member) -> dict[str, str]:
    word = node.report()
    return {} if word is None else word.health.faults or {}


# --- the disk ------------------------------------------------------------------------------------


class Disk:
    """A small disk under the agent's state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        with suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        (self.folder / "ballast").unlink()

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.folder)], check=True)


@pytest.fixture
def disk(node: Member) -> Iterator[Disk]:
    folder = node.host.path(file_paths.STATE)
    held = {file.name: file.read_bytes() for file in folder.iterdir()}
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", folder], check=True)
    try:
        for name, content in held.items():
            (folder / name).write_bytes(content)
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


BREAK: dict[str, tuple[Callable[[Disk], None], Callable[[Disk], None], str]] = {
    "full": (Disk.fill, Disk.empty, "No space left on device"),
    "read-only": (
        lambda disk: disk.remount("ro"),
        lambda disk: disk.remount("rw"),
        "Read-only file system",
    ),
}


@pytest.mark.root
@pytest.mark.parametrize("how", BREAK)
def test_a_node_whose_disk_takes_nothing_obeys_and_reports_the_disk(
    node: Member, disk: Disk, how: str
) -> None:
    breaks, mends, why = BREAK[how]
    with running(node) as agent:
        node.order(1)
        until(partial(node.obeyed, 1, drained=False), 20, "it reads orders")
        breaks(disk)
        until(lambda: file_paths.STATE in faults(node).get("disk", ""), 10, "it says so, unasked")
        node.order(2, NODE)
        until(partial(node.obeyed, 2, drained=True), 20, "it drains all the same")
        until(lambda: why in faults(node).get("disk", ""), 10, "it says what it could not write")
        node.order(3)
        until(partial(node.obeyed, 3, drained=False), 20, "and comes back")
        assert agent._workers.alive
        mends(disk)
        until(lambda: faults(node) == {}, 20, "it says that all is well")
        assert b'\\"number\\":3' in (node.host.read(f"{file_paths.STATE}/drain.json") or b"")


def test_a_generation_that_the_disk_does_not_take_is_refused_and_tried_again(
    node: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    has_room = threading.Event()

    def apply(*_: object) -> list[str]:
        if not has_room.is_set():
            raise full
        return []

    monkeypatch.setattr("mesh.agent.apply.Applier._apply", apply)
    monkeypatch.setattr("mesh.agent.generations.FULL_DISK", 2.0)
    with running(node):
        word = until(partial(outcome, node, "failed"), 20, "it says so")
        assert word is not None
        assert "No space left on device" in word.reason
        has_room.set()
        until(partial(outcome, node, "applied"), 20, "it is applied")


def test_a_generation_that_trips_the_agent_is_refused_and_ends_nothing(
    node: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each agent after it would fail of it as well, and the node withdraw."""

    def apply(*_: object) -> list[str]:
        raise KeyError("what nobody has thought of")

    monkeypatch.setattr("mesh.agent.apply.Applier._apply", apply)
    with running(node) as agent:
        word = until(partial(outcome, node, "failed"), 20, "it says so")
        assert word is not None
        assert word.reason == "KeyError: 'what nobody has thought of'"
        node.order(1, NODE)
        until(partial(node.obeyed, 1, drained=True), 20, "it goes on obeying")
        assert not agent.stop.is_set()


# --- threads -------------------------------------------------------------------------------------


def test_a_thread_that_fails_is_begun_again_and_told(
    node: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing: list[object] = []
    honest = Offers.order

    def offered(self: Offers, kind: Any, *given: Any) -> int | None:
        if kind is DRAIN and not failing:
            failing.append(given)
            raise RuntimeError("what nobody has thought of")
        return honest(self, kind, *given)

    monkeypatch.setattr(Offers, "order", offered)
    with running(node) as agent:
        node.order(1, NODE)
        until(partial(node.obeyed, 1, drained=True), 20, "the next try obeys")
        told = until(lambda: faults(node), 10, "it says so")
        assert list(told.values()) == ["RuntimeError: what nobody has thought of"]
        assert next(iter(told)).startswith("thread listen https://")
        until(
            lambda: time.monotonic() - agent.beat < 10, 10, "the watchdog has no reason to end it"
        )


# --- the clock -----------------------------------------------------------------------------------


def test_a_node_whose_clock_was_ahead_is_heard_as_soon_as_it_is_right(
    node: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It boots with a clock that is an hour ahead, says something, and boots again."""
    right = time.time_ns
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time_ns", lambda: right() + 3600 * 10**9)
        with running(node):
            ahead = until(node.report, 20, "it speaks")
        assert ahead is not None
        assert ahead.sequence / 1e6 > time.time() + 3000
    with running(node):
        node.order(1, NODE)
        until(partial(node.obeyed, 1, drained=True), 20, "it is heard")
        word = node.report()
        assert word is not None
        assert word.sequence > ahead.sequence
        assert word.clock is not None
        assert abs(word.clock / 1e6 - time.time()) < 60, "and says when that was"


def test_nobody_elses_word_and_no_older_one_moves_a_nodes_number(node: Member) -> None:
    """Neither a registry that invents nor one that replays."""
    own, stranger = node.fleet.identities[NODE], keys.new_signing_key()[0]
    made, high = node.fleet.fifth, 2**52
    with running(node) as agent:
        until(node.report, 20, "it speaks")
        before = agent._reports._sequence
        assert before > 1
        agent._reports.newer(node.fleet.report(NODE, made, before - 1))
        node.fleet.identities[NODE] = stranger
        agent._reports.newer(node.fleet.report(NODE, made, high))
        node.fleet.identities[NODE] = own
        assert before <= agent._reports._sequence < high, "and goes on by its own clock"
        agent._reports.newer(node.fleet.report(NODE, made, high))
        until(lambda: (word := node.report()) and word.sequence > high, 20, "it goes on above it")


def test_a_clock_that_is_not_a_registrys_is_reported(
    node: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.agent.registry_client.JOINING_WAIT", 0.2)
    monkeypatch.setattr("mesh.registry.client._ahead", lambda *_: 90.0)
    url = node.registry.url
    with running(node):
        until(lambda: (word := node.report()) and word.health.clocks == {url: 90}, 20, "it says so")
        monkeypatch.setattr("mesh.registry.client._ahead", lambda *_: 0.7)
        until(lambda: (word := node.report()) and word.health.clocks == {}, 20, "it is right again")
