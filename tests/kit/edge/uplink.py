"""An edge's BIRD with its rendered configuration, and the world behind its uplink, in namespaces.

The world holds the upstream's addresses, where a speaker that is not BIRD can say anything, and
whatever else the edge is to reach (validators).
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mesh.bird.client import Bird
from mesh.lab import namespaces
from mesh.operating_systems import OperatingSystem
from mesh.plan import Node, Plan, UpstreamSession
from mesh.render import node_files, node_secrets, placeholder_facts
from mesh.render.systems import system_of
from tests.kit import bird
from tests.kit.bgp.messages import capabilities
from tests.kit.bgp.speaker import Speaker
from tests.kit.machine import IMAGES, Debian, bird_of
from tests.kit.namespaces import address_line
from tests.kit.stacks import plan_of
from tests.kit.systems import DEBIAN, on, serving

PASSWORD = "s3cret-of-25-characters.."  # of nobody's session


@dataclass(frozen=True)
class Edge:
    """The edge under test; ``space`` is its namespace, ``world`` the one behind its uplink."""

    plan: Plan
    node: Node
    pid: int
    space: str
    world: str
    addresses: Mapping[str, str]
    """The edge's own, by family."""
    folder: Path

    @property
    def bird(self) -> Bird:
        """Its BIRD."""
        return bird_of(self.pid)

    def birdc(self, command: str) -> str:
        """BIRD's answer, asked in its own file system."""
        return self.bird.ask(command, 30).text

    def session(self, family: str) -> UpstreamSession:
        """The planned session of that family."""
        return next(each for each in self.node.upstreams if each.family == family)

    def upstream(self, family: str, **options: Any) -> Speaker:
        """The upstream of that family, its session up; the caller closes it."""
        session = self.session(family)
        speaker = Speaker(
            session.peer_asn,
            self.plan.node(self.node.id).router_id + 100,
            said=capabilities(session.peer_asn, families=(int(family[-1]),), **options),
            password=PASSWORD if session.password else None,
            namespace=self.world,
        )
        speaker.establish(str(session.neighbor), self.addresses[family])
        return speaker

    def log(self) -> str:
        """What BIRD has logged."""
        return (Path(f"/proc/{self.pid}/root") / LOG).read_text()

    def resident(self) -> float:
        """BIRD's resident memory in MB."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found, text
        return int(found[1]) / 1024


@contextmanager
def edge(
    values: dict[str, Any],
    node_id: str,
    *,
    version: str = IMAGES,
    system: OperatingSystem = DEBIAN,
    also: Iterable[str] = (),
    ready: Callable[[str], object] = lambda world: None,
    bend: Callable[[str], str] = lambda text: text,
    preload: Callable[[Path], str] | None = None,
    secrets: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Edge]:
    """An edge in service. ``also``: more addresses of the world. ``ready`` is called with the
    world's namespace before BIRD starts. ``bend`` changes bird.conf and rpki.conf, for what no
    stack file can say. ``preload`` lays a library on the disk and tells where. ``secrets`` are
    sessions' passwords in place of PASSWORD."""
    plan = on(system, plan_of(values), node_id)
    node = plan.node(node_id)
    facts = placeholder_facts(plan)
    facts[node_id] = replace(facts[node_id], bird=version)
    folder = Path(tempfile.mkdtemp(prefix="edge-"))
    tag = f"edge-{os.getpid()}-{folder.name[-6:]}"
    here, world = f"{tag}-n", f"{tag}-w"
    machine = Debian(folder, version)
    own = {"ipv4": str(facts[node_id].ipv4), "ipv6": str(facts[node_id].ipv6)}
    try:
        neighbors = [str(each.neighbor) for each in node.upstreams if each.interface is None]
        _wire(here, world, own, [*neighbors, *also], system_of(node).names.interface)
        machine.put(
            replace(file, content=bend(_logging(file.content))) if file.path in BENT else file
            for file in node_files(plan, facts)[node_id].files
        )
        passwords = {name: PASSWORD for name in [s.password for s in node.upstreams] if name}
        passwords |= secrets
        machine.put(node_secrets(plan, node_id, passwords))
        machine.put([bird.in_service(), serving()])
        ready(world)
        library = preload(folder / "upper") if preload else None
        with bird.running(machine, here, preload=library) as pid:
            yield Edge(plan, node, pid, here, world, own, folder)
    finally:
        namespaces.delete([here, world])
        shutil.rmtree(folder, ignore_errors=True)


def _logging(text: str) -> str:
    """The same, but for where the log goes: nobody takes syslog's lines here, and each of them
    would be written to the console; nor the agent's."""
    kept = re.sub(r"^log udp .*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^log syslog .*;", f'log "/{LOG}" all;', kept, flags=re.MULTILINE)


def _wire(
    here: str, world: str, own: Mapping[str, str], others: Iterable[str], interface: str
) -> None:
    namespaces.create([here, world])
    namespaces.ip([
        "link set lo up",
        f"link add enp1s0 type veth peer name uplink netns {world}",
        f"link add {interface} type bridge",
        *_end("enp1s0", own),
    ], here)  # fmt: skip
    neighbors = (address_line(other, "uplink") for other in sorted(set(others)))
    namespaces.ip(["link set lo up", *_end("uplink", GATEWAYS), *neighbors], world)
    # A batch sees the family of a default route by the address that it leads to.
    namespaces.ip(
        [f"route add default via {GATEWAYS['ipv4']}", f"route add ::/0 via {GATEWAYS['ipv6']}"],
        here,
    )


def _end(link: str, addresses: Mapping[str, str]) -> tuple[str, ...]:
    return (
        f"link set {link} up",
        f"address add {addresses['ipv4']}/24 dev {link}",
        f"address add {addresses['ipv6']}/64 dev {link} nodad",
    )


LOG = "run/bird.log"
BENT = ("/etc/bird/bird.conf", "/etc/bird/mesh/rpki.conf")
GATEWAYS = {"ipv4": "203.0.113.254", "ipv6": "2001:db8::ffff"}
