"""Two places that serve one address of each family, and a client that reaches the first of them
while that works: this product's nodes, or a router with ExaBGP or anycast-healthchecker behind it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.failover.client import Client
from mesh.lab import namespaces
from mesh.plan import Plan
from mesh.publish import publish
from tests.kit.machine import Machine, bird_of, child
from tests.kit.machines import GATEWAY, AgentMachine, Network, Wire
from tests.kit.stacks import plan_of, prod

DAEMON = Path(__file__).with_name("daemon.py")
ADDRESSES = {"IPv4": "192.30.120.100", "IPv6": "2620:71:4000::100"}
CLIENT = 200
FASTEST = {"interval": 0.1, "timeout": 0.1, "fall": 1, "rise": 1}


class Site(ABC):
    """Both places. ``home`` serves while its daemon works, and ``folder`` is scratch space."""

    home: str
    interval: float
    """Seconds between two checks at home."""
    longest: float
    """Seconds until it has surely moved."""
    threads: tuple[str, ...] = ()
    """How the names of the threads begin that check and announce, in a process with others."""

    def __init__(self, wire: Wire) -> None:
        self.wire, self.folder = wire, wire.folder
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._machines: list[Machine] = []

    @property
    def client(self) -> Client:
        """The client."""
        return Client(self.space(CLIENT), ADDRESSES)

    @property
    @abstractmethod
    def checker(self) -> int:
        """The process at home that checks, and starts whatever else checks."""

    @abstractmethod
    def start_daemon(self, place: str) -> subprocess.Popen[bytes]:
        """Starts the daemon of a place."""

    @property
    @abstractmethod
    def lose(self) -> Path:
        """The file at home with which the next check gets no answer."""

    def lose_one(self) -> None:
        """The next check at home gets no answer."""
        self.lose.touch()

    @property
    def is_to_lose(self) -> bool:
        """Whether there was no check since."""
        return self.lose.exists()

    @abstractmethod
    def pid(self, place: str) -> int:
        """The daemon's process."""

    def serve(self, place: str) -> None:
        """Starts a place's daemon, or lets it go on."""
        running = self._daemons.get(place)
        if running is None or running.poll() is not None:
            self._daemons[place] = self.start_daemon(place)
        else:
            # The command that entered the namespaces stops with what it has started.
            os.kill(self.pid(place), signal.SIGCONT)
            os.kill(running.pid, signal.SIGCONT)

    def kill(self) -> None:
        """The daemon at home dies."""
        os.kill(self.pid(self.home), signal.SIGKILL)

    def freeze(self) -> None:
        """The daemon at home hangs."""
        os.kill(self.pid(self.home), signal.SIGSTOP)

    def space(self, host: int) -> str:
        """The namespace of a host of the wire."""
        return f"{self.wire.prefix}-{host}"

    def put_host(self, host: int) -> str:
        """Connects a new host; its namespace."""
        namespaces.create([self.space(host)])
        self.wire.plug(self.space(host), host)
        return self.space(host)

    def put_bird(self, host: int, conf: str, others: Mapping[str, str] | None = None) -> Machine:
        """A BIRD of the node image with this configuration, and other files beside it."""
        machine = Machine(self.folder / f"bird-{host}", self.space(host))
        self._machines.append(machine)
        machine.path("/etc/bird/bird.conf").write_text(
            f"router id 203.0.113.{host};\nprotocol device {{ scan time 5; }}\n{conf}"
        )
        for name, text in (others or {}).items():
            machine.path(f"/etc/bird/{name}").write_text(text)
        machine.path("/run/bird").mkdir(exist_ok=True)
        machine.output("bird", "-s", "/run/bird/bird.ctl")
        bird_of(machine.pid).wait(20)
        return machine

    def attach(self, gateway: int) -> None:
        """Connects the client; the service is behind this host of the wire."""
        space = self.put_host(CLIENT)
        namespaces.sysctl(space, {"ipv4/conf/all/accept_redirects": "0"})
        namespaces.ip([
            f"route add {ADDRESSES['IPv4']} via 203.0.113.{gateway}",
            f"route add {ADDRESSES['IPv6']} via 2001:db8::{gateway:x}",
        ], space)  # fmt: skip

    def close(self) -> None:
        """All that runs ends."""
        for one in self._daemons.values():
            one.kill()
            one.wait()
        for machine in self._machines:
            machine.close()


class Ours(Site):
    """Two nodes of this product, whole: agent, registry, BIRD, tunnel and firewall as rendered. The
    client's packets come in at Chicago."""

    home, other = "ord-vultr-1", "lax-vultr-1"
    longest = 10.0
    threads = ("presence", "check ")

    def __init__(self, wire: Wire, check: Mapping[str, Any]) -> None:
        super().__init__(wire)
        values = prod()
        values["nodes"] = {node: values["nodes"][node] for node in (self.other, self.home)}
        values["whoami"] = False
        values["services"] = {"web": values["services"]["web"] | {"checks": [
            {"kind": "http", "port": 80, "path": "/check"} | dict(check)
        ]}}  # fmt: skip
        plan = plan_of(values)
        self.interval = plan.services[0].checks[0].interval
        self._put_upstream(plan)
        network = Network(wire, plan)
        self._boxes: dict[str, AgentMachine] = {
            node: network.boot(node, host) for node, host in ((self.other, 11), (self.home, 12))
        }
        for node in self._boxes:
            self.serve(node)
        publish(network.order(), None, lambda _: None)
        self.attach(12)
        self.client.served_by(self.home)

    def _put_upstream(self, plan: Plan) -> None:
        """What the nodes announce to: without it they would look at their sessions more often."""
        conf = ""
        for node, host in ((self.other, 11), (self.home, 12)):
            for session in plan.node(node).upstreams:
                n, far = (
                    (4, f"203.0.113.{host}")
                    if session.family == "ipv4"
                    else (6, f"2001:db8::{host:x}")
                )
                conf += f"""
protocol bgp {{
    local {session.neighbor} as {session.peer_asn}; neighbor {far} as {plan.asn};
    multihop; passive; password "s3cret-of-the-session";
    ipv{n} {{ import all; export none; }};
}}
"""
        space = self.put_host(GATEWAY)
        addresses = {str(session.neighbor) for session in plan.node(self.home).upstreams}
        namespaces.ip([f"address add {each} dev lo" for each in sorted(addresses)], space)
        self.put_bird(GATEWAY, conf)

    @property
    def checker(self) -> int:
        """The agent."""
        return child(self._boxes[self.home].running["agent"].pid)

    def start_daemon(self, place: str) -> subprocess.Popen[bytes]:
        """In the node's own namespaces."""
        machine = self._boxes[place].machine
        machine.path("/srv/daemon.py").write_bytes(DAEMON.read_bytes())
        command = ["python3", "/srv/daemon.py", place, "/run/lose-one"]
        return subprocess.Popen([*machine.enter, *command])

    def pid(self, place: str) -> int:
        """The child of the command that entered."""
        return child(self._daemons[place].pid)

    @property
    def lose(self) -> Path:
        """A file of the node."""
        return self._boxes[self.home].path("/run/lose-one")
