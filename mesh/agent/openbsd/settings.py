"""Kernel settings, in the form of sysctl.conf(5). BIRD's script sets them at each start."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind, Difference
from mesh.agent.host import CommandFailed, Host
from mesh.agent.stage import Stage

_LINE = re.compile(r"([a-z][a-z0-9_.]*)=([A-Za-z0-9_.,-]+)")


def _validate(_: Stage, changes: Changes) -> None:
    for change in changes:
        list(_settings(change.path, change.new or b""))


def _settings(path: str, content: bytes) -> Iterator[tuple[str, str]]:
    """Names and values. Raises CommandFailed for another line."""
    for number, raw in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise CommandFailed(f"{path}:{number}: not a kernel setting")
        yield match[1], match[2]


def _apply(node: ChangedNode, changes: Changes) -> None:
    for change in changes:
        for name, value in _settings(change.path, change.new or b""):
            now = _value(node.host, name)
            # A release that does not know a setting goes without it.
            if now is not None and now != value:
                _set(node.host, name, value)


def _value(host: Host, name: str) -> str | None:
    """A setting; None for one that this kernel does not have. sysctl(8) ends with 0 all the same,
    and says on the standard error that it does not know it."""
    done = host.run("sysctl", "-n", name)
    return done.out.strip() if done.code == 0 and done.out.strip() else None


def _set(host: Host, name: str, value: str) -> None:
    done = host.run("sysctl", f"{name}={value}")
    if _value(host, name) != value:
        raise CommandFailed(f"sysctl {name}={value}: {done.why()}")


def _differences(node: ChangedNode, paths: Sequence[str]) -> Iterator[Difference]:
    for path in paths:
        for name, wanted in _settings(path, node.host.read(path) or b""):
            value = _value(node.host, name)
            if value is not None and value != wanted:
                mend = partial(_set, node.host, name, wanted)
                yield Difference(f"kernel setting {name}", f"is {value}, not {wanted}", mend)


KIND = DaemonKind(
    name="settings",
    patterns=("/etc/anycast-mesh/sysctl.conf",),
    validate=_validate,
    apply=_apply,
    differences=_differences,
)
