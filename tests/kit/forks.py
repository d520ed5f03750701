"""Python processes of the engine, and the command ``mesh``, as forks of one that has imported what
they import.

The engine starts four for each operation: twice its language host, the program, and the host of
dynamic providers; two thirds of an operation are their imports, and of most commands. In an
environment that is :func:`with_forks` clients are started in their place, which hand script,
environment, working folder and files to this process, and end as their fork ends. Each fork is a
process of its own that runs the same script, and knows nothing of the one before. What it had to
import is imported here for the next.

A signal reaches the fork, and a client that is killed takes it along; yet an orphan of an engine
that was killed has another name and environment. What is killed or interrupted runs
:func:`without_forks`.
"""

from __future__ import annotations

import atexit
import gc
import io
import marshal
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn, TextIO

import mesh
from mesh.cli import environment as commands
from mesh.cli.environment import engine_folder
from tests.kit.stacks import ROOT

SCRIPTS = ("pulumi-language-python", "pulumi-resource-pulumi-python")
"""The engine's, each beside the engine."""
COMMAND = ROOT / ".venv" / "bin" / "mesh"
"""It starts the engine by its place, which is here this process's folder."""
MESH = Path(mesh.__file__).resolve().parent
LENGTH = 4
"""Bytes in which a request says how long it is."""
ROOM = 60_000
"""Bytes that a pipe holds without a reader."""

# Without site and with built-in modules alone: it starts in hundredths of a second.
CLIENT = """#!/usr/bin/env -S python3 -ISu
import marshal, os, sys, _signal, _socket

here = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
here.connect({address!r})
request = marshal.dumps(({script!r}, sys.argv[1:], os.getcwd(), dict(os.environ)))
# A signal that comes meanwhile is for the fork as well.
signals = (_signal.SIGINT, _signal.SIGTERM)
_signal.pthread_sigmask(_signal.SIG_BLOCK, signals)
files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
length = len(request).to_bytes({length}, "big")
here.sendmsg([length], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
here.sendall(request)
for number in signals:
    _signal.signal(number, lambda number, _frame: here.send(bytes([number])))
_signal.pthread_sigmask(_signal.SIG_UNBLOCK, signals)
for number in (0, 1, 2):
    os.close(number)
here.settimeout(1)
engine = os.getppid()
while os.getppid() == engine:
    try:
        os._exit((here.recv(1) or b"\\1")[0])
    except TimeoutError:
        pass
os._exit(1)
"""


def with_forks(environment: Mapping[str, str], root: Path = ROOT) -> dict[str, str]:
    """This environment, with forks that have the mesh of a checkout."""
    own = str(_engine(root, _network()))
    return {**environment, "PATH": os.pathsep.join((own, environment["PATH"]))}


def without_forks(environment: Mapping[str, str]) -> dict[str, str]:
    """The same as it was before."""
    own = f"{_engine(ROOT, _network())}{os.pathsep}"
    return {**environment, "PATH": environment["PATH"].removeprefix(own)}


def _network() -> int:
    """The network of this thread, which is its forks' as well."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


@cache
def _engine(root: Path, _network: int) -> Path:
    """A folder like the engine's own, whose Python processes are forks; until this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="mesh-forks-"))
    engine, address = engine_folder(ROOT), folder / "socket"
    try:
        os.link(engine / "pulumi", folder / "pulumi")
    except OSError:
        shutil.copy2(engine / "pulumi", folder / "pulumi")
    for script in (*(engine / name for name in SCRIPTS), COMMAND):
        words = {"address": str(address), "script": str(script), "length": LENGTH}
        (folder / script.name).write_text(CLIENT.format(**words))
        (folder / script.name).chmod(0o755)
    _begin(address, root)
    return folder


