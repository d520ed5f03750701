"""Where the looking glasses of a deployed network are, and the connections to them.

In production the way is the system's ssh, which forwards a socket of this machine to the glass at
the node's loopback address; in a lab it is the node's network namespace.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, ClassVar, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mesh.cli.deployed import NoState, exported, of_state
from mesh.foreign import lines
from mesh.netns import inside
from mesh.operating_systems import OperatingSystem

CONNECT = 5
"""Seconds for ssh to connect, and for a log-in."""
ALIVE = 5
"""Seconds between two questions of ssh whether the node is still there; it gives up after two."""
NAP = 0.02
MOST = 1 << 16
"""Bytes of what ssh says that are read."""
LOOPBACK = "::1"

T = TypeVar("T")


class GlassOff(Exception):
    """The network that is deployed has no looking glass."""


class NoWay(Exception):
    """Why a node's glass cannot be reached."""


@dataclass(frozen=True, slots=True)
class Door:
    """The glass of a node: its ``port`` at loopback, and how one gets there: by the arguments of
    ``ssh``, or by its network ``namespace`` in a lab."""

    node: str
    port: int
    ssh: tuple[str, ...] = ()
    namespace: str | None = None

    @property
    def url(self) -> str:
        """Its address on the node itself."""
        return f"http://[{LOOPBACK}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Connection:
    """An open way to a glass: a local ``socket`` that leads there, None in a lab, where ``work`` is
    done inside the node's network namespace. ``complaints`` is what ssh has said so far."""

    door: Door
    socket: Path | None
    complaints: Callable[[], str]

    def run(self, work: Callable[[], T]) -> T:
        """Runs ``work`` where connections to the door's URL lead to the glass."""
        return inside(self.door.namespace, work)


@dataclass(frozen=True, slots=True)
class _Glass:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")
    port: int


@dataclass(frozen=True, slots=True)
class _Node:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")
    id: str
    os: str = OperatingSystem.DEBIAN


@dataclass(frozen=True, slots=True)
class _Planned:
    """What is needed of a plan, so that one of another version does as well."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")
    glass: _Glass | None = None
    nodes: tuple[_Node, ...] = ()


def doors(stack: str) -> dict[str, Door]:
    """The glasses of a deployed stack, by the nodes that run one. :class:`NoState` where its state
    cannot be read, :class:`GlassOff` where its network has none."""
    return of_document(exported(stack), stack)


def of_document(state: Mapping[str, Any], stack: str) -> dict[str, Door]:
    """The same of an exported state."""
    own = of_state(state)
    try:
        planned = TypeAdapter(_Planned).validate_json(own.plan or "{}")
    except ValidationError:
        raise NoState("the plan in the stack's state cannot be read: publish first") from None
    glass, without = planned.glass, {n.id for n in planned.nodes if n.os != OperatingSystem.DEBIAN}
    if glass is None:
        raise GlassOff(
            f"the looking glass of the stack {stack} is off: mesh:glass.enabled is false, another "
            "listener has its port (`mesh check` names a free one for mesh:glass.port), or the "
            "network was published before there was one: `pulumi up`"
        )
    nodes = sorted(own.fleet.members.keys() - without)
    if own.namespace is not None:
        lab = own.namespace.removesuffix("operator")
        return {node: Door(node, glass.port, namespace=lab + node) for node in nodes}
    access = _outputs(state).get("access") or {}
    return {node: Door(node, glass.port, _ssh(access.get(node))) for node in nodes}


def _outputs(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The stack's outputs."""
    for resource in state.get("deployment", {}).get("resources") or []:
        if resource["type"] == "pulumi:pulumi:Stack":
            return resource.get("outputs") or {}
    return {}


def _ssh(access: Any) -> tuple[str, ...]:
    """The arguments of the output ``access.<node>.ssh``; none where it is no call of ssh."""
    line = access.get("ssh") if isinstance(access, Mapping) else None
    words = shlex.split(line) if isinstance(line, str) else []
    return tuple(words[1:]) if words[:1] == ["ssh"] else ()


@contextmanager
def connected(door: Door) -> Iterator[Connection]:
    """A connection to a glass; :class:`NoWay` where there is none."""
    if door.namespace is not None:
        yield Connection(door, None, lambda: "")
        return
    with TemporaryDirectory(prefix="mesh-glass-") as folder:
        local, said = Path(folder) / "glass", Path(folder) / "ssh"

        def complaints() -> str:
            return _last_line(said)

        with said.open("wb") as errors, _started(door, str(local), errors) as process:
            # ssh makes the socket once it has logged in.
            _wait(process, local.is_socket, complaints)
            yield Connection(door, local, complaints)


@contextmanager
def opened(door: Door, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """An ssh that forwards a port of this machine's loopback to a glass."""
    with _started(door, f"127.0.0.1:{port}", None) as process:
        _wait(process, lambda: _answers(port), lambda: "")
        yield process


@contextmanager
def _started(door: Door, local: str, errors: IO[bytes] | None) -> Iterator[subprocess.Popen[bytes]]:
    """ssh, which ends with the block. Its errors go there, or where ours go."""
    command = ssh_command(door, local)
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=errors)
    except FileNotFoundError:
        raise NoWay("the program ssh is missing on this machine") from None
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(CONNECT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ssh_command(door: Door, local: str) -> Sequence[str]:
    """The call of ssh that forwards ``local`` to a glass, and does nothing else: it asks for no
    password, shares no connection that is open already, and ends where it cannot forward."""
    if not door.ssh:
        raise NoWay(
            f"the stack has no output access.{door.node}.ssh, which says how to log in there"
        )
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": CONNECT,
        "ControlPath": "none",
        "ExitOnForwardFailure": "yes",
        "ServerAliveInterval": ALIVE,
        "ServerAliveCountMax": 2,
    }
    given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-N", "-T", "-a", "-x", *given, "-L", f"{local}:{_target(door)}", *door.ssh]


def _target(door: Door) -> str:
    return f"[{LOOPBACK}]:{door.port}"


def _wait(
    process: subprocess.Popen[bytes], is_ready: Callable[[], bool], complaints: Callable[[], str]
) -> None:
    """Until ssh forwards; :class:`NoWay` where it ends before, or takes too long."""
    end = time.monotonic() + 2 * CONNECT
    while not is_ready():
        if process.poll() is not None:
            raise NoWay(f"ssh: {complaints() or f'ended with {process.returncode}'}")
        if time.monotonic() > end:
            raise NoWay(f"ssh: no log-in within {2 * CONNECT} s")
        time.sleep(NAP)


def _answers(port: int) -> bool:
    """Whether something listens at that port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), CONNECT).close()
    except OSError:
        return False
    return True


def _last_line(said: Path) -> str:
    """The last line of what ssh has said."""
    with said.open("rb") as file:
        found = list(lines(file.read(MOST).decode("utf-8", "replace")))
    return found[-1] if found else ""


def free_port(wished: int, *, alone: bool) -> int:
    """That port of this machine's loopback address, or another one where it is taken and this one
    ``alone`` will not do. :class:`NoWay` where there is none."""
    for port in (wished,) if alone else (wished, 0):
        try:
            with socket.create_server(("127.0.0.1", port)) as found:
                number: int = found.getsockname()[1]
                return number
        except OSError:
            continue
    raise NoWay(f"port {wished} of this machine is taken (--port)")
