"""The node as Debian: the real kernel with the node's settings, rules and addresses, between TUN
interfaces, through which packets come in and go out as bytes."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mesh import netns
from mesh.agent.daemons.oneshots import started
from mesh.agent.host import Host
from mesh.lab import namespaces
from mesh.operating_systems import OperatingSystem
from mesh.plan import Plan
from mesh.render import File
from mesh.render.services import SERVICES_TABLE
from tests.kit.machine import Debian
from tests.kit.namespaces import spaces
from tests.kit.wait import PATIENCE, until
from tests.pf.packets import NUMBERS, Packet, segment_size
from tests.pf.world import HERE, LOST, MEMBER, NODE, PEER, UPLINK, End, World, files

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
NAMES = {UPLINK: UPLINK, PEER: f"wg-{PEER}", MEMBER: f"wg-{MEMBER}"}
"""The interfaces by what they lead to."""
RATES = re.compile(r" limit rate \d+/second burst \d+ packets")
TOKEN = struct.Struct("!4sL")
MARK = b"pf>>"
_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))
except ConnectionRefusedError:
    print("refused")
except TimeoutError:
    print("no answer")
"""


@dataclass
class Linux:
    """A running node."""

    namespace: str
    tuns: dict[str, int]
    local: list[socket.socket]
    known: dict[int, Packet] = field(default_factory=dict)
    seen: dict[int, tuple[End, bytes]] = field(default_factory=dict)

    def received(self, arrivals: Iterable[tuple[Packet, str]]) -> list[End]:
        """Where packets end that come in there, each by itself."""
        numbers = []
        for packet, interface in arrivals:
            number, data = self._numbered(packet)
            os.write(self.tuns[interface], data)
            self._collect()
            numbers.append(number)
        self._settle()
        return [self.seen.get(number, (LOST, b""))[0] for number in numbers]

    def sent(self, packets: Iterable[Packet]) -> list[tuple[End, int | None]]:
        """Where packets go that the node sends itself, as root, and their segment size then."""
        found: list[tuple[End, int | None]] = []
        for packet in packets:
            number, data = self._numbered(packet)
            netns.inside(self.namespace, partial(_send, data, packet))
            self._collect()
            end, data = self.seen.get(number, (LOST, b""))
            found.append((end, segment_size(data) if data else None))
        return found

    def refuses(self, address: str, port: int, user: int, seconds: float) -> bool:
        """Whether a user's connection is refused within so many seconds."""
        command = ["ip", "netns", "exec", self.namespace, "setpriv", f"--reuid={user}"]
        command += ["--clear-groups", sys.executable, "-c", _CONNECT, address, str(port)]
        command.append(str(seconds))
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=2 * PATIENCE, check=True
        )
        return done.stdout == "refused\n"

    def _numbered(self, packet: Packet) -> tuple[int, bytes]:
        """A packet's number, and its bytes with that in them."""
        number = len(self.known)
        self.known[number] = packet
        return number, packet.wire(TOKEN.pack(MARK, number))

    def _settle(self) -> None:
        """All that was sent has been worked on: one more packet has come through."""
        for address in ("10.10.10.2", "fd00:10:10::2"):
            kind = "icmp" if ":" not in address else "icmp6"
            source = address[:-1] + "1"
            last = Packet(source=source, destination=address, protocol=kind, kind="echoreq")
            number, data = self._numbered(last)
            os.write(self.tuns[PEER], data)
            until(partial(self._has, number), 5, "the last packet")

    def _has(self, number: int) -> bool:
        self._collect()
        return number in self.seen

    def _collect(self) -> None:
        """Reads what has come out, or has been taken in."""
        for end, descriptor in self.tuns.items():
            with suppress(BlockingIOError):
                while data := os.read(descriptor, 65536):
                    self._note(data, end)
        for taken in self.local:
            with suppress(BlockingIOError):
                while data := taken.recv(65536):
                    self._note(data, HERE)

    def _note(self, data: bytes, end: End) -> None:
        """What has a number at its end is ours, unless it is an answer that repeats it."""
        at = data.rfind(MARK)
        if at < 0 or len(data) != at + TOKEN.size:
            return
        (_, number) = TOKEN.unpack(data[at:])
        if end == HERE or _ends(data) == _ends(self.known[number].wire(b"")):
            self.seen.setdefault(number, (end, data))


