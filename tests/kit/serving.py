"""A node as services see it: their addresses on ``lo``, the rules, and a client outside. In it is a
Debian, whose daemons serve there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from mesh.lab import namespaces
from mesh.render import File
from mesh.services.checks.check import Target
from tests.kit.machine import Machine
from tests.kit.namespaces import settle, spaces
from tests.kit.wait import until

NODE = "lax-vultr-1"
SERVICE = {4: "192.30.120.100", 6: "2620:71:4000::100"}
UPLINK = {4: "198.51.100.10", 6: "2001:db8:64::10"}
CLIENT = {4: "198.51.100.20", 6: "2001:db8:64::20"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}


@dataclass(frozen=True)
class Daemon:
    """A daemon of a place, with all the processes that it starts."""

    place: Place
    group: int

    def signal(self, name: str) -> None:
        """Sends all of its processes a signal."""
        self.place.machine.output("kill", f"-{name}", "--", f"-{self.group}")

    def kill(self) -> None:
        """Ends it at once."""
        self.signal("KILL")


@dataclass(frozen=True)
class Place:
    """A node, and a client outside of it, by their namespaces."""

    node: str
    client: str
    machine: Machine

    def start(self, *command: str) -> Daemon:
        """Starts a daemon that stays in the foreground."""
        process = subprocess.Popen(
            [*self.machine.enter, "setsid", "sh", "-c", 'echo $$; exec "$@" >/dev/null 2>/var/err',
             "sh", *command],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        return Daemon(self, int(process.stdout.readline()))

    def put(self, path: str, content: str, mode: int = 0o644) -> None:
        """Lays a file on its disk."""
        self.machine.put([File(path, content, mode)])

    def target(self, version: int) -> Target:
        """This node's own instance."""
        return Target(ip_address(SERVICE[version]), NODE)

    def from_outside(self, version: int) -> Target:
        """The same for the client's namespace."""
        return Target(ip_address(SERVICE[version]), NODE, device="outside")

    def listens(self, port: int) -> None:
        """Waits for somebody who listens at a TCP port."""
        show = ("ss", "-Hltn", f"sport = :{port}")
        until(lambda: self.machine.output(*show), 10, f"somebody listens at {port}")

    def is_silent(self, port: int) -> None:
        """Waits until nobody does any more."""
        show = ("ss", "-Hltn", f"sport = :{port}")
        until(lambda: not self.machine.output(*show), 10, f"nobody listens at {port}")

    def connections(self, port: int) -> frozenset[str]:
        """The other ends of what is connected to a TCP port."""
        shown = self.machine.output("ss", "-Htn", "state", "established", f"sport = :{port}")
        return frozenset(line.split()[3] for line in shown.splitlines())


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """A node without any daemon."""
    with spaces("serving", "node", "client") as (node, client):
        namespaces.ip([f"link add outside netns {client} type veth peer name uplink netns {node}"])
        settle(node, "uplink", UPLINK.values(), CLIENT.values())
        routes = [*UPLINK.values(), *(f"{SERVICE[v]} via {UPLINK[v]}" for v in (4, 6))]
        settle(client, "outside", CLIENT.values(), routes)
        _answer_always(node)
        machine = Machine(folder, node)
        try:
            yield Place(node, client, machine)
        finally:
            machine.close()


def _answer_always(node: str) -> None:
    """As anycast-mesh-services.service has it: the kernel appends a rule."""
    addresses = [
        f"{SERVICE[4]}/32 dev lo scope host",
        f"{SERVICE[6]}/128 dev lo nodad preferred_lft 0",
    ]
    namespaces.ip([f"address add {address}" for address in addresses], node)
    for version in (4, 6):
        for change in (
            "add preference 0 lookup 4242 protocol kernel",
            "add preference 0 lookup local protocol static",
            "del preference 0 lookup local protocol kernel",
            "add preference 0 lookup local protocol kernel",
            "del preference 0 lookup local protocol static",
        ):
            namespaces.run(["ip", "-n", node, f"-{version}", "rule", *change.split()])
