"""Users of our daemons and their folders in /run: made before any daemon is told to use them.

A user stays when its file goes: another one must not get its number. A host that is given back has
it no more (mesh.ssh.receiver).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from functools import partial

from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind, Difference
from mesh.agent.host import CommandFailed, Host
from mesh.agent.stage import Stage

USERS = "/etc/sysusers.d/anycast-mesh.conf"
FOLDERS = "/etc/tmpfiles.d/anycast-mesh.conf"
_USER = re.compile(r'u mesh-[a-z]{1,20} - "[A-Za-z ,.-]{1,64}" / /usr/sbin/nologin')
_OWNER = "(?:root|bird|mesh-[a-z]{1,20})"
_FOLDER = re.compile(
    rf"d (?P<path>/run/anycast-mesh(?:/[a-z]{{1,20}})?) (?P<mode>[0-7]{{4}}) {_OWNER} {_OWNER}"
)
_LINES = {USERS: (_USER, "user"), FOLDERS: (_FOLDER, "folder")}
_COMMANDS = {USERS: ("systemd-sysusers",), FOLDERS: ("systemd-tmpfiles", "--create")}


def _validate(_: Stage, changes: Changes) -> None:
    """Only users of ours without a shell, and folders below our own in /run."""
    for change in changes:
        form, what = _LINES[change.path]
        for number, line in _lines(change.new):
            if form.fullmatch(line) is None:
                raise CommandFailed(f"{change.path}:{number}: not a {what} of a daemon of ours")


def _lines(content: bytes | None) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers."""
    for number, line in enumerate((content or b"").decode("utf-8", "replace").split("\n"), 1):
        if line and not line.startswith("#"):
            yield number, line


def _apply(node: ChangedNode, changes: Changes) -> None:
    for change in sorted(changes, key=lambda one: list(_COMMANDS).index(one.path)):
        if change.new is not None:
            _make(node.host, change.path)


def _make(host: Host, path: str) -> None:
    host.must(*_COMMANDS[path], path)


def _differences(node: ChangedNode, paths: Sequence[str]) -> Iterator[Difference]:
    if FOLDERS not in paths:
        return
    for _, line in _lines(node.host.read(FOLDERS)):
        found = _FOLDER.fullmatch(line)
        if found is None:
            continue
        why = _differs(node.host, found["path"], int(found["mode"], 8))
        if why:
            yield Difference(f"folder {found['path']}", why, partial(_make, node.host, FOLDERS))


def _differs(host: Host, path: str, mode: int) -> str:
    """Why a folder is not as its line says; empty where it is."""
    try:
        status = host.path(path).lstat()
    except OSError:
        return "is not there"
    if not stat.S_ISDIR(status.st_mode):
        return "is no folder"
    now = stat.S_IMODE(status.st_mode)
    return "" if now == mode else f"has the mode {now:04o}, not {mode:04o}"


def _reread(node: ChangedNode) -> None:
    for path in _COMMANDS:
        if node.host.path(path).exists():
            _make(node.host, path)


KIND = DaemonKind(
    name="accounts",
    patterns=(USERS, FOLDERS),
    validate=_validate,
    apply=_apply,
    differences=_differences,
    reread=_reread,
)