def _begin(address: Path, root: Path) -> None:
    """Start the process that forks; it ends with this one, and removes the folder. The folder that
    it runs in comes before others, and a copy of the checkout has no tests."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.kit.forks", str(address)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip
    assert server.stdin is not None and server.stdout is not None
    assert server.stdout.readline(), "it did not start"

    def end() -> None:
        server.communicate()

    atexit.register(end)


@dataclass(frozen=True)
class Request:
    """What is to run: a script and its words, in a folder, with an environment."""

    script: str
    words: list[str]
    folder: str
    environment: dict[str, str]

    def send(self, there: socket.socket, files: list[int]) -> None:
        """Hand it over, with its standard files."""
        text = marshal.dumps((self.script, self.words, self.folder, self.environment))
        socket.send_fds(there, [len(text).to_bytes(LENGTH, "big")], files)
        there.sendall(text)

    @classmethod
    def received(cls, there: socket.socket) -> tuple[Request, list[int]]:
        """The next one, with its standard files."""
        length, files, _, _ = socket.recv_fds(there, LENGTH, 3)
        left, text = int.from_bytes(length, "big"), b""
        while len(text) < left:
            text += there.recv(left - len(text))
        return cls(*marshal.loads(text)), files


@dataclass
class Forks:
    """All that run, each with the connection to its client and what it has learned."""

    address: Path
    running: dict[int, tuple[socket.socket, int]] = field(default_factory=dict)

    def serve(self) -> None:
        """Fork until standard input ends."""
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.address))
            server.listen(64)
            print("listens", flush=True)
            woken, waker = os.pipe()
            os.set_blocking(waker, False)
            signal.set_wakeup_fd(waker)
            signal.signal(signal.SIGCHLD, lambda *_: None)
            while True:
                ready, _, _ = select.select([server, woken, sys.stdin], [], [])
                if woken in ready:
                    os.read(woken, 4096)
                    self._reap()
                if server in ready:
                    self._fork(server)
                if sys.stdin in ready:
                    break
        for pid in self.running:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.address.parent, ignore_errors=True)

    def _fork(self, server: socket.socket) -> None:
        client, _ = server.accept()
        request, files = Request.received(client)
        threads = len(list(Path("/proc/self/task").iterdir()))
        assert threads == 1, "a fork would lack the other ones"
        learned, learner = os.pipe()
        if pid := os.fork():
            self.running[pid] = client, learned
            for each in (*files, learner):
                os.close(each)
            return
        server.close()
        _Fork(request, client, learner, str(self.address)).run(files)

    def _reap(self) -> None:
        """Tell each client whose fork has ended how it ended, and import what it has imported."""
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            client, learned = self.running.pop(pid)
            with suppress(OSError), client:
                client.send(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
            with os.fdopen(learned) as names:
                _learn(names.read().split())


def _learn(names: list[str]) -> None:
    """Import these for the next fork."""
    for name in names:
        with suppress(Exception):
            import_module(name)
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class _Fork:
    """The new process, which becomes what was asked for."""

    request: Request
    client: socket.socket
    learner: int
    address: str

    def run(self, files: list[int]) -> NoReturn:
        """Run the script to its end, and never return."""
        request = self.request
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        signal.set_wakeup_fd(-1)
        for each in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setpgid(0, 0)
        os.chdir(request.folder)
        os.environ.clear()
        os.environ.update(request.environment)
        sys.argv = [request.script, *request.words]
        sys.path[0] = str(Path(request.script).parent)
        sys.stdin = os.fdopen(0)
        sys.stdout, sys.stderr = map(_unbuffered, (1, 2))
        threading.Thread(target=self._obey, daemon=True).start()
        if Path(request.script).name == SCRIPTS[0]:
            vars(subprocess)["Popen"] = self._popen
        if request.script == str(COMMAND):
            vars(commands)["_linked"] = self._linked
        code = 1
        try:
            code = _code(request.script)
        finally:
            self._leave(code)

    def _obey(self) -> None:
        """What the client hears is heard here; without it this ends."""
        while number := self.client.recv(1):
            os.kill(os.getpid(), number[0])
        self._leave(1)

    def _leave(self, code: int) -> NoReturn:
        names = "\n".join(_imported())[:ROOM].rpartition("\n")[0]
        with suppress(OSError):
            os.write(self.learner, names.encode())
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    def _linked(self, root: Path, name: str) -> Path:
        """In the place of what a checkout links: the engine with forks, where it is ours."""
        forks = name == "engine" and root == MESH.parent
        return Path(self.address).parent if forks else _LINKED(root, name)

    def _popen(self, command: list[str], **options: Any) -> Any:
        """In the place of a process that the language host starts: a fork, where it is Python of
        this environment, and what it runs has no mesh of its own."""
        python, flag, script, *words = command
        here = Path(python).resolve() == Path(sys.executable).resolve()
        if flag != "-u" or not here or _own_mesh([script, *words]):
            return _POPEN(command, **options)
        folder = options.get("cwd") or str(Path.cwd())
        return Child(Request(script, words, folder, options["env"]), options, self.address)


_POPEN = subprocess.Popen
_LINKED = vars(commands)["_linked"]


class Child:
    """A fork as the language host sees it: what it uses of :class:`subprocess.Popen`."""

    def __init__(self, request: Request, options: Mapping[str, Any], address: str) -> None:
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        self.returncode: int | None = None
        files, ours = [os.open(os.devnull, os.O_RDONLY)], []
        for number in (1, 2):
            if options["stdout"] == subprocess.PIPE:
                end, other = os.pipe()
                ours.append(os.fdopen(end, "rb"))
            else:
                other = os.dup(number)
            files.append(other)
        if ours:
            self.stdout, self.stderr = ours
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        request.send(self._socket, files)
        for file in files:
            os.close(file)

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        if self.returncode is None:
            self.returncode = (self._socket.recv(1) or b"\1")[0]
        return self.returncode

    def poll(self) -> int | None:
        """Its exit status, if that was waited for."""
        return self.returncode

    def terminate(self) -> None:
        """Ask it to end."""
        with suppress(OSError):
            self._socket.send(bytes([signal.SIGTERM]))


def _own_mesh(paths: list[str]) -> bool:
    """Whether one of these is a folder with another mesh than this one."""
    places = (Path(path, "mesh") for path in paths)
    return any(each.exists() and each.resolve() != MESH for each in places)


def _unbuffered(number: int) -> TextIO:
    """A standard stream as Python has it with ``-u``."""
    return io.TextIOWrapper(open(number, "wb", buffering=0), write_through=True)


def _code(script: str) -> int:
    """Run a script; its exit status."""
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _imported() -> list[str]:
    """Modules of the environment, of Python and of the mesh, but the language host's stand-ins."""
    places = (sys.prefix, sys.base_prefix, str(MESH))
    return [
        name
        for name, module in list(sys.modules.items())
        if str(getattr(module, "__file__", None) or "").startswith(places)
        and not name.endswith("__main__")
    ]


if __name__ == "__main__":
    Forks(Path(sys.argv[1])).serve()
