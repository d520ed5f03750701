"""An agent that is killed at any moment of a change, and of undoing it: the node is as before, or
as the change was to leave it, and never in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mesh.agent.apply import JOURNAL
from mesh.agent.host import Host
from tests.agent.test_unwritten import (
    APPLIED,
    FIRST,
    NEW,
    OLD,
    SECOND,
    TUNNEL,
    ConfiguredNode,
    Manager,
    box_on,
    part,
)

THIRD = "/etc/sysctl.d/99-anycast-mesh.conf"
OTHER = "anycast-mesh-tunnel@wg-b.service"
BEFORE = ((OLD, OLD, ""), {TUNNEL})
AFTER = ((NEW, "", NEW), {OTHER})


class Killed(BaseException):
    """kill -9: nothing of the agent runs after it."""


@contextmanager
def killed(moment: int) -> Iterator[Callable[[], int]]:
    """The agent ends before its ``moment``-th step on the node; yields how many it has made."""
    made = count(1)
    last = 0

    def step(honest: Callable[..., Any]) -> Callable[..., Any]:
        def made_of(*given: Any, **more: Any) -> Any:
            nonlocal last
            last = next(made)
            if last >= moment:
                raise Killed
            return honest(*given, **more)

        return made_of

    with pytest.MonkeyPatch.context() as patch:
        for where, names in (
            (Host, ("write", "remove", "flush", "run")),
            (Manager, ("start", "stop")),
        ):
            for name in names:
                patch.setattr(where, name, step(getattr(where, name)))
        yield lambda: last


def change(box: ConfiguredNode) -> None:
    """One file changes, one goes, one comes, and so do tunnels."""
    after = part({FIRST: NEW, THIRD: NEW}, OTHER)
    box.applier.apply(after, {}, box.before, APPLIED)


def state(box: ConfiguredNode) -> tuple[tuple[str, ...], set[str]]:
    return tuple(box.file(path) for path in (FIRST, SECOND, THIRD)), box.manager.runs


def recovers(box: ConfiguredNode, *, after: bool) -> None:
    """The next agent finds what the last one has left."""
    undone = box.applier.recover()
    assert state(box) == (BEFORE if undone or not after else AFTER)
    assert box.host.read(JOURNAL) is None
    assert not list(box.host.path("/etc").rglob("*.mesh-new"))
    change(box)
    assert state(box) == AFTER


def steps(folder: Path) -> int:
    with box_on(folder / "whole") as box, killed(10**6) as made:
        change(box)
        assert state(box) == AFTER
        return made()


def test_an_agent_that_is_killed_at_any_step_of_a_change(tmp_path: Path) -> None:
    total = steps(tmp_path)
    assert total > 10
    for moment in range(1, total + 1):
        with box_on(tmp_path / str(moment)) as box:
            with killed(moment), pytest.raises(Killed):
                change(box)
            recovers(box, after=state(box) == AFTER)


def test_an_agent_that_is_killed_at_any_step_of_undoing_a_change(tmp_path: Path) -> None:
    late = steps(tmp_path) - 2
    for moment in count(1):
        with box_on(tmp_path / str(moment)) as box:
            with killed(late), pytest.raises(Killed):
                change(box)
            assert box.host.read(JOURNAL) is not None
            try:
                with killed(moment):
                    box.applier.recover()
            except Killed:
                recovers(box, after=False)
                continue
        assert moment > 5
        return
