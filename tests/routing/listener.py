"""An edge's BIRD with its rendered configuration, and its upstream: a speaker that listens.

The two stand in network namespaces of their own; the upstream holds the addresses that the plan
says its neighbor has, and its sessions are signed as the provider's are.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

from mesh.agent.announce_state import AnnounceState
from mesh.agent.daemons.bird import KIND
from mesh.agent.daemons.kind import ChangedNode, FileChange
from mesh.agent.host import Host
from mesh.agent.units import Systemd
from mesh.bird.client import Bird
from mesh.facts import Facts
from mesh.lab import namespaces
from mesh.plan import Address, Family, Network, Node, Plan, UpstreamSession
from mesh.render import node_files, node_secrets, placeholder_facts
from tests.kit.bgp.speaker import Speaker
from tests.kit.bird import in_service, running
from tests.kit.machine import IMAGES, Debian, bird_of
from tests.kit.namespaces import settle
from tests.kit.wait import patience

ANNOUNCE = "run/anycast-mesh/bird/announce.conf"
ORDERS = "run/anycast-mesh/bird/orders4.conf"
PASSWORD = "s3cret"


@dataclass(frozen=True)
class Edge:
    """A running BIRD of one node, and a speaker in the place of each upstream session's neighbor,
    by family."""

    node: Node
    facts: Facts
    pid: int
    upstreams: dict[Family, Speaker]

    @property
    def bird(self) -> Bird:
        """Its BIRD."""
        return bird_of(self.pid)

    def birdc(self, command: str) -> str:
        """Ask the node's BIRD."""
        return self.bird.ask(command, 30).text

    def tell(
        self, *, in_service: bool, draining: bool = False, prefixes: Mapping[Network, bool] = {}
    ) -> None:
        """What the agent tells BIRD; ``prefixes`` are those that come and go each by itself."""
        text = AnnounceState(in_service, draining, tuple(prefixes.items())).file()
        (Path(f"/proc/{self.pid}/root") / ANNOUNCE).write_bytes(text)
        self.configure()

    def take(self, plan: Plan) -> None:
        """Another generation: BIRD's files of another plan, as the agent applies them."""
        host = Host(Path(f"/proc/{self.pid}/root"))
        node = ChangedNode(host, Systemd(host), self.bird, (), frozenset())
        KIND.apply_late(node, self._written(plan))
        KIND.confirm(node)

    def _written(self, plan: Plan) -> list[FileChange]:
        """BIRD's files of another plan, which it has not read so far."""
        facts = placeholder_facts(plan) | {self.node.id: self.facts}
        changes: list[FileChange] = []
        for each in node_files(plan, facts)[self.node.id].files:
            if each.path.startswith("/etc/bird/"):
                place = Path(f"/proc/{self.pid}/root") / each.path[1:]
                old = place.read_bytes() if place.exists() else None
                place.write_text(each.content)
                changes.append(FileChange(each.path, old, each.content.encode()))
        return changes

    def order(self, *addresses: str) -> None:
        """The IPv4 addresses that are given up, in place of those before."""
        text = "".join(f"route {address}/32 blackhole;\n" for address in addresses)
        (Path(f"/proc/{self.pid}/root") / ORDERS).write_text(text)
        self.configure()

    def configure(self) -> None:
        """Have BIRD read its files again."""
        answer = self.birdc("configure")
        assert "Reconfigur" in answer, answer


@contextmanager
def edge(plan: Plan, node_id: str, folder: Path, name: str, bird: str = IMAGES) -> Iterator[Edge]:
    """The node of a plan, in service, with all its upstreams listening; ``name`` is of namespaces,
    ``bird`` the version of its BIRD.

    Yields once every session stands.
    """
    node, facts = plan.node(node_id), replace(placeholder_facts(plan)[node_id], bird=bird)
    here, there = f"{name}-n", f"{name}-u"
    machine = Debian(folder, bird)
    with ExitStack() as stack:
        for space in (here, there):
            namespaces.create([space])
            stack.callback(namespaces.delete, [space])
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _wire(node, facts, here, there)
        _fill(machine, plan, facts, node)
        speakers = {s.family: _listening(s, node, facts, there) for s in node.upstreams}
        for speaker in speakers.values():
            stack.callback(speaker.close)
        pid = stack.enter_context(running(machine, here))
        made = Edge(node, facts, pid, speakers)
        for family, speaker in speakers.items():
            assert speaker.established.wait(patience(30)), f"no {family} session: {speaker.log}"
        yield made


def _wire(node: Node, facts: Facts, here: str, there: str) -> None:
    own: list[Address] = [facts.ipv4] if facts.ipv6 is None else [facts.ipv4, facts.ipv6]
    other: list[Address] = [session.neighbor for session in node.upstreams]
    namespaces.ip([
        "link add dummy0 type bridge",
        "link set dummy0 up",
        f"link add {facts.uplink} type veth peer name node netns {there}",
    ], here)  # fmt: skip
    settle(here, facts.uplink, map(str, own), map(_host, other))
    settle(there, "node", map(str, other), map(_host, own))


def _host(address: Address) -> str:
    return f"{address}/{address.max_prefixlen}"


def _fill(machine: Debian, plan: Plan, facts: Facts, node: Node) -> None:
    machine.put(node_files(plan, placeholder_facts(plan) | {node.id: facts})[node.id].files)
    machine.put(node_secrets(plan, node.id, {node.provider: PASSWORD}))
    apart = plan.announced_by(node.id) if plan.announces_apart else ()
    machine.put([in_service(apart)])


def _listening(session: UpstreamSession, node: Node, facts: Facts, space: str) -> Speaker:
    password = PASSWORD if session.password else None
    own = facts.ipv4 if session.family == "ipv4" else facts.ipv6
    speaker = Speaker(
        session.peer_asn, IPv4Address("198.51.100.1"), password=password, namespace=space
    )
    speaker.listen(str(session.neighbor), str(own))
    return speaker
