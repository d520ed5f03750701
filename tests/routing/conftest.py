"""A real node's BIRD with its rendered configuration, and a rogue peer, in two namespaces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mesh.agent.announce import AnnounceState
from mesh.bird.client import Bird
from mesh.lab import namespaces
from mesh.plan import Node, Plan
from mesh.render import File, node_files, node_secrets, placeholder_facts
from tests.kit.bgp.speaker import Speaker
from tests.kit.machine import BIRDS, Debian, bird_of
from tests.kit.stacks import plan_of, two_services
from tests.kit.wait import until

T = TypeVar("T")
NODE, ROGUE = "lax-vultr-1", "mia-vultr-1"


@dataclass(frozen=True)
class Bench:
    """The node under test and the namespace of its rogue peer."""

    plan: Plan
    node: Node
    rogue: Node
    namespaces: dict[str, str]
    bird: Bird
    root: Path
    """Of the node's file system."""

    def birdc(self, command: str) -> str:
        """BIRD's answer."""
        return self.bird.ask(command, 30).text

    def kernel(self, family: str) -> list[dict[str, Any]]:
        """The node's main table."""
        command = [
            "ip",
            "-n",
            self.namespaces[NODE],
            family,
            "-j",
            "route",
            "show",
            "table",
            "main",
        ]
        routes: list[dict[str, Any]] = json.loads(_run(*command))
        return routes

    def routes(self, prefix: str) -> str:
        """What BIRD holds for exactly this prefix."""
        return self.birdc(f"show route {prefix} all")

    def speak(self, source: str, target: str, asn: int, interface: str | None) -> Speaker:
        """A session of the rogue's with the node, up."""
        speaker = Speaker(asn, self.rogue.router_id, namespace=self.namespaces[ROGUE])
        speaker.establish(source, target, interface)
        return speaker


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module", params=BIRDS)
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """A node's BIRD, running, with a wire in place of each tunnel; one version after another."""
    plan = plan_of(two_services())
    node, rogue = plan.node(NODE), plan.node(ROGUE)
    spaces = {name: f"routing-{os.getpid()}-{name}" for name in (NODE, ROGUE)}
    machine = Debian(tmp_path_factory.mktemp("node"), request.param)
    try:
        _wire(node, rogue, spaces)
        process = _start(plan, machine, spaces[NODE], request.param)
        try:
            root = Path(f"/proc/{process.pid}/root")
            yield Bench(plan, node, rogue, spaces, bird_of(process.pid), root)
        finally:
            process.kill()
            process.wait()
    finally:
        for space in spaces.values():
            namespaces.delete([space])
        shutil.rmtree(machine.folder, ignore_errors=True)


def _wire(node: Node, rogue: Node, spaces: dict[str, str]) -> None:
    (here,) = [link for link in node.links if link.peer == rogue.id]
    (there,) = [link for link in rogue.links if link.peer == node.id]
    for space in spaces.values():
        namespaces.create([space])
        _run("ip", "-n", space, "link", "set", "lo", "up")
        _run("ip", "-n", space, "link", "add", "dummy0", "type", "bridge")
        _run("ip", "-n", space, "link", "set", "dummy0", "up")
    ends = ("type", "veth", "peer", "name", there.interface, "netns", spaces[rogue.id])
    _run("ip", "-n", spaces[node.id], "link", "add", here.interface, *ends)
    for each, link in ((node, here), (rogue, there)):
        space = spaces[each.id]
        _run("ip", "-n", space, "link", "set", link.interface, "addrgenmode", "none")
        address = ("addr", "add", f"{link.local}/64", "dev", link.interface, "nodad")
        _run("ip", "-n", space, *address)
        _run("ip", "-n", space, "link", "set", link.interface, "up")
        for own in (*each.tunnel.both(), *each.announced.both()):
            quiet = ("nodad",) if own.version == 6 else ()
            length = own.max_prefixlen
            _run("ip", "-n", space, "addr", "add", f"{own}/{length}", "dev", "dummy0", *quiet)
    # The rogue finds the node's tunnel addresses by itself: it has no BIRD.
    tail = ("dev", there.interface, "src")
    add = ("ip", "-n", spaces[rogue.id], "route", "add")
    via4 = ("via", "inet6", str(here.local))
    _run(*add, str(node.tunnel.ipv4), *via4, *tail, str(rogue.tunnel.ipv4))
    _run(*add, str(node.tunnel.ipv6), "via", str(here.local), *tail, str(rogue.tunnel.ipv6))


def _start(plan: Plan, machine: Debian, space: str, bird: str) -> subprocess.Popen[str]:
    facts = {node: replace(each, bird=bird) for node, each in placeholder_facts(plan).items()}
    machine.put(node_files(plan, facts)[NODE].files)
    machine.put(node_secrets(plan, NODE, {"vultr": "s3cret"}))
    # In service, so that what the node would tell an upstream can be seen.
    machine.put(
        [
            File(
                "/run/anycast-mesh/bird/announce.conf",
                AnnounceState(in_service=True).file().decode(),
            )
        ]
    )
    (machine.folder / "upper/run/bird").mkdir(parents=True)
    process = machine.start("bird", "-f", "-s", "/run/bird/bird.ctl", namespace=space)
    until(bird_of(process.pid).answers, 20, "BIRD is up")
    return process
