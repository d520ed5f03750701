"""A whole edge: its rendered BIRD, started by its own units, its agent's presence, a peer that
obeys nobody, and upstreams that note all that they hear. Namespaces, and one process tree.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, TypeVar

from mesh.agent import bundle
from mesh.agent.announce import Announcer
from mesh.agent.config import Config
from mesh.agent.daemons.oneshots import started
from mesh.agent.host import Host
from mesh.agent.iproute import IpRoute
from mesh.agent.workers import Workers
from mesh.bird.client import Bird
from mesh.lab.namespaces import create, delete, ip
from mesh.netns import inside
from mesh.plan import Node, Plan
from mesh.render import File, node_files, node_secrets, placeholder_facts
from mesh.render.templates import rendered
from mesh.trust.encoding import parse
from tests.kit.bgp.attributes import Route
from tests.kit.bgp.log import Closed, Opened
from tests.kit.bgp.messages import (
    Capability,
    Message,
    RouteRefresh,
    Update,
    capabilities,
)
from tests.kit.bgp.speaker import Speaker
from tests.kit.machine import Debian, Machine, child
from tests.kit.stacks import plan_of, two_services
from tests.kit.wait import patience, until

T = TypeVar("T")
Event = Message | Opened | Closed

EDGE, MATE = "lax-vultr-1", "mia-vultr-1"
UPSTREAM_ASN = 64515
UPSTREAMS = {4: "169.254.169.254", 6: "2001:19f0:ffff::1"}
"""Vultr's: two hops away, by the default route of the kernel."""
PASSWORD = "s3cret"
FAMILIES = (4, 6)
ENHANCED_REFRESH = 70  # RFC 7313: says where the routes that were asked for begin and end
BEGIN, END = 1, 2
NAP = 0.03  # seconds

RULES = [
    {"name": "light", "nodes": [EDGE], "prefix": "192.30.120.0/23", "prepend": 2, "med": 50,
     "communities": ["174:3001"]},
]  # fmt: skip
"""Its IPv4 is steered, its IPv6 is not."""


MIA, ORD, EWR = 4200000003, 4200000002, 4200000004
LINK = IPv6Address("fe80::3")
TOLD: dict[tuple[int, ...], tuple[str, ...]] = {
    (MIA,): (
        "10.10.10.3/32", "192.30.120.25/32", "fd00:10:10::3/128", "2620:71:4000::25/128",
    ),
    (MIA, ORD): ("10.10.10.2/32", "192.30.120.9/32", "fd00:10:10::2/128"),
    (MIA, EWR): ("10.10.10.4/32", "192.30.120.17/32", "fd00:10:10::4/128"),
}  # fmt: skip
"""What the peer says on the tunnel: paths and addresses."""
SERVED = {
    4: ("192.30.120.100/32", "192.30.120.101/32"),
    6: ("2620:71:4000::100/128", "2620:71:4000::101/128"),
}


def values() -> dict[str, Any]:
    """The tests' network, its service checked often and upstreams believed in full. A drain is
    short."""
    found = two_services()
    # An answer may take longer than the interval, on a busy machine.
    often = {"interval": 0.1, "timeout": 10, "rise": 1, "fall": 1}
    quick = {"kind": "http", "port": 80, "path": "/", **often}
    for service in found["services"].values():
        service["checks"] = [quick]
    brief = {"linger": 1}
    return found | {"routing": {"import": "full"}, "traffic": RULES, "drain": brief}