def _ends(data: bytes) -> bytes:
    """Source and destination of a packet."""
    return data[12:20] if data[0] >> 4 == 4 else data[8:40]


def _send(data: bytes, packet: Packet) -> None:
    family = socket.AF_INET if packet.family == 4 else socket.AF_INET6
    with (
        socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
        suppress(PermissionError),  # the firewall's word
    ):
        raw.sendto(data, (packet.destination, 0))


@contextmanager
def linux(world: World, folder: Path) -> Iterator[Linux]:
    """The node, alive meanwhile."""
    machine = Debian(folder)
    made = files(OperatingSystem.DEBIAN)
    machine.put(_unlimited(made))
    with ExitStack() as stack:
        (space,) = stack.enter_context(spaces("pf", "node"))
        tuns = {end: netns.inside(space, partial(_tun, name)) for end, name in NAMES.items()}
        for descriptor in tuns.values():
            stack.callback(os.close, descriptor)
        _wire(world, world.plan, space)
        for command in (
            ("sysctl", "-q", "-p", "/etc/sysctl.d/99-anycast-mesh.conf"),
            ("nft", "-f", "/etc/nftables.conf"),
            *(_discarded(address) for address in world.discarded),
        ):
            machine.must(*command, namespace=space)
        host = Host(prefix=("ip", "netns", "exec", space))
        unit = next(f for f in made if f.path.endswith("-services.service"))
        for line in started(unit.content.encode()):
            host.run(*line)
        namespaces.ip(
            [
                f"route replace {address} dev {NAMES[end or '']} table {SERVICES_TABLE}"
                for address, end in world.elsewhere
            ],
            space,
        )
        local = netns.inside(space, _raw)
        for each in local:
            stack.callback(each.close)
        yield Linux(space, tuns, local)


def _unlimited(made: Iterable[File]) -> Iterator[File]:
    """The same rules without their rates."""
    for file in made:
        if file.path == "/etc/nftables.conf":
            yield File(file.path, RATES.sub("", file.content), file.mode)
        else:
            yield file


def _discarded(address: str) -> tuple[str, ...]:
    name = f"addresses{6 if ':' in address else 4}"
    return ("nft", "add", "element", "inet", "mesh_discard", name, f"{{ {address} timeout 1h }}")


def _tun(name: str) -> int:
    """A TUN interface of this namespace, as a file that does not wait."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(
        descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
    )
    return descriptor


def _raw() -> list[socket.socket]:
    """Sockets that get a copy of each packet that the node takes in."""
    made = []
    for name, number in NUMBERS.items():
        if name != "icmp6":
            made.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, number))
        if name != "icmp":
            made.append(socket.socket(socket.AF_INET6, socket.SOCK_RAW, number))
    for each in made:
        each.setblocking(False)
    return made


def _wire(world: World, plan: Plan, space: str) -> None:
    node = plan.node(NODE)
    lines = ["link set lo up", "link add dummy0 type bridge", "link set dummy0 up"]
    lines += [f"link set {name} up" for name in NAMES.values()]
    services = world.services
    for address in world.own:
        if str(address) in services:
            continue
        length: int = address.max_prefixlen
        device = "dummy0"
        if str(address).startswith("fe80"):
            device, length = NAMES[PEER], 64
        elif address == world.own[0] or address == world.own[1]:
            device = UPLINK
        lines.append(f"address add {address}/{length} dev {device}{' nodad' * (length > 32)}")
    assert node.links
    for network, end in world.routes:
        way = f"dev {NAMES[end]}" if end else ""
        lines.append(f"route add {'' if end else 'blackhole '}{network} {way}")
    namespaces.ip(lines, space)
