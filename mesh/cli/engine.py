"""Runs the engine on the lab stack: one run at a time, after clearing what a killed one left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mesh.cli import engine_lines
from mesh.cli.environment import engine_folder
from mesh.cli.working_copy import STACK, EngineFailed

# What the command lines of plugins hold: their file names, or the SDK's module of providers.
PLUGINS = (b"pulumi-language-", b"pulumi-resource-", b"pulumi.dynamic", b"pulumi-analyzer-")

POLL = 0.2  # seconds between two looks at an engine that still runs
LAST_OUTPUT = 2.0  # seconds to show what an engine wrote before it ended


class EngineMissing(EngineFailed):
    """The set-up was not run, or its cache is gone."""


class Interrupted(Exception):
    """The engine was stopped by Ctrl-C or SIGTERM before it was done; its state is saved."""


def run_engine(
    command: list[str], *, root: Path, state: Path, config: Path, environment: Mapping[str, str]
) -> int:
    """Run ``pulumi COMMAND`` on the lab stack with its output shown; returns its exit status.

    What a killed engine left is seen to first (:func:`recover`). Raises :class:`Interrupted`
    where somebody stopped it.
    """
    pulumi = str(engine_folder(root) / "pulumi")
    if not os.access(pulumi, os.X_OK):
        raise EngineMissing("the Pulumi engine is not set up in this checkout: run `make setup`")
    chosen = ["--stack", STACK, "--config-file", str(config)]
    recover(root, state, environment)
    return attend([pulumi, *command, *chosen], cwd=root, environment=environment)


def attend(command: list[str], *, cwd: Path, environment: Mapping[str, str]) -> int:
    """Run the engine with its output shown, and wait for it; returns its exit status.

    On Linux it is interrupted even when this process is killed: an engine without its command
    would keep the stack's lock from the next run. Raises :class:`Interrupted` where somebody
    stopped it, FileNotFoundError where there is no such command.
    """
    found = shutil.which(command[0], path=environment.get("PATH"))
    if found is None:
        raise FileNotFoundError(command[0])
    command = [found, *command[1:]]
    if sys.platform == "linux":
        script = str(Path(__file__).with_name("tethered.py").resolve())
        command = [sys.executable, "-I", "-S", script, str(os.getpid()), *command]
    with _shown() as shown:
        # Without its progress dots.
        engine = subprocess.Popen(
            [*command, "--suppress-progress"], cwd=cwd, env=environment, stdout=shown
        )
        shown.close()  # or its reader would wait for us as well
        return _attended(engine)


@contextmanager
def _shown() -> Iterator[IO[bytes]]:
    """Where the engine writes to. The reader outlives this process when we are killed, as the
    engine does, which would die of SIGPIPE without a reader."""
    argv = [sys.executable, "-m", engine_lines.__name__]
    reader = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
    assert reader.stdin is not None, "it is a pipe"
    try:
        with reader.stdin:
            yield reader.stdin
    finally:
        # Plugins that outlive their engine may hold the pipe open, and are not waited for.
        with suppress(subprocess.TimeoutExpired):
            reader.wait(LAST_OUTPUT)


def recover(root: Path, state: Path, environment: Mapping[str, str]) -> None:
    """Wait for an engine that still runs, and clear away what a killed one left: orphans, the lock,
    half-done work."""
    if _holders(state / "state"):
        # Its command is gone (we hold the lab's lock); it finishes its operation and saves it.
        print("an engine still works on this lab; waiting for it to end", flush=True)
        while _holders(state / "state"):
            time.sleep(POLL)
    if abandoned(state / "state"):
        print("an engine was killed here before; going on from where it was", flush=True)
        end_orphans(environment["PULUMI_HOME"])
        pulumi = str(engine_folder(root) / "pulumi")
        _unlock([pulumi, "--non-interactive", "-C", str(state)], environment)


def _unlock(pulumi: list[str], environment: Mapping[str, str]) -> None:
    """Unlock the stack, and drop from its state what was begun when the engine was killed.

    Nothing is lost: an existing box is adopted, and clearing the lab removes all of it. The engine
    would warn of these operations for ever.
    """

    def ask(*arguments: str, stdin: str = "") -> str:
        return subprocess.run(
            [*pulumi, *arguments],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    ask("cancel", "--yes", STACK)
    document = json.loads(ask("stack", "export", "--stack", STACK))
    if document["deployment"].pop("pending_operations", None):
        ask("stack", "import", "--stack", STACK, stdin=json.dumps(document))


def _attended(engine: subprocess.Popen[bytes]) -> int:
    """Wait for the engine, which handles interruptions itself.

    On Ctrl-C the terminal interrupts both processes: the engine finishes its operation and saves
    its state, and we wait for it. SIGTERM reaches only us, so it is passed on.
    """
    received: list[int] = []

    def pass_on(number: int, _: object) -> None:
        received.append(number)
        engine.send_signal(signal.SIGINT)

    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda number, _: received.append(number)),
        signal.SIGTERM: signal.signal(signal.SIGTERM, pass_on),
    }
    try:
        status = engine.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if status and received:
        raise Interrupted
    return status


@contextmanager
def one_at_a_time(state: Path) -> Iterator[None]:
    """Lock the lab's state folder while the engine runs; a second run prints that it waits."""
    import fcntl  # not on Windows, which has no lab

    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / "deploy.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run works on this lab; waiting for it to end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_busy(state: Path) -> bool:
    """Whether another process locks the lab's state folder (:func:`one_at_a_time`)."""
    import fcntl

    try:
        with (state / "deploy.lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def abandoned(backend: Path) -> bool:
    """Whether the stack is locked by processes that are all gone.

    The file backend writes host and process into ``.pulumi/locks``.
    """
    locks = list((backend / ".pulumi" / "locks").rglob("*.json"))
    return bool(locks) and not any(_alive(lock) for lock in locks)


def end_orphans(home: str) -> None:
    """Kill plugins that outlived their engine: those that were started with this ``PULUMI_HOME``.

    A provider that goes on creating would disturb the next run. What a provider has started
    itself, the lab's boxes, is not touched. Call it only when no engine runs.
    """
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _is_plugin(process, home):
            with suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)


def _is_plugin(process: Path, home: str) -> bool:
    """Whether this is a plugin of an engine with that home."""
    try:
        command = (process / "cmdline").read_bytes()
        environ = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(mark in command for mark in PLUGINS) and f"PULUMI_HOME={home}".encode() in environ


def stack_exists(backend: Path) -> bool:
    """Whether the file backend has the stack (``.pulumi/stacks/<project>/<stack>.json``)."""
    return any((backend / ".pulumi" / "stacks").rglob(f"{STACK}.json"))


def _holders(backend: Path) -> list[Path]:
    """The backend's locks that an engine holds which runs."""
    return [lock for lock in (backend / ".pulumi" / "locks").rglob("*.json") if _held(lock)]


def _held(lock: Path) -> bool:
    """Whether a running engine holds a lock; one that cannot be read is not waited for."""
    try:
        return _runs(int(json.loads(lock.read_text())["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _alive(lock: Path) -> bool:
    """Whether the process that a lock names still runs; if in doubt, it does."""
    try:
        process = int(json.loads(lock.read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return _runs(process)


def _runs(process: int) -> bool:
    """Whether that process is a running engine: no zombie, and no other program after a reboot."""
    try:
        # proc(5): `pid (name) state …`
        name, _, rest = Path(f"/proc/{process}/stat").read_text().partition("(")[2].rpartition(") ")
    except OSError:
        return False
    return name == "pulumi" and rest[:1] not in ("Z", "X")