class BirdMachine(Machine):
    """A machine whose BIRD is started and stopped as its units say."""

    def __init__(self, folder: Path, namespace: str, version: str) -> None:
        super().__init__(folder, namespace, version)
        self._bird: subprocess.Popen[bytes] | None = None
        self.host = Host(self.root, self.enter)
        self.bird = Bird(self.path("/run/bird/bird.ctl"))

    def unit(self, key: str) -> list[list[str]]:
        """Commands of bird.service: Debian's, then its drop-in's; an empty one begins anew."""
        found: list[list[str]] = []
        folders = ("/usr/lib/systemd/system/", "/etc/systemd/system/")
        names = ("bird.service", "bird.service.d/anycast-mesh.conf")
        for folder, name in zip(folders, names, strict=True):
            for line in self.host.path(folder + name).read_text().splitlines():
                if line.startswith(f"{key}="):
                    words = line.removeprefix(f"{key}=").split()
                    found = [*found, words] if words else []
        return found

    def start_bird(self) -> None:
        """What systemd does: all that stands before, then the daemon."""
        for command in self.unit("ExecStartPre"):
            self.output(*command)
        pairs = re.findall(
            r"^(\w+)=(.*)$", self.host.path("/etc/bird/envvars").read_text(), re.MULTILINE
        )
        words = {f"${name}": value for name, value in pairs} | {"$BIRD_ARGS": ""}
        (command,) = self.unit("ExecStart")
        given = [words.get(word, word) for word in command]
        self._bird = subprocess.Popen([*self.enter, *(word for word in given if word)])
        self.bird.wait(patience(10))

    def stop_bird(self, *, kill: bool = False) -> None:
        """As systemd stops it (SIGTERM), or as a crash does."""
        assert self._bird is not None
        os.kill(child(self._bird.pid), 9 if kill else 15)
        self._bird.wait()

    def birdc(self, command: str) -> str:
        """BIRD's answer, as an operator reads it."""
        return "\n".join(text for _, text in self.bird.ask(command).lines)

    def close(self) -> None:
        """All that runs there ends."""
        super().close()
        if self._bird is not None:
            self._bird.wait()


@dataclass
class Upstream:
    """One family's session as the upstream sees it; ``read`` events have been asked for."""

    version: int
    speaker: Speaker
    peer: str
    bird: Bird
    read: int = 0

    def listen(self) -> None:
        """Waits to be called from now on."""
        self.speaker.listen(UPSTREAMS[self.version], self.peer)

    def ready(self) -> bool:
        """Whether all has come in that a session begins with."""
        every = [entry.event for entry in self.speaker.log.entries()]
        last = max((n for n, event in enumerate(every) if isinstance(event, Opened)), default=0)
        ended = any(isinstance(event, Closed) for event in every[last:])
        return Update(end_of=self.version) in every[last:] and not ended

    def call(self) -> None:
        """Calls the edge, which is quicker than to be called, and waits for the same."""
        self.speaker.close()
        self.speaker.establish(UPSTREAMS[self.version], self.peer)
        self.wait_for(self.ready, "all that a session begins with")

    def say(self, prefix: str, *path: int) -> None:
        """Tells the edge of a route of the Internet's."""
        hop = ip_address(UPSTREAMS[self.version])
        self.speaker.announce(Route(prefix, (UPSTREAM_ASN, *path), hop))

    def events(self) -> list[Event]:
        """All events since it was asked last."""
        return [entry.event for entry in self.speaker.log.entries()][self.read :]

    def heard(self) -> list[Event]:
        """The same, and marks them as read. What the edge has not said yet comes before its answer
        to a question for all that it announces; that has to be what it has said already."""
        log = self.speaker.log
        self.speaker.refresh(self.version)
        self.wait_for(lambda: RouteRefresh(self.version, END) in self.events(), "the answer's end")
        found = self.events()
        self.read += len(found)
        begin = found.index(RouteRefresh(self.version, BEGIN))
        assert found[-1] == RouteRefresh(self.version, END), found
        answer = found[begin + 1 : -1]
        routes = [r for e in answer if isinstance(e, Update) for r in e.announced]
        assert sorted(routes, key=str) == sorted(log.routes().values(), key=str), found
        assert all(isinstance(event, Update) and event.announced for event in answer), found
        # It asks, too, when what it imports is to be judged again.
        return _told(e for e in found[:begin] if e != RouteRefresh(self.version))

    def wait_for(self, holds: Callable[[], T], what: str, seconds: float = 15) -> T:
        """What ``holds`` yields, once it is true; looked at with every event."""
        end = time.monotonic() + patience(seconds)
        while not (value := self.speaker.log.within(lambda _: holds(), NAP)):
            assert time.monotonic() < end, f"IPv{self.version}: {what}\n{self.speaker.log}"
            # BIRD 2.0 leaves what it has to tell until something else wakes it.
            self.bird.answers()
        return value


