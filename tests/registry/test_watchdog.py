"""A registry that answers nobody ends, for systemd to start it again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mesh.registry import serve
from mesh.registry.registry import Registry
from mesh.registry.store import Store
from mesh.registry.watchdog import Watchdog
from mesh.trust import keys
from tests.kit.registry import certify
from tests.kit.stacks import ROOT
from tests.kit.wait import PATIENCE, patience, until

REGISTRY = """
import asyncio, sys, threading, time
from pathlib import Path
from anyio.to_thread import run_sync
from mesh.registry import watchdog, serve

folder, operator, stuck = Path(sys.argv[1]), *sys.argv[2:]
watchdog.EVERY = serve.EVERY = 0.2
watchdog.Watchdog.__init__.__defaults__ = (2.0, watchdog.end)


async def threads():
    await asyncio.gather(*(run_sync(time.sleep, 100) for _ in range(40)))


class Server(serve.RegistryServer):
    async def main_loop(self):
        print("serves", flush=True)
        loop = asyncio.get_running_loop()
        if stuck == "loop":
            loop.call_later(0.5, time.sleep, 100)
        else:
            self.all = loop.create_task(threads())
        await super().main_loop()


serve.RegistryServer = Server
database = f"sqlite:///{folder / 'registry.sqlite3'}"
serve.serve(serve.Settings(folder, operator, 0, database, ("127.0.0.1",)), None)
"""


def started(folder: Path, stuck: str) -> subprocess.Popen[str]:
    """A registry in a process of its own, whose loop or threads hang soon."""
    certify(folder)
    command = [sys.executable, "-c", REGISTRY, str(folder), keys.new_operator_key()[1], stuck]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    assert process.stdout.readline() == "serves\n"
    return process


@pytest.mark.parametrize("stuck", ["loop", "threads"])
def test_one_that_is_stuck_ends(tmp_path: Path, stuck: str) -> None:
    with started(tmp_path, stuck) as process:
        try:
            _, said = process.communicate(timeout=patience(60))
        finally:
            process.kill()
    assert process.returncode == 1
    assert "<3>registry-stuck" in said


def test_one_that_serves_beats(tmp_path: Path) -> None:
    """By uvicorn's own loop."""
    beats = threading.Event()

    class Heard(Watchdog):
        async def beat(self) -> None:
            await super().beat()
            beats.set()

    certify(tmp_path)
    operator = keys.new_operator_key()[1]
    registry = Registry(Store(f"sqlite:///{tmp_path / 'registry.sqlite3'}"), operator)
    where = serve.Settings(tmp_path, operator, 0, "", ("127.0.0.1",))
    server, sockets = serve.server(where, registry, Heard()), serve.sockets(where)
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets}, daemon=True)
    thread.start()
    try:
        until(beats.is_set, 20, "it beats")
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        registry.store.close()


def test_while_it_beats_it_goes_on_and_then_it_ends() -> None:
    async def beat(watchdog: Watchdog) -> None:
        for _ in range(20):
            await watchdog.beat()
            await asyncio.sleep(0.1)

    def goes_on() -> bool:
        ended = threading.Event()
        watchdog = Watchdog(1.0, ended.set)
        watchdog.watch()
        asyncio.run(beat(watchdog))
        went_on = not ended.is_set()
        until(ended.is_set, 5, "it ends")
        return went_on

    # Where this test has no processor for a second, it does not beat either.
    until(goes_on, 5, "it goes on while it beats")
