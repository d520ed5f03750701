"""What is shown again and again: on a terminal in place, elsewhere when it changes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit.stacks import ROOT
from tests.kit.wait import PATIENCE, patience, until

PROGRAM = """
import itertools, sys
from mesh.cli.tables import table
from mesh.cli.watch import Shown, watch
from mesh.hanging import Hanging
LINES = [f"line {number}" for number in range(int(sys.argv[2]))]
count = itertools.count()
def take():
    turn = next(count)
    state = "well" if turn < 3 else "ill"
    rows = table("since", "why")
    rows.add_row(f"{9 + turn} s", "it is off")
    parts = [f"state {state}", Hanging(f"down for {turn} s"), *LINES, rows]
    return Shown(parts, {"state": state, "turn": turn})
watch(take, "stack x", 0.05, sys.argv[1] == "json")
"""
ENTER, LEAVE, CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


def command(form: str, lines: int = 0) -> list[str]:
    return [sys.executable, "-c", PROGRAM, form, str(lines)]


def printed(form: str, path: Path, count: int) -> list[str]:
    """What is printed into a file until it has so many lines with a state."""
    with path.open("w") as file:
        process = subprocess.Popen(command(form), stdout=file, cwd=ROOT)
    try:
        until(lambda: path.read_text().count("state") >= count, 5, f"{count} states")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
    return path.read_text().splitlines()


def test_in_a_file_it_is_printed_when_something_changes(tmp_path: Path) -> None:
    lines = printed("text", tmp_path / "out", 2)
    assert [line for line in lines if line.startswith("state")] == ["state well", "state ill"]


def test_a_machine_gets_a_line_of_json_for_each_change(tmp_path: Path) -> None:
    lines = printed("json", tmp_path / "out", 2)
    assert [json.loads(line) for line in lines] == [
        {"state": "well", "turn": 0}, {"state": "ill", "turn": 3}
    ]  # fmt: skip


def on_a_terminal(number: signal.Signals, lines: int = 0, wait_for: bytes = b"ill") -> bytes:
    """All that a terminal of 20 lines gets until the signal ended the program with 0."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "60", "LINES": "20"}
    process = subprocess.Popen(
        command("text", lines), stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT,
        env=environment,
    )  # fmt: skip
    os.close(theirs)
    got, end = b"", time.monotonic() + patience(20)
    try:
        while wait_for not in got and time.monotonic() < end:
            got += _read(ours)
        process.send_signal(number)
        while process.poll() is None and time.monotonic() < end:
            got += _read(ours)
        while more := _read(ours):
            got += more
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        os.close(ours)
    return got


def _read(terminal: int) -> bytes:
    """What there is, within a moment; nothing at the end."""
    if not select.select([terminal], [], [], 0.1)[0]:
        return b""
    with suppress(OSError):
        return os.read(terminal, 1 << 16)
    return b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_as_before_once_it_has_ended(number: signal.Signals) -> None:
    got = on_a_terminal(number)
    assert got.count(ENTER) == got.count(LEAVE) == 1
    assert got.index(ENTER) < got.index(b"state ill") < got.index(LEAVE)
    assert got.rindex(CURSOR) > got.index(ENTER)
    assert b"Traceback" not in got


def test_what_is_higher_than_the_terminal_says_how_much_is_missing() -> None:
    got = on_a_terminal(signal.SIGINT, lines=40, wait_for=b"more lines")
    assert b"and 26 more lines" in got
    assert b"line 15" in got and b"line 16" not in got
