"""The processes of a machine: pgrep(1) and pkill(1)."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.kit.openbsd.kernel import STATE, unknown

_SIGNALS = {f"-{name}": signal.Signals[f"SIG{name}"] for name in (
    "HUP", "TERM", "KILL", "INT", "ALRM", "STOP", "CONT", "USR1", "USR2")}  # fmt: skip


def pgrep(arguments: list[str]) -> int:
    """pgrep(1): the machine's processes by their whole command line."""
    words, pattern = _matched(arguments, "fqxla")
    found = list(_processes(pattern, words))
    if "q" not in words:
        for pid in found:
            print(pid)
    return 0 if found else 1


def pkill(arguments: list[str]) -> int:
    """pkill(1)."""
    rest = list(arguments)
    how = signal.SIGTERM
    if rest and rest[0] in _SIGNALS:
        how = _SIGNALS[rest.pop(0)]
    words, pattern = _matched(rest, "fqxl")
    found = list(_processes(pattern, words))
    for pid in found:
        os.kill(pid, how)
    return 0 if found else 1


def _matched(arguments: list[str], known: str) -> tuple[str, str]:
    rest, letters = list(arguments), ""
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word in ("-T", "-u", "-U"):
            rest.pop(0)
            continue
        letters += word[1:]
    if set(letters) - set(known) or len(rest) != 1:
        unknown("pgrep", arguments)
    return letters, rest[0]


def _processes(pattern: str, letters: str) -> Iterator[int]:
    for pid, line in processes(os.environ[STATE]):
        subject = line if "f" in letters else line.split(" ")[0].rpartition("/")[2]
        match = re.fullmatch if "x" in letters else re.search
        if match(pattern, subject) and pid != os.getpid():
            yield pid


def processes(state: str) -> Iterator[tuple[int, str]]:
    """The processes that a machine has started, with their command lines."""
    mark = f"{STATE}={state}".encode()
    for each in Path("/proc").iterdir():
        if not each.name.isdigit():
            continue
        try:
            if mark not in (each / "environ").read_bytes().split(b"\0"):
                continue
            words = (each / "cmdline").read_bytes().split(b"\0")[:-1]
        except OSError:
            continue
        if words:
            yield int(each.name), _line([word.decode(errors="replace") for word in words])


def _line(words: list[str]) -> str:
    """A command line; of one that another loader has started, its own."""
    if "--argv0" in words:
        at = words.index("--argv0")
        words = [words[at + 1], *words[at + 3 :]]
    return " ".join(words)
