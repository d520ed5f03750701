"""Two agents on one node."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mesh.agent import bundle
from mesh.agent.host import Host
from mesh.agent.single_instance import LOCK, alone
from tests.kit.wait import until

HOLD = """
import sys, threading, time
from pathlib import Path
from mesh.agent.host import Host
from mesh.agent.single_instance import alone
with alone(Host(Path(sys.argv[1])), threading.Event()) as free:
    print(free, flush=True)
    time.sleep(600)
"""


def test_the_second_waits_until_the_first_has_ended_however_that_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], cwd=bundle.ROOT, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "True\n"
    stop, works, end = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        with alone(Host(tmp_path), stop) as free:
            if free:
                works.set()
                end.wait(60)

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    until(lambda: "another agent runs" in caplog.text, 20, "it says why it waits")
    assert not works.is_set()
    first.kill()
    first.wait()
    until(works.is_set, 20, "it goes on")
    end.set()
    thread.join(20)
    with alone(Host(tmp_path), stop) as free:
        assert free


def test_one_that_waits_ends_when_it_is_told_to(tmp_path: Path) -> None:
    stop = threading.Event()
    with alone(Host(tmp_path), threading.Event()) as free:
        assert free
        stop.set()
        with alone(Host(tmp_path), stop) as other:
            assert not other


def test_where_there_is_no_room_for_a_lock_an_agent_works_all_the_same(tmp_path: Path) -> None:
    Host(tmp_path).path(LOCK).mkdir(parents=True)
    with alone(Host(tmp_path), threading.Event()) as free:
        assert free
