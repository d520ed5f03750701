"""Kernel settings: each line is checked before, and each is set, or the change is undone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind, Difference
from mesh.agent.host import CommandFailed, Host
from mesh.agent.stage import Stage

_LINE = re.compile(r"-?[a-z][A-Za-z0-9_./*-]*[ \t]*=[ \t]*[A-Za-z0-9_ .-]+")

_OF_NETWORKD = "accept_ra"
"""networkd handles router advertisements itself, and disables them in the kernel at each start."""


def _validate(_: Stage, changes: Changes) -> None:
    for change in changes:
        for number, line in enumerate((change.new or b"").decode().splitlines(), 1):
            text = line.strip()
            if text and text[0] not in "#;" and _LINE.fullmatch(text) is None:
                raise CommandFailed(f"{change.path}:{number}: not a kernel setting")


def _apply(node: ChangedNode, changes: Changes) -> None:
    for change in changes:
        if change.new is not None:
            node.host.must("sysctl", "-q", "-p", change.path)
        else:
            # Applies the other files again. A line of theirs that this kernel or container refuses
            # is not our failure.
            node.host.run("sysctl", "-q", "--system")


def _differences(node: ChangedNode, paths: Sequence[str]) -> Iterator[Difference]:
    root = node.host.path("/proc/sys")
    for path in paths:
        for key, wanted in settings((node.host.read(path) or b"").decode("utf-8", "replace")):
            for file in sorted(root.glob(key)) if "*" in key else [root / key]:
                value = _read(file)
                if value is None or file.name == _OF_NETWORKD:
                    continue
                if value.split() != wanted.split():
                    where = str(file.relative_to(root))
                    yield Difference(
                        f"kernel setting {where}",
                        f"is {' '.join(value.split())}, not {wanted}",
                        partial(_set, node.host, where, wanted),
                    )


def settings(text: str) -> Iterator[tuple[str, str]]:
    """The settings in a file of sysctl(8): a path below ``/proc/sys``, maybe with wildcards, and
    the value. The first dot or slash in a name is its separator (sysctl.d(5))."""
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        key, _, value = line.removeprefix("-").partition("=")
        key = key.strip()
        first = re.search(r"[./]", key)
        if first is not None and first[0] == ".":
            key = key.translate(str.maketrans("./", "/."))
        yield key, value.strip()


def _read(file: Path) -> str | None:
    try:
        return file.read_text()
    except OSError:
        return None  # Of an interface that was removed meanwhile.


def _set(host: Host, where: str, value: str) -> None:
    host.must("sysctl", "-q", "-w", f"{where}={value}")


KIND = DaemonKind(
    name="sysctl",
    patterns=("/etc/sysctl.d/*anycast-mesh.conf",),
    validate=_validate,
    apply=_apply,
    differences=_differences,
)
