"""BIRD: `bird -p` before, `configure` with its own undo timer, confirmed at the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mesh.agent import file_paths
from mesh.agent.announce_state import Network, declare
from mesh.agent.blackholes import IBGP
from mesh.agent.config import Config
from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind, Difference
from mesh.agent.host import Host
from mesh.agent.stage import Stage
from mesh.bird.client import Bird, BirdError, NotRunning
from mesh.trust.encoding import Malformed, parse

MAIN = "/etc/bird/bird.conf"
UNDO_SECONDS = 30
"""BIRD undoes the configuration after this, if the agent dies before it confirms."""


def _validate(read: Callable[[Stage], None], stage: Stage, changes: Changes) -> None:
    for change in changes:
        if change.path == file_paths.OUT_OF_SERVICE and change.new is not None:
            declare(stage.host, change.new, _announced(stage.host))
    read(stage)


def _read_in_place(stage: Stage) -> None:
    stage.must("bird", "-p", "-c", MAIN, reads="/etc/bird")


def _announced(host: Host) -> tuple[Network, ...]:
    """The prefixes of the generation in force, if they are announced as one."""
    try:
        config = parse(Config, host.read(file_paths.CONFIG) or b"")
    except Malformed:
        return ()  # There is none, or it is of an earlier version.
    return config.aggregates if config.announced is None else ()


def _apply_late(node: ChangedNode, changes: Changes) -> None:
    node.bird.wait()
    node.bird.wait_for_kernel()
    node.bird.configure(undo_after=UNDO_SECONDS)
    if any(_aggregates(change.old) != _aggregates(change.new) for change in changes):
        _judge_again(node.bird)


def _aggregates(content: bytes | None) -> list[bytes]:
    """The lines of a file that list aggregates."""
    return re.findall(rb"^define (?:AGGREGATES|OWNED)[46] = .*$", content or b"", re.MULTILINE)


def _judge_again(bird: Bird) -> None:
    """BIRD 2 takes some sets of prefixes for the same although they differ, as that of
    192.30.120.0/23 and that of 192.30.120.0/22, and then applies no policy to its routes again:
    the new aggregate was announced to nobody (measured with 2.0.12 and 2.17.6)."""
    for names in ("to_internet*", "kernel*"):
        bird.reload_out(names)
    for names in ("u_*", IBGP):
        bird.reload_in(names)


def _confirm(node: ChangedNode) -> None:
    node.bird.confirm()


PATIENCE = 3.0
"""Seconds: where systemd is, it restarts a BIRD that has ended after one."""


def _differences(unit: str, node: ChangedNode, _: Sequence[str]) -> Iterator[Difference]:
    """Whether BIRD runs with the agent's configuration. A BIRD that hangs is not killed: its
    sessions time out, and somebody may be debugging it."""
    if unit not in node.running:
        return  # One unit of several that do not run.
    if not node.bird.changing.acquire(blocking=False):
        return  # Another thread reconfigures it now.
    try:
        when = node.bird.read_by_others()
    except NotRunning as error:
        yield Difference("bird", str(error), lambda: node.manager.restart(unit), PATIENCE)
        return
    except BirdError:
        return
    finally:
        node.bird.changing.release()
    if when:
        why = f"was read at {when}, and not for the agent"
        yield Difference("bird's configuration", why, lambda: _reread(node))


def _reread(node: ChangedNode) -> None:
    with node.bird.changing:
        node.bird.wait_for_kernel()
        node.bird.configure()


def kind(unit: str, read: Callable[[Stage], None]) -> DaemonKind:
    """BIRD as this unit runs it; ``read`` has it parse its staged files, and raises CommandFailed
    if it refuses them."""
    return DaemonKind(
        name="bird",
        patterns=(MAIN, "/etc/bird/mesh/*.conf"),
        validate=partial(_validate, read),
        apply_late=_apply_late,
        confirm=_confirm,
        differences=partial(_differences, unit),
        reread=_reread,
    )


KIND = kind("bird.service", _read_in_place)
