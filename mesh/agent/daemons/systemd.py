"""Unit files: reloaded, and units of changed ones are restarted, except for BIRD, the firewall and
the agent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from configparser import Error as IniError
from pathlib import PurePosixPath

from mesh.agent.daemons import oneshots
from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind, Difference, FileChange
from mesh.agent.daemons.unit_states import not_running
from mesh.agent.host import CommandFailed
from mesh.agent.stage import Stage

_FOLDER = "/etc/systemd/system"
# A restart of BIRD would end every session; its drop-in takes effect at its next start. That of the
# firewall matters when it stops, and its ruleset has a kind of its own. The agent restarts itself
# after the change.
_LEFT_RUNNING = ("bird.service", "nftables.service", "anycast-mesh-agent.service")
_EARLY = (oneshots.SERVICES,)
"""Brought up to date before new units start: nginx binds addresses of services. A restart would
move the rule for bound addresses behind all others of preference 0, which those have beside ours
that somebody adds without a preference."""


def _validate(_: Stage, changes: Changes) -> None:
    """Checks sections and assignments only. A unit that then does not start undoes the change."""
    for change in changes:
        if change.new is None:
            continue
        # Keys may come twice in a unit (ExecStart=), which is why this is not strict.
        parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
        try:
            parser.read_string(change.new.decode())
        except (IniError, UnicodeDecodeError):
            raise CommandFailed(f"{change.path}: not a unit file") from None
        unknown = set(parser.sections()) - {"Unit", "Service", "Timer", "Install"}
        if unknown or not parser.sections():
            raise CommandFailed(f"{change.path}: not a unit file of a service or a timer")


def _apply(node: ChangedNode, changes: Changes) -> None:
    node.manager.reload()
    for unit in _changed(node, changes):
        if unit in _EARLY:
            for missing in oneshots.differences(node, [f"{_FOLDER}/{unit}"]):
                missing.mend()


def _apply_late(node: ChangedNode, changes: Changes) -> None:
    for unit in _changed(node, changes):
        if unit not in (*_EARLY, *_LEFT_RUNNING):
            node.manager.restart(unit)
    for change in changes:
        if PurePosixPath(change.path).name == oneshots.SERVICES:
            oneshots.clear(node.host, change.old, change.new)


def _changed(node: ChangedNode, changes: Changes) -> Iterator[str]:
    """The units that ran before, go on, and have another file."""
    for unit in node.units:
        if unit in node.running and any(_is_of(change, unit) for change in changes):
            yield unit


def _is_of(change: FileChange, unit: str) -> bool:
    """Whether a file configures a unit: as its unit file, its template or a drop-in."""
    path = PurePosixPath(change.path)
    name = path.name if str(path.parent) == _FOLDER else path.parent.name.removesuffix(".d")
    template = unit.split("@")[0] + "@.service" if "@" in unit else unit
    return name in (unit, template)


def _differences(node: ChangedNode, paths: Sequence[str]) -> Iterator[Difference]:
    yield from not_running(node)
    yield from oneshots.differences(node, paths)


def _reread(node: ChangedNode) -> None:
    node.manager.reload()


KIND = DaemonKind(
    name="systemd",
    patterns=(
        f"{_FOLDER}/anycast-mesh-*.service",
        f"{_FOLDER}/anycast-mesh-*.timer",
        f"{_FOLDER}/bird.service.d/anycast-mesh.conf",
        f"{_FOLDER}/nftables.service.d/anycast-mesh.conf",
        f"{_FOLDER}/rpki-client.service.d/anycast-mesh.conf",
        f"{_FOLDER}/stayrtr.service.d/anycast-mesh.conf",
    ),
    validate=_validate,
    apply=_apply,
    apply_late=_apply_late,
    differences=_differences,
    reread=_reread,
)
