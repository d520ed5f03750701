"""A real node's BIRD with its rendered configuration, and a rogue peer, in two namespaces."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mesh.bird.client import Bird
from mesh.lab import namespaces
from mesh.plan import Node, Plan
from mesh.render import node_files, node_secrets, placeholder_facts
from tests.kit import bird
from tests.kit.bgp.speaker import Speaker
from tests.kit.machine import Debian, bird_of
from tests.kit.namespaces import Kernel, kernel
from tests.kit.stacks import plan_of, two_services
from tests.kit.systems import RUNS, on, own_interface, serving, tunnel_ends

T = TypeVar("T")
NODE, ROGUE = "lax-vultr-1", "mia-vultr-1"


@dataclass(frozen=True)
class NodeAndRogue:
    """The node under test and the namespace of its rogue peer."""

    plan: Plan
    node: Node
    rogue: Node
    namespaces: dict[str, str]
    bird: Bird
    root: Path
    """Of the node's file system."""
    kernel: Kernel
    """The node's."""

    @property
    def interface(self) -> str:
        """The node's end of the tunnel."""
        return next(link.interface for link in self.node.links if link.peer == self.rogue.id)

    def birdc(self, command: str) -> str:
        """BIRD's answer."""
        return self.bird.ask(command, 30).text

    def main_table(self, family: int) -> list[dict[str, Any]]:
        """The node's main table."""
        return self.kernel.show(family, "route show table main")

    def routes(self, prefix: str) -> str:
        """What BIRD holds for exactly this prefix."""
        return self.birdc(f"show route {prefix} all")

    def speak(self, source: str, target: str, asn: int, interface: str | None) -> Speaker:
        """A session of the rogue's with the node, up."""
        speaker = Speaker(asn, self.rogue.router_id, namespace=self.namespaces[ROGUE])
        speaker.establish(source, target, interface)
        return speaker


@pytest.fixture(scope="module", params=RUNS, ids=" ".join)
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeAndRogue]:
    """A node's BIRD, running, with a wire in place of each tunnel; one version after another, and
    with the files of a node on OpenBSD."""
    version, system = request.param
    plan = on(system, plan_of(two_services()), NODE)
    node, rogue = plan.node(NODE), plan.node(ROGUE)
    spaces = {name: f"routing-{os.getpid()}-{name}" for name in (NODE, ROGUE)}
    machine = Debian(tmp_path_factory.mktemp("node"), version)
    try:
        _wire(node, rogue, spaces)
        _fill(machine, plan, version)
        with bird.running(machine, spaces[NODE]) as pid, kernel(spaces[NODE]) as shown:
            root = Path(f"/proc/{pid}/root")
            yield NodeAndRogue(plan, node, rogue, spaces, bird_of(pid), root, shown)
    finally:
        namespaces.delete(spaces.values())
        shutil.rmtree(machine.folder, ignore_errors=True)


def _wire(node: Node, rogue: Node, spaces: dict[str, str]) -> None:
    (here,) = [link for link in node.links if link.peer == rogue.id]
    (there,) = [link for link in rogue.links if link.peer == node.id]
    namespaces.create(spaces.values())
    ends = f"type veth peer name {there.interface} netns {spaces[rogue.id]}"
    namespaces.ip([f"link add {here.interface} {ends}"], spaces[node.id])
    for each, link in ((node, here), (rogue, there)):
        namespaces.ip([
            "link set lo up", *own_interface(each), *tunnel_ends(each)[link.interface],
        ], spaces[each.id])  # fmt: skip
    # The rogue finds the node's tunnel addresses by itself: it has no BIRD.
    tail = f"{here.local} dev {there.interface} src"
    namespaces.ip([
        f"route add {node.tunnel.ipv4} via inet6 {tail} {rogue.tunnel.ipv4}",
        f"route add {node.tunnel.ipv6} via {tail} {rogue.tunnel.ipv6}",
    ], spaces[rogue.id])  # fmt: skip


def _fill(machine: Debian, plan: Plan, version: str) -> None:
    facts = {node: replace(each, bird=version) for node, each in placeholder_facts(plan).items()}
    machine.put(node_files(plan, facts)[NODE].files)
    machine.put(node_secrets(plan, NODE, {"vultr": "s3cret"}))
    # In service, so that what the node would tell an upstream can be seen.
    machine.put([bird.in_service(), serving()])
