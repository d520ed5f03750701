"""Forks end as what they stand for, and with the client that asked for them."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from mesh.cli.environment import environment
from tests.kit.forks import SCRIPTS, with_forks, without_forks
from tests.kit.stacks import ROOT
from tests.kit.wait import PATIENCE, until

pytestmark = pytest.mark.engine


def begun(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A language host, and the port at which it listens."""
    own = with_forks(environment(ROOT, folder))
    program = shutil.which(SCRIPTS[0], path=own["PATH"])
    assert program is not None
    host = subprocess.Popen([program, "127.0.0.1:1"], env=own, stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    return host, int(host.stdout.readline())


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE):
        return True
    return False


def test_a_signal_reaches_it_and_its_exit_status_is_the_clients(tmp_path: Path) -> None:
    host, port = begun(tmp_path)
    assert listens(port)
    host.send_signal(signal.SIGINT)
    assert host.wait(PATIENCE) == 0
    assert not listens(port)


def test_it_ends_where_its_client_is_killed(tmp_path: Path) -> None:
    host, port = begun(tmp_path)
    assert listens(port)
    host.kill()
    host.wait()
    until(lambda: not listens(port), 5, "it is gone")


@pytest.mark.parametrize("words", [["--version"], ["check", "--stack", "none"], ["nothing"]])
def test_a_command_says_the_same_and_has_the_same_exit_status(
    tmp_path: Path, words: list[str]
) -> None:
    own = environment(ROOT, tmp_path)
    ran = [
        subprocess.run(
            ["mesh", *words], cwd=tmp_path, env=each, capture_output=True, text=True, check=False
        )
        for each in (own, with_forks(own))
    ]
    found = [(done.returncode, done.stdout, done.stderr) for done in ran]
    assert found[0] == found[1]
    assert any(found[0][1:]), "it says something"


def test_an_engine_may_have_its_own_processes_again(tmp_path: Path) -> None:
    own = environment(ROOT, tmp_path)
    assert with_forks(own) != own
    assert without_forks(with_forks(own)) == own