class WholeEdge:
    """The edge and all around it. ``agent`` looks after it while it runs."""

    def __init__(
        self, folder: Path, version: str, changed: Mapping[str, Any] | None = None
    ) -> None:
        self.version = version
        self.plan: Plan = plan_of({**values(), **(changed or {})})
        self.node: Node = self.plan.node(EDGE)
        self.mate: Node = self.plan.node(MATE)
        self.facts = placeholder_facts(self.plan)
        self.facts[EDGE] = replace(self.facts[EDGE], bird=version)
        own = self.facts[EDGE]
        prefix = f"edge{os.getpid()}-{folder.name[-8:]}"
        self.spaces = {name: f"{prefix}-{name}" for name in ("node", "mate", "upstream")}
        files = self.files(self.plan)
        self._folder = folder / "edge"
        Debian(self._folder, version)  # raises where there is none, before anything is made
        self._wire()
        self.machine = BirdMachine(self._folder, self.spaces["node"], version)
        self.machine.put(files)
        self.machine.put(node_secrets(self.plan, EDGE, {"vultr": PASSWORD}))
        unit = next(f.content for f in files if f.path.endswith("/anycast-mesh-services.service"))
        for line in started(unit.encode()):
            self.machine.host.run(*line)
        self.upstreams = {
            family: Upstream(family, self.speaker(), str(address), self.machine.bird)
            for family, address in ((4, own.ipv4), (6, own.ipv6))
        }
        self.agent: Announcer | None = None
        self._stop = threading.Event()
        self._looking: threading.Thread | None = None
        self._server: ThreadingHTTPServer | None = None
        self.tunnels: list[Speaker] = []
        self.mates: dict[int, Speaker] = {}

    def files(self, plan: Plan) -> tuple[File, ...]:
        """What such a plan puts on the edge's disk."""
        return node_files(plan, self.facts)[EDGE].files

    # --- its parts -------------------------------------------------------------------------------

    def speaker(self, password: str = PASSWORD, role: int | None = None) -> Speaker:
        """An upstream's router."""
        said = (*capabilities(UPSTREAM_ASN, role=role), Capability(ENHANCED_REFRESH))
        space = self.spaces["upstream"]
        router_id = IPv4Address("192.0.2.254")
        return Speaker(
            UPSTREAM_ASN, router_id, said=said, password=password, namespace=space, hold=90
        )

    @property
    def config(self) -> Config:
        """What the agent is told to watch."""
        return parse(Config, self.machine.host.path("/etc/anycast-mesh/agent.json").read_text())

    def aggregate(self, family: int) -> str:
        """What the Internet may see of us."""
        return str(self.plan.prefixes.ipv4 if family == 4 else self.plan.prefixes.ipv6)

    def inside(self, call: Callable[[], T]) -> T:
        """A call in the edge's network."""
        return inside(self.spaces["node"], call)

    def start_agent(self) -> Announcer:
        """The agent's presence begins to look after the node, as after its start."""
        self.agent = agent = Announcer(
            self.machine.host,
            self.machine.bird,
            IpRoute(self.machine.host),
            lambda: None,
            Workers(threading.Event()),
        )
        self._stop = stop = threading.Event()
        self.watch()
        self._looking = threading.Thread(
            target=lambda: self.inside(lambda: agent.run(stop)), daemon=True
        )
        self._looking.start()
        return agent

    def stop_agent(self) -> None:
        """It ends as its process does: nothing is undone."""
        if self.agent is not None and self._looking is not None:
            self._stop.set()
            self._looking.join()
            # Its checks end with the generation that they watch.
            self.agent._generation += 1
            self.agent = None

    def serve(self) -> None:
        """A web server answers the service's checks."""
        if self._server is None:
            self._server = self.inside(lambda: _Server(("::", 80), _Answers))
            # Its threads listen where their socket was made.
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def fail(self) -> None:
        """It answers no more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def edit(self, *changes: tuple[str, str]) -> None:
        """An operator's hand in bird.conf: regular expressions, and what takes their place."""
        place = self.machine.host.path("/etc/bird/bird.conf")
        text = place.read_text()
        for pattern, new in changes:
            text, count = re.subn(pattern, new, text, flags=re.MULTILINE | re.DOTALL)
            assert count, f"{pattern} is not in bird.conf"
        place.write_text(text)

    @contextmanager
    def edited(self, *changes: tuple[str, str]) -> Iterator[None]:
        """The same with `birdc configure`; all as it was afterwards."""
        place = self.machine.host.path("/etc/bird/bird.conf")
        before = place.read_text()
        self.edit(*changes)
        self.machine.bird.configure()
        try:
            yield
        finally:
            place.write_text(before)
            self.machine.bird.configure()

    def take(self, **changed: Any) -> None:
        """Another generation: what BIRD reads of a plan that differs so."""
        files = self.files(plan_of({**values(), **changed}))
        self.machine.put(file for file in files if file.path.startswith("/etc/bird/"))
        self.machine.bird.configure()

    def watch(self) -> None:
        """The agent begins to watch what its configuration says."""
        assert self.agent is not None
        agent = self.agent
        # Threads that it starts are where it was called from.
        self.inside(lambda: agent.watch(self.config))

    def after_stop(self) -> list[str]:
        """What the agent's unit does once it has stopped; the command of the timer that it sets.
        In systemd's place stands who writes it down."""
        self.machine.put((
            File("/usr/bin/systemctl", "#!/bin/sh\nexit 3\n", 0o755),  # no unit is active
            File("/usr/bin/systemd-run", '#!/bin/sh\necho "$@" >/run/timer\n', 0o755),
        ))  # fmt: skip
        home = self.machine.host.path("/var/lib/anycast-mesh")
        home.mkdir(parents=True, exist_ok=True)
        (home / "bundle.pyz").write_bytes(bundle.build())
        for line in rendered("debian/systemd/agent.service.j2").splitlines():
            if line.startswith("ExecStopPost="):
                self.machine.output(*line.removeprefix("ExecStopPost=").split())
        return self.machine.host.path("/run/timer").read_text().split()

    # --- its neighbors --------------------------------------------------------------------------

    def _call_tunnel(self) -> Speaker:
        """The peer's session on the tunnel."""
        speaker = Speaker(MIA, self.mate.router_id, namespace=self.spaces["mate"])
        speaker.establish("fe80::3", "fe80::1", "wg-lax-vultr-1")
        return speaker

    def _call_mate(self, family: int) -> Speaker:
        """The peer's session of iBGP."""
        speaker = Speaker(27218, self.mate.router_id, namespace=self.spaces["mate"])
        speaker.establish(_tunnel(self.mate, family), _tunnel(self.node, family))
        return speaker

    def served(self, family: int) -> list[Route]:
        """The services that the peer serves."""
        hop = next(each for each in self.mate.tunnel.both() if each.version == family)
        return [Route(prefix, (), hop, local_pref=100) for prefix in SERVED[hop.version]]

    @property
    def tunnel(self) -> Speaker:
        """The peer's session on the tunnel."""
        return self.tunnels[0]

    def call(self) -> None:
        """The peer calls, and says all that it knows."""
        self.tunnels = [self._call_tunnel()]
        self.tell()
        until(lambda: self.knows("2620:71:4000::25/128"), 10, "the tunnel's routes")
        self.mates = {family: self._call_mate(family) for family in FAMILIES}
        self.tell()

    def tell(self) -> None:
        """The peer says (again) its own addresses, what it knows of others, and what it serves."""
        for path, addresses in TOLD.items():
            self.tunnel.announce(*(Route(address, path, LINK) for address in addresses))
        for family, mate in self.mates.items():
            mate.announce(*self.served(family))

    def joined(self) -> None:
        """Waits until all of that is there: BIRD 3 takes a second for it."""
        for prefix in (*(a for told in TOLD.values() for a in told), *SERVED[4], *SERVED[6]):
            until(partial(self.knows, prefix), 10, f"the mate's {prefix}")

    def join(self) -> None:
        """The peer calls, and all is there."""
        self.call()
        self.joined()

    def leave(self) -> None:
        """The peer is gone."""
        for speaker in (*self.mates.values(), *self.tunnels):
            speaker.close()
        self.mates, self.tunnels = {}, []

    def routes(self, prefix: str, table: str = "master") -> str:
        """What BIRD holds for exactly this in a table of its family."""
        version = 6 if ":" in prefix else 4
        return self.machine.birdc(f"show route {prefix} table {table}{version} all")

    def knows(self, prefix: str, word: str = "BGP") -> bool:
        """Whether a peer's route for it is there, with some word about it."""
        return word in self.routes(prefix)

    def lacks(self, prefix: str) -> bool:
        """Whether none is there."""
        return not self.knows(prefix)

    def imports(self, prefix: str, word: str = "BGP") -> bool:
        """The same of the upstreams' tables."""
        return word in self.routes(prefix, "internet")

    def forgot(self, prefix: str) -> bool:
        """Whether none is there."""
        return not self.imports(prefix)

    # --- what the upstreams have heard ------------------------------------------------------------

    def heard(self) -> dict[int, list[Event]]:
        """All that each upstream has heard since it was asked last."""
        return {family: one.heard() for family, one in self.upstreams.items()}

    def hears(self, wanted: Mapping[int, Sequence[Event]], seconds: float = 10) -> None:
        """Waits until each upstream has heard as much as is wanted; asserts that it is that, and
        nothing else before or after it."""
        for family, one in self.upstreams.items():
            count = len(wanted[family])
            one.wait_for(
                partial(_as_many, one, count), f"{count} events: {wanted[family]}", seconds
            )
        assert self.heard() == wanted

    # --- wires -----------------------------------------------------------------------------------

    def _wire(self) -> None:
        node, mate, upstream = (self.spaces[name] for name in ("node", "mate", "upstream"))
        own = self.facts[EDGE]
        (here,) = [link for link in self.node.links if link.peer == MATE]
        (there,) = [link for link in self.mate.links if link.peer == EDGE]
        create(self.spaces.values())
        # The family of a route is seen by what it leads to: a batch has no options for a line.
        ip([
            "link set lo up",
            "link add dummy0 type bridge",
            "link set dummy0 up",
            f"link add enp1s0 type veth peer name up0 netns {upstream}",
            f"link add {here.interface} type veth peer name {there.interface} netns {mate}",
            f"link set {here.interface} addrgenmode none",
            f"address add {here.local}/64 dev {here.interface} nodad",
            f"link set {here.interface} up",
            f"address add {own.ipv4}/24 dev enp1s0",
            f"address add {own.ipv6}/64 dev enp1s0 nodad",
            "link set enp1s0 up",
            "route add default via 203.0.113.254",
            "route add ::/0 via 2001:db8::fe",
            *_own(self.node),
        ], node)  # fmt: skip
        ip([
            "link set lo up",
            "address add 203.0.113.254/24 dev up0",
            "address add 2001:db8::fe/64 dev up0 nodad",
            f"address add {UPSTREAMS[4]}/32 dev up0",
            f"address add {UPSTREAMS[6]}/128 dev up0 nodad",
            "link set up0 up",
        ], upstream)  # fmt: skip
        tail = f"{here.local} dev {there.interface} src"
        ip([
            "link set lo up",
            "link add dummy0 type bridge",
            "link set dummy0 up",
            f"link set {there.interface} addrgenmode none",
            f"address add {there.local}/64 dev {there.interface} nodad",
            f"link set {there.interface} up",
            *_own(self.mate),
            f"route add {self.node.tunnel.ipv4} via inet6 {tail} {self.mate.tunnel.ipv4}",
            f"route add {self.node.tunnel.ipv6} via {tail} {self.mate.tunnel.ipv6}",
        ], mate)  # fmt: skip

    def close(self) -> None:
        """Everything goes."""
        self.stop_agent()
        self.fail()
        self.leave()
        for upstream in self.upstreams.values():
            upstream.speaker.close()
        self.machine.close()
        delete(self.spaces.values())
        shutil.rmtree(self._folder, ignore_errors=True)


class _Server(ThreadingHTTPServer):
    """At all addresses of both families."""

    address_family = socket.AF_INET6


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _told(events: Iterable[Event]) -> list[Event]:
    """Events without calls that were not taken: who waits after an error answers none. An end is
    an end: it is a reset where BIRD had not read all when it ended."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, Closed) and found and isinstance(found[-1], Opened):
            found.pop()
        else:
            found.append(Closed() if isinstance(event, Closed) else event)
    return found


def _as_many(upstream: Upstream, count: int) -> bool:
    return len(upstream.events()) >= count


def _tunnel(node: Node, family: int) -> str:
    return str(node.tunnel.ipv4 if family == 4 else node.tunnel.ipv6)


def _own(node: Node) -> Iterator[str]:
    for own in (*node.tunnel.both(), *node.announced.both()):
        quiet = " nodad" if own.version == 6 else ""
        yield f"address add {own}/{own.max_prefixlen} dev dummy0{quiet}"
