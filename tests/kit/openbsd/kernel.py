"""What OpenBSD's kernel knows: interfaces, routes, pf, settings. Commands open it one at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.openbsd.records import dataclass, field

# Not typing's: each command would import it for that alone.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

ROOT = "OPENBSD_ROOT"
STATE = "OPENBSD_STATE"
NOT_MODELLED = 64


class Ended(Exception):
    """A command ends, with what it says on the standard error and its exit code."""

    def __init__(self, code: int, said: str = "") -> None:
        super().__init__(said)
        self.code = code
        self.said = said


def failed(said: str, code: int = 1) -> NoReturn:
    """Ends a command with a message."""
    raise Ended(code, said)


def unknown(command: str, words: object) -> NoReturn:
    """Ends a command that OpenBSD may know and its stand-in does not."""
    raise Ended(NOT_MODELLED, f"{command}: the stand-in does not have {words}")


@dataclass
class WireguardPeer:
    """A peer of a wg(4) interface."""

    endpoint: str = ""
    allowed: list[str] = field(default_factory=list)
    handshake: int = 0
    received: int = 0
    sent: int = 0
    keepalive: int = 0


@dataclass
class Wireguard:
    """What a wg(4) interface has beside addresses."""

    private: str = ""
    public: str = ""
    port: int = 0
    peers: dict[str, WireguardPeer] = field(default_factory=dict)


@dataclass
class Interface:
    """An interface. Addresses are written with their prefix length."""

    index: int
    mtu: int
    up: bool = False
    groups: list[str] = field(default_factory=list)
    inet: list[str] = field(default_factory=list)
    inet6: list[str] = field(default_factory=list)
    deprecated: list[str] = field(default_factory=list)
    """Addresses that the machine takes for nothing that it sends by itself."""
    description: str = ""
    lladdr: str = ""
    autoconf4: bool = False
    autoconf6: bool = False
    wireguard: Wireguard | None = None


@dataclass
class Route:
    """An entry of a routing table, which is not an address of the machine's own."""

    table: int
    destination: str
    gateway: str
    interface: str
    flags: str
    priority: int = 8


@dataclass
class Table:
    """A table of pf: addresses with the time at which each was added."""

    persist: bool = False
    const: bool = False
    addresses: dict[str, float] = field(default_factory=dict)


@dataclass
class Pf:
    """The packet filter: what is loaded."""

    enabled: bool = True
    rules: list[str] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    loads: int = 0


@dataclass
class Kernel:
    """Everything that a boot forgets."""

    release: str = "7.9"
    machine: str = "amd64"
    hostname: str = "openbsd.example.net"
    boot: int = 1_780_000_000
    interfaces: dict[str, Interface] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    tables: list[int] = field(default_factory=lambda: [0])
    sources: dict[str, str] = field(default_factory=dict)
    pf: Pf = field(default_factory=Pf)
    connections: list[list[str]] = field(default_factory=list)
    """Connections of TCP: both ends as netstat(1) shows them, and the state."""
    sysctl: dict[str, str] = field(default_factory=dict)
    indexes: int = 0

    def index(self) -> int:
        """A number for another interface; none is given twice."""
        self.indexes += 1
        return self.indexes


def load(state: Path) -> Kernel:
    """What a machine's kernel knows now."""
    content: dict[str, Any] = json.loads((state / "kernel.json").read_text())
    interfaces = {name: _interface(each) for name, each in content.pop("interfaces").items()}
    routes = [Route(**each) for each in content.pop("routes")]
    pf = content.pop("pf")
    tables = {name: Table(**each) for name, each in pf.pop("tables").items()}
    return Kernel(**content, interfaces=interfaces, routes=routes, pf=Pf(**pf, tables=tables))


def save(state: Path, kernel: Kernel) -> None:
    """Keeps it, all or nothing."""
    beside = state / "kernel.new"
    beside.write_text(json.dumps(kernel, default=vars))
    beside.replace(state / "kernel.json")


@contextmanager
def opened(state: Path | None = None) -> Iterator[Kernel]:
    """The kernel, for this process alone; kept where nothing was raised."""
    folder = state or Path(os.environ[STATE])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kernel = load(folder)
        yield kernel
        save(folder, kernel)


def path(absolute: str) -> Path:
    """A file of the machine; one relative to the present folder stays."""
    root = os.environ.get(ROOT, "/")
    given = Path(absolute)
    if not given.is_absolute() or given.is_relative_to(root):
        return given
    return Path(root) / absolute.lstrip("/")


def _interface(content: dict[str, Any]) -> Interface:
    wireguard = content.pop("wireguard")
    return Interface(**content, wireguard=None if wireguard is None else _wireguard(wireguard))


def _wireguard(content: dict[str, Any]) -> Wireguard:
    peers = {key: WireguardPeer(**each) for key, each in content.pop("peers").items()}
    return Wireguard(**content, peers=peers)
