#!/usr/bin/env python3
"""Pulumi's language host for Python, over the SDK's own protocol classes.

Installed as ``pulumi-language-python`` beside an engine that was built from Go modules:
Pulumi's own host is a Go program that comes with the release tarball and that the module
proxy refuses. The engine starts this one, reads a port from its first line, and asks it over
gRPC to run programs and plugins (policy packs, providers written in Python). What it does not
do: generate code, install dependencies (``make setup`` does), or name provider plugins to
download ahead of time.

It is started with the ``python3`` found first on PATH, which must hold the Pulumi SDK: the
virtual environment of this project. Programs run with the interpreter of their own
``virtualenv`` option.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

# An exit status of the executor: the error was shown to the user, there is nothing to add.
SHOWN = 32
# The engine's own limit on a message in bytes (rpcutil.GrpcChannelOptions).
MESSAGE_LIMIT = 400 * 1024 * 1024


def import_protocol_only() -> None:
    """Let ``pulumi.runtime.proto`` be imported without the rest of the SDK.

    Importing ``pulumi`` itself takes half a second, which every call of the engine would pay.
    Empty stand-ins for the packages above the protocol classes keep their ``__init__`` from
    running. Ends the process when there is no SDK.
    """
    spec = find_spec("pulumi")
    if spec is None or spec.origin is None:
        sys.exit(
            f"pulumi-language-python: {sys.executable} has no Pulumi SDK; put the project's "
            "virtual environment first on PATH (`mesh` and `make` do so)"
        )
    folder = Path(spec.origin).parent
    for name, path in (
        ("pulumi", folder),
        ("pulumi.runtime", folder / "runtime"),
        ("pulumi.runtime.proto", folder / "runtime" / "proto"),
    ):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package


import_protocol_only()

import grpc  # noqa: E402
from google.protobuf.empty_pb2 import Empty  # noqa: E402
from pulumi.runtime.proto import language_pb2 as messages  # noqa: E402
from pulumi.runtime.proto import language_pb2_grpc as service  # noqa: E402
from pulumi.runtime.proto.plugin_pb2 import PluginInfo  # noqa: E402


class Children:
    """The processes that run for the engine; all of them end with us."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()

    def start(
        self,
        command: list[str],
        environment: dict[str, str],
        context: grpc.ServicerContext,
        *,
        cwd: str | None = None,
        output: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start ``command``; it is stopped when the engine gives up the call."""
        child = subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        self._running.add(child)
        context.add_callback(lambda: self._stop(child))
        return child

    def stop(self) -> None:
        """Stop whatever still runs."""
        for child in list(self._running):
            self._stop(child)

    def _stop(self, child: subprocess.Popen[bytes]) -> None:
        self._running.discard(child)
        if child.poll() is None:
            child.terminate()


def virtualenv(info: messages.ProgramInfo) -> Path | None:
    """Return the folder that the program's ``virtualenv`` option names."""
    name = info.options["virtualenv"] if "virtualenv" in info.options else ""  # noqa: SIM401
    return Path(info.root_directory or ".", str(name)).resolve() if name else None


def interpreter(
    info: messages.ProgramInfo, extra: dict[str, str] | None = None
) -> tuple[str, dict[str, str]]:
    """Return the Python that runs the program and the environment that goes with it.

    Raises FileNotFoundError when the virtual environment is not there.
    """
    environment = {**os.environ, **(extra or {})}
    folder = virtualenv(info)
    if folder is None:
        return sys.executable, environment
    python = folder / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(
            f"the virtualenv option names {folder}, which has no bin/python: run `make setup`"
        )
    environment.pop("PYTHONHOME", None)
    environment["VIRTUAL_ENV"] = str(folder)
    environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
    return str(python), environment


def program_of(info: messages.ProgramInfo) -> str:
    """Return the file or folder that holds the program."""
    return str(Path(info.program_directory, info.entry_point or "."))


def ask(info: messages.ProgramInfo, script: str) -> Any:
    """Run a one-liner where the program runs, and return the JSON that it prints."""
    python, environment = interpreter(info)
    output = subprocess.run(
        [python, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(output.stdout)


def streamed(child: subprocess.Popen[bytes]) -> Iterator[messages.RunPluginResponse]:
    """Yield what ``child`` prints as it prints it, then its exit status."""
    pieces: queue.SimpleQueue[messages.RunPluginResponse | None] = queue.SimpleQueue()

    def read(
        stream: IO[bytes] | None, response: Callable[[bytes], messages.RunPluginResponse]
    ) -> None:
        assert stream is not None
        while piece := os.read(stream.fileno(), 65536):
            pieces.put(response(piece))
        pieces.put(None)

    readers = (
        (child.stdout, lambda piece: messages.RunPluginResponse(stdout=piece)),
        (child.stderr, lambda piece: messages.RunPluginResponse(stderr=piece)),
    )
    for reader in readers:
        threading.Thread(target=read, args=reader, daemon=True).start()
    for _ in readers:
        while (piece := pieces.get()) is not None:
            yield piece
    yield messages.RunPluginResponse(exitcode=child.wait())


class LanguageHost(service.LanguageRuntimeServicer):
    """The language runtime protocol: proto/pulumi/language.proto of the SDK."""

    def __init__(self, engine: str, executor: Path, children: Children) -> None:
        self._engine = engine
        self._executor = executor
        self._children = children

    def Handshake(  # noqa: D102
        self, request: messages.LanguageHandshakeRequest, context: grpc.ServicerContext
    ) -> messages.LanguageHandshakeResponse:
        self._engine = request.engine_address
        return messages.LanguageHandshakeResponse()

    def GetPluginInfo(  # noqa: D102
        self, request: Empty, context: grpc.ServicerContext
    ) -> PluginInfo:
        return PluginInfo(version="1.0.0")

    def GetRequiredPackages(
        self, request: messages.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> messages.GetRequiredPackagesResponse:
        """Name nothing ahead of time: a provider is looked for when a resource needs it."""
        return messages.GetRequiredPackagesResponse()

    def GetRequiredPlugins(  # noqa: D102
        self, request: messages.GetRequiredPluginsRequest, context: grpc.ServicerContext
    ) -> messages.GetRequiredPluginsResponse:
        return messages.GetRequiredPluginsResponse()

    def About(  # noqa: D102
        self, request: messages.AboutRequest, context: grpc.ServicerContext
    ) -> messages.AboutResponse:
        script = "import json, platform as p; print(json.dumps(p.python_version()))"
        version = ask(request.info, script)
        return messages.AboutResponse(executable=interpreter(request.info)[0], version=version)

    def GetProgramDependencies(  # noqa: D102
        self, request: messages.GetProgramDependenciesRequest, context: grpc.ServicerContext
    ) -> messages.GetProgramDependenciesResponse:
        script = (
            "import json; from importlib.metadata import distributions;"
            "print(json.dumps([(d.metadata['Name'], d.version) for d in distributions()]))"
        )
        found = [
            messages.DependencyInfo(name=name, version=version)
            for name, version in ask(request.info, script)
        ]
        return messages.GetProgramDependenciesResponse(dependencies=found)

    def RuntimeOptionsPrompts(  # noqa: D102
        self, request: messages.RuntimeOptionsRequest, context: grpc.ServicerContext
    ) -> messages.RuntimeOptionsResponse:
        return messages.RuntimeOptionsResponse()

    def InstallDependencies(  # noqa: D102
        self, request: messages.InstallDependenciesRequest, context: grpc.ServicerContext
    ) -> Iterator[messages.InstallDependenciesResponse]:
        text = b"Dependencies come from the lock file: run `make setup`.\n"
        yield messages.InstallDependenciesResponse(stdout=text)

    def Run(
        self, request: messages.RunRequest, context: grpc.ServicerContext
    ) -> messages.RunResponse:
        """Run a program to its end. Its output goes to ours, which the engine reads."""
        # Configuration goes through the environment, as the executor expects it: secrets
        # stay out of the process list.
        config = {
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        try:
            python, environment = interpreter(request.info, config)
        except FileNotFoundError as error:
            return messages.RunResponse(error=str(error))
        flags = {
            "monitor": request.monitor_address,
            "engine": self._engine,
            "project": request.project,
            "root_directory": request.info.root_directory,
            "stack": request.stack,
            "pwd": request.pwd,
            "dry_run": "true" if request.dryRun else "false",
            "parallel": str(request.parallel),
            "organization": request.organization,
        }
        options = [word for flag, value in flags.items() if value for word in (f"--{flag}", value)]
        program = [program_of(request.info), *request.args]
        child = self._children.start(
            [python, "-u", str(self._executor), *options, *program], environment, context
        )
        status = child.wait()
        if status == SHOWN:
            return messages.RunResponse(bail=True)
        if status != 0:
            return messages.RunResponse(error=f"Program exited with non-zero exit code: {status}")
        return messages.RunResponse()

    def RunPlugin(
        self, request: messages.RunPluginRequest, context: grpc.ServicerContext
    ) -> Iterator[messages.RunPluginResponse]:
        """Run a policy pack or a provider; its output begins with its port."""
        extra = dict(entry.split("=", 1) for entry in request.env if "=" in entry)
        python, environment = interpreter(request.info, extra)
        child = self._children.start(
            [python, "-u", program_of(request.info), *request.args],
            environment,
            context,
            cwd=request.pwd or None,
            output=subprocess.PIPE,
        )
        yield from streamed(child)


def main() -> None:
    """Serve until the engine interrupts us, which is how it ends a plugin, or is gone itself."""
    children = Children()
    parent = os.getppid()

    def leave(*_: object) -> None:
        children.stop()
        # Not sys.exit: gRPC's threads would hold up the engine, which waits for our end.
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    server = grpc.server(
        ThreadPoolExecutor(max_workers=16),
        options=[
            ("grpc.max_receive_message_length", MESSAGE_LIMIT),
            ("grpc.max_send_message_length", MESSAGE_LIMIT),
        ],
    )
    executor = Path(__file__).resolve().parent / "pulumi-language-python-exec"
    engine = sys.argv[-1] if len(sys.argv) > 1 else ""  # the address comes last
    service.add_LanguageRuntimeServicer_to_server(LanguageHost(engine, executor, children), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # An engine that was killed ends nobody: without it we are an orphan, and so is the program.
    while os.getppid() == parent:
        time.sleep(1)
    leave()


if __name__ == "__main__":
    main()
