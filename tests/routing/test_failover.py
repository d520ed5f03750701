"""Four nodes with their rendered configurations and real BIRDs: the nearest way by the plan's
costs, another one when a tunnel is cut, and no peer accused of anything in between."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesh.agent.config import Config
from mesh.agent.routing_audit import PlannedRouting, parsed, transit_paths, violations
from mesh.agent.routing_monitor import RoutingMonitor
from mesh.bird.client import Bird
from mesh.lab import namespaces
from mesh.operating_systems import OperatingSystem
from mesh.plan import Node, Plan, make
from mesh.publish.alarms import NodeWarning, warnings
from mesh.render import File, node_files, node_secrets, placeholder_facts
from mesh.spec import load
from mesh.trust.documents import Health, Report
from mesh.trust.encoding import parse
from tests.kit.machine import BIRDS, Debian, bird_of
from tests.kit.stacks import ROOT, plan_of, prod
from tests.kit.systems import DEBIAN, OPENBSD, RUNS, on, own_interface, serving, tunnel_ends
from tests.kit.uptimes import restarted, since
from tests.kit.wait import patience, until

pytestmark = pytest.mark.image
NAP = 0.02
"""Seconds between two looks at everybody."""
LAX, ORD, MIA, EWR = "lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1"


@dataclass
class Mesh:
    """The nodes of a plan, a namespace and a BIRD each, and a wire for each tunnel: of the plan, or
    of ``wired``, which has the same nodes. With ``system``, Miami runs that."""

    plan: Plan
    folder: Path
    version: str
    wired: Plan | None = None
    system: OperatingSystem = DEBIAN

    def __post_init__(self) -> None:
        self.plan = on(self.system, self.plan, MIA)
        self._machines = {
            node.id: Debian(self.folder / node.id, self.version) for node in self.plan.nodes
        }
        self._birds: dict[str, subprocess.Popen[str]] = {}
        self._configs: dict[str, Config] = {}
        web = next(each for each in self.plan.services if each.name == "web").addresses
        self._web = web.both()
        self._served = [f"{address}/{address.max_prefixlen}" for address in self._web]

    def space(self, node: str) -> str:
        return f"{self.folder.name}-{os.getpid()}-{node[:3]}"

    def __enter__(self) -> Mesh:
        for node in self.plan.nodes:
            space = self.space(node.id)
            namespaces.create([space])
            bound = self._web if node.os is OPENBSD else ()
            namespaces.ip(["link set lo up", *own_interface(node, bound)], space)
        for node in (self.wired or self.plan).nodes:
            self._wire(node)
        for node in self.plan.nodes:
            self._start(node)
        return self

    def _wire(self, node: Node) -> None:
        for link in node.links:
            peer = (self.wired or self.plan).node(link.peer)
            if node.number < peer.number:
                (back,) = [each for each in peer.links if each.peer == node.id]
                ends = f"type veth peer name {back.interface} netns {self.space(peer.id)}"
                namespaces.ip([f"link add {link.interface} {ends}"], self.space(node.id))
                for each, end in ((node, link), (peer, back)):
                    namespaces.ip(tunnel_ends(each)[end.interface], self.space(each.id))

    def _start(self, node: Node) -> None:
        machine = self._machines[node.id]
        self.write(node.id, self.plan)
        machine.put(node_secrets(self.plan, node.id, {"vultr": "s3cret"}))
        word = "define IN_SERVICE = false;\ndefine DRAINING = false;\n"
        machine.put([File("/run/anycast-mesh/bird/announce.conf", word), serving()])
        (machine.folder / "upper/run/bird").mkdir(parents=True)
        command = ("bird", "-f", "-s", "/run/bird/bird.ctl")
        self._birds[node.id] = machine.start(*command, namespace=self.space(node.id))
        until(self.bird(node.id).answers, 20, "BIRD is up")

    def files(self, plan: Plan, node: str) -> tuple[File, ...]:
        """What a plan puts on a node's disk."""
        stand_ins = placeholder_facts(plan).items()
        facts = {each: replace(found, bird=self.version) for each, found in stand_ins}
        return node_files(on(self.system, plan, MIA), facts)[node].files

    def write(self, node: str, plan: Plan) -> None:
        """A plan's files on a node's disk."""
        root = Path(f"/proc/{self._birds[node].pid}/root") if node in self._birds else None
        for file in self.files(plan, node):
            if root is None:
                self._machines[node].put([file])
            elif file.path.startswith("/etc/bird/"):
                (root / file.path.lstrip("/")).write_text(file.content)

    def bend(self, node: str, path: str, old: str, new: str) -> None:
        """Somebody else's word in a configuration."""
        file = Path(f"/proc/{self._birds[node].pid}/root") / path.lstrip("/")
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))
        self.bird(node).configure()

    def bird(self, node: str) -> Bird:
        return bird_of(self._birds[node].pid)

    def __exit__(self, *_: object) -> None:
        for process in self._birds.values():
            process.kill()
            process.wait()
        for node in self.plan.nodes:
            namespaces.delete([self.space(node.id)])
        shutil.rmtree(self.folder, ignore_errors=True)

    def cut(self, one: str, other: str) -> None:
        """Nothing gets through the tunnel any more, and neither end is told."""
        for here, there in ((one, other), (other, one)):
            links = self.plan.node(here).links
            (interface,) = [link.interface for link in links if link.peer == there]
            drop = f'type filter hook postrouting priority 0; oifname "{interface}" drop;'
            self._nft(here, f"table inet cut-{there} {{\n chain out {{ {drop} }}\n}}\n")

    def heal(self, one: str, other: str) -> None:
        for here, there in ((one, other), (other, one)):
            self._nft(here, f"delete table inet cut-{there}\n")

    def _nft(self, node: str, rules: str) -> None:
        command = ["ip", "netns", "exec", self.space(node), "nft", "-f", "-"]
        subprocess.run(command, input=rules, text=True, check=True)

    def serve(self, verb: str, *nodes: str) -> None:
        """Has nodes bind the web service's addresses (``add``), or no longer (``del``); one on
        OpenBSD, which has them always, says so to BIRD alone."""
        for node in nodes:
            if self.plan.node(node).os is OPENBSD:
                file = serving(self._web if verb == "add" else ())
                root = Path(f"/proc/{self._birds[node].pid}/root")
                (root / file.path.lstrip("/")).write_text(file.content)
                self.bird(node).configure()
                continue
            for address in self._served:
                quiet = " nodad" if ":" in address and verb == "add" else ""
                line = f"address {verb} {address} dev dummy0{quiet}"
                namespaces.ip([line], self.space(node))

    def stop(self, node: str) -> None:
        """Kills a node's BIRD."""
        process = self._birds.pop(node)
        process.kill()
        process.wait()

    # --- What is seen ----------------------------------------------------------------------------

    def since(self, node: str, session: str) -> dict[str, float]:
        """When a session came up, as BIRD has it."""
        return since(self.bird(node).ask(f"show protocols {session}").text)

    def config(self, node: str) -> Config:
        """What the plan's files tell a node's agent, rendered once."""
        if node not in self._configs:
            files = self.files(self.plan, node)
            (text,) = [file.content for file in files if file.path.endswith("agent.json")]
            self._configs[node] = parse(Config, text.encode())
        return self._configs[node]

    def map(self, node: str) -> PlannedRouting:
        underlay = self.config(node).underlay
        assert underlay is not None
        return PlannedRouting(node, underlay)

    def way(self, node: str, target: str) -> tuple[str, ...] | None:
        """The way of one node's packets to another's tunnel address."""
        prefix = f"{self.plan.node(target).tunnel.ipv4}/32"
        asked = self.bird(node).ask(f"show route primary {prefix} table master4 all")
        known = self.map(node)
        return next((known.nodes_of(route.path) for route in parsed(asked) if route.path), None)

    def used(self, node: str, at: str) -> bool:
        """Whether both addresses of the web service lead to a node, by its tunnel addresses."""
        hops = [str(address) for address in self.plan.node(at).tunnel.both()]
        for version, prefix in enumerate(self._served):
            asked = f"show route primary {prefix} table master{(4, 6)[version]} all"
            found = list(parsed(self.bird(node).ask(asked)))
            if [route.next_hop for route in found] != [hops[version]]:
                return False
        return True

    def is_told_by(self, node: str, *mates: str) -> bool:
        """Whether just these have told a node of the web service, over sessions that are up."""
        bird = self.bird(node)
        up = {name for name, state in bird.sessions().items() if state == "Established"}
        wanted = {f"mate{version}_{mate.replace('-', '_')}" for mate in mates for version in (4, 6)}
        found: set[str] = set()
        for version, prefix in enumerate(self._served):
            asked = f"show route {prefix} table master{(4, 6)[version]} all"
            found |= {route.session for route in parsed(bird.ask(asked)) if route.session}
        return {name for name in found if name.startswith("mate")} == wanted and wanted <= up

    def accused(self) -> list[object]:
        """Whoever is accused of a lie at this moment, by any node."""
        found: list[object] = []
        for node in self._birds:
            with self.bird(node).asking() as ask:
                for version in (4, 6):
                    where = f"table master{version} where source = RTS_BGP all"
                    refused = parsed(ask(f"show route filtered {where}"))
                    found += violations(refused, self.map(node)).values()
        return found

    def odd(self) -> list[object]:
        """Ways around tunnels that are up, at this moment."""
        found: list[object] = []
        for node in self.plan.nodes:
            bird = self.bird(node.id)
            up = {name for name, state in bird.sessions().items() if state == "Established"}
            best = bird.ask("show route primary table master4 where source = RTS_BGP all")
            found += [
                w for w in transit_paths(parsed(best), self.map(node.id), up).values() if w.odd
            ]
        return found

    def watched(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        """Until it holds, with an eye on everybody all the while."""
        end = time.monotonic() + patience(seconds)
        while not holds():
            assert time.monotonic() < end, what
            assert self.accused() == []
            time.sleep(NAP)
        assert self.accused() == []


@contextlib.contextmanager
def mesh(
    folder: Path, values: dict[str, Any], version: str, system: OperatingSystem = DEBIAN
) -> Iterator[Mesh]:
    with Mesh(plan_of(values), folder, version, system=system) as made:
        yield made


SHARED = [run if run[1] is DEBIAN else pytest.param(run, marks=pytest.mark.slow) for run in RUNS]
"""test_two_systems has the most of it with packets, for OpenBSD."""


@pytest.fixture(scope="module", params=SHARED, ids=" ".join)
def full(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mesh]:
    with mesh(tmp_path_factory.mktemp("full"), prod(), *request.param) as made:
        yield made


@pytest.fixture(scope="module", params=BIRDS)
def hubs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mesh]:
    """Tunnels to the reflector only, which is in Los Angeles."""
    values = prod()
    values["tunnels"] = values.get("tunnels", {}) | {"fullMesh": 2}
    with mesh(tmp_path_factory.mktemp("hubs"), values, request.param) as made:
        yield made


def reports(made: Mesh) -> dict[str, Report]:
    """What the nodes' agents would say, after they have looked for half a minute."""
    found: dict[str, Report] = {}
    for node in made.plan.nodes:
        lookout = RoutingMonitor(made.bird(node.id), lambda: None)
        lookout.watch(made.config(node.id))
        for now in (0.0, 15.0, 30.0):
            lookout.look(now)
        health = Health(
            True,
            {},
            made.bird(node.id).sessions(),
            alarms=lookout.alarms,
            ways=lookout.ways,
        )
        key, digest = "A" * 43 + "=", "0" * 64
        found[node.id] = Report(node.id, 1, digest, key, "applied", "", 1, 1, digest, health)
    return found


def as_reported(
    made: Mesh, node: str, ways: tuple[tuple[str, ...], ...]
) -> dict[str, Report] | None:
    """What the agents would say, where these are a node's ways around."""
    found = reports(made)
    return found if found[node].health.ways == ways else None


def told_by(made: Mesh, nodes: tuple[str, ...]) -> NodeWarning | None:
    """The warning that just these nodes give cause for, where there is one and no other."""
    found = warnings(reports(made), 1, 0)
    return found[0] if [each.by for each in found] == [nodes] else None


def test_a_cut_tunnel_is_gone_around_by_the_nearest_way_and_nobody_is_accused(full: Mesh) -> None:
    pairs = [(a.id, b.id) for a in full.plan.nodes for b in full.plan.nodes if a != b]
    full.watched(
        lambda: all(full.way(a, b) == (b,) for a, b in pairs), 30, "everybody is reached directly"
    )
    full.watched(lambda: full.odd() == [], 10, "and nobody goes around")
    known = full.map(MIA)
    best = min((ORD, LAX), key=lambda via: known.cost((via, EWR)) or 0)
    full.cut(MIA, EWR)
    full.watched(lambda: full.way(MIA, EWR) == (best, EWR), 10, "around the cut tunnel")
    full.watched(lambda: full.way(EWR, MIA) == (best, MIA), 10, "and back")
    full.heal(MIA, EWR)
    full.watched(lambda: full.way(MIA, EWR) == (EWR,) and full.odd() == [], 20, "direct again")


def test_nodes_that_take_up_new_costs_one_after_the_other_accuse_nobody(full: Mesh) -> None:
    """Chicago has moved to the end of the world on the map of some of them."""
    full.watched(lambda: full.way(ORD, MIA) == (MIA,), 20, "all is well")
    values = prod()
    values["regions"]["ord"]["location"] = [-45.0, 170.0]
    moved = plan_of(values)
    try:
        for node in (MIA, ORD):
            full.write(node, moved)
            full.bird(node).configure()
            full.watched(
                lambda: all(full.way(a, b) for a, b in ((MIA, ORD), (ORD, MIA), (EWR, ORD))), 10,
                "everybody is reached",
            )  # fmt: skip
    finally:
        for node in (MIA, ORD):
            full.write(node, full.plan)
            full.bird(node).configure()
    full.watched(lambda: full.way(MIA, ORD) == (ORD,) and full.odd() == [], 10, "as it was")


def test_one_end_of_a_tunnel_may_have_other_bfd_timers(full: Mesh) -> None:
    """Both ends take the longer interval of the two (RFC 5880, section 6.8.2): a generation reaches
    them one after the other."""
    # On a busy machine BFD may end a session by itself meanwhile.
    until(partial(keeps_its_session, full), 20, "the session is the same one")


def keeps_its_session(full: Mesh) -> bool:
    """Whether Newark's session with Miami stands while Miami alone has other timers for a while."""
    full.watched(lambda: full.way(EWR, MIA) == (MIA,), 20, "all is well")
    values = prod()
    values["tunnels"]["bfd"] = {"interval": 400, "multiplier": 4}
    before = full.since(EWR, "u_mia_vultr_1")
    try:
        full.write(MIA, plan_of(values))
        full.bird(MIA).configure()
        until(lambda: "0.400" in full.bird(EWR).ask("show bfd sessions").text, 10, "they agree")
        full.watched(lambda: full.way(EWR, MIA) == (MIA,), 10, "and nothing has changed")
    finally:
        full.write(MIA, full.plan)
        full.bird(MIA).configure()
    until(lambda: "0.400" not in full.bird(EWR).ask("show bfd sessions").text, 10, "as before")
    return restarted(before, full.since(EWR, "u_mia_vultr_1")) == []


def test_through_a_hub_is_the_way_where_there_is_no_tunnel(hubs: Mesh) -> None:
    hubs.watched(lambda: hubs.way(MIA, EWR) == (LAX, EWR), 30, "through the hub")
    hubs.watched(lambda: hubs.way(ORD, MIA) == (LAX, MIA), 10, "and others")
    hubs.watched(lambda: hubs.odd() == [], 10, "which is nobody's fault")
    ways = ((LAX, EWR), (LAX, ORD))
    said = until(lambda: as_reported(hubs, MIA, ways), 10, f"Miami reports {ways}")
    assert warnings(said, 1, 0) == ()


def test_a_mate_that_vouches_for_a_cut_tunnel_attracts_packets_and_is_told_of(full: Mesh) -> None:
    """Newark says that its tunnel to Chicago is up, so that it gets what is for Chicago. No filter
    can know: the plan has that tunnel, and costs are the plan's."""
    full.watched(lambda: full.way(LAX, ORD) == (ORD,), 20, "all is well")
    full.cut(LAX, ORD)
    full.cut(EWR, ORD)
    try:
        full.watched(lambda: full.way(LAX, ORD) == (MIA, ORD), 10, "an honest way around")
        full.watched(lambda: full.way(ORD, EWR) == (MIA, EWR), 10, "and another")
        until(lambda: warnings(reports(full), 1, 0) == (), 10, "an ordinary failure is no warning")
        lie = f"""
            filter underlay_out4 {{
                if source = RTS_STATIC && net = {full.plan.node(ORD).tunnel.ipv4}/32 then {{
                    bgp_path.prepend({full.plan.node(ORD).underlay_asn});
                    accept;
                }}
        """
        route = f"route {full.plan.node(ORD).tunnel.ipv4}/32 blackhole;"
        forged = f"protocol static forged {{ ipv4; {route} }}\n"
        full.bend(EWR, "/etc/bird/bird.conf", "filter underlay_out4 {", forged + lie)
        full.watched(lambda: full.way(LAX, ORD) == (EWR, ORD), 10, "it attracts what it may")
        # For a moment BFD may end a session on a busy machine.
        warned = until(lambda: told_by(full, (LAX,)), 10, "Los Angeles alone is told")
        assert (warned.mate, warned.kind) == (EWR, "vouched")
    finally:
        full.heal(LAX, ORD)
        full.heal(EWR, ORD)
        full.write(EWR, full.plan)
    full.watched(lambda: full.way(LAX, ORD) == (ORD,), 20, "where our tunnel is up it is nearer")
    full.bird(EWR).configure()


def test_who_does_not_tell_his_own_address_is_accused_and_not_who_hands_it_on(full: Mesh) -> None:
    """Chicago keeps its session with Los Angeles, and is silent on it: others hand on honestly."""
    full.watched(lambda: full.way(LAX, ORD) == (ORD,) and full.odd() == [], 20, "all is well")
    silent = "protocol bgp u_lax_vultr_1 from underlay {"
    full.bend(ORD, "/etc/bird/bird.conf", silent, f"{silent}\n\tipv4 {{ export none; }};")
    try:
        full.watched(lambda: full.way(LAX, ORD) == (EWR, ORD), 10, "around it")
        # For a moment another family may not be there yet, or others go around as well.
        warned = until(lambda: told_by(full, (LAX,)), 10, "Los Angeles alone is told")
        assert (warned.mate, warned.kind) == (ORD, "detour")
        assert f"{ORD} does not announce its own address to {LAX}" in warned.text
        assert f"{ORD} or {LAX} is broken" in warned.text
    finally:
        full.write(ORD, full.plan)
        full.bird(ORD).configure()
    full.watched(lambda: full.way(LAX, ORD) == (ORD,) and full.odd() == [], 20, "direct again")


def test_the_nearest_instance_of_a_service_is_the_one_whose_node_is_nearest(full: Mesh) -> None:
    """Through the reflector, which hears from its clients what they serve themselves."""
    full.serve("add", MIA, LAX)
    full.watched(
        lambda: full.used(EWR, MIA) and full.used(ORD, MIA), 10, "Miami is nearest to both"
    )
    full.cut(MIA, EWR)
    full.watched(lambda: full.way(EWR, MIA) == (ORD, MIA), 10, "and is so around a cut tunnel")
    full.watched(lambda: full.used(EWR, MIA), 10, "and is used")
    full.heal(MIA, EWR)
    full.serve("del", MIA)
    full.watched(lambda: full.used(EWR, LAX) and full.used(ORD, LAX), 10, "then Los Angeles is")
    full.serve("del", LAX)


def test_a_network_that_outgrows_direct_sessions_knows_its_services_as_before(
    full: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seventeenth node takes them all away, in one generation. (10 ms probes of both families
    lost none of it, at once and one node after the other.)"""
    monkeypatch.setattr("mesh.plan.sessions.MOST_DIRECT", 3)
    larger = make(load("prod", prod(), ROOT).spec)  # plan_of() may have it from before
    assert not any(node.direct for node in larger.nodes)
    full.serve("add", MIA)
    try:
        for node in (EWR, ORD):
            # What the reflector says is there beside it, and takes its place at once.
            full.watched(partial(full.is_told_by, node, MIA, LAX), 20, "it is known twice")
        for node in (EWR, MIA, ORD, LAX):
            full.write(node, larger)
            full.bird(node).configure()
        for node in (EWR, ORD):
            full.watched(partial(full.is_told_by, node, LAX), 20, "by the reflector alone")
            full.watched(partial(full.used, node, MIA), 10, "and used")
    finally:
        for node in (EWR, MIA, ORD, LAX):
            full.write(node, full.plan)
            full.bird(node).configure()
        full.serve("del", MIA)
    for node in (EWR, ORD):
        full.watched(partial(full.is_told_by, node), 20, "it is gone")


def test_while_the_only_reflector_is_away_services_move_between_the_others(full: Mesh) -> None:
    """What a node serves itself it tells each other one; it is the last test of this mesh."""
    full.serve("add", MIA)
    full.watched(lambda: full.used(EWR, MIA) and full.used(ORD, MIA), 10, "served in Miami")
    full.stop(LAX)
    full.watched(lambda: full.way(EWR, LAX) is None, 10, "nobody reaches the reflector")
    full.serve("add", ORD)
    full.serve("del", MIA)
    full.watched(lambda: full.used(EWR, ORD) and full.used(MIA, ORD), 5, "moved to Chicago")
    full.serve("del", ORD)
    full.watched(lambda: not full.used(EWR, ORD), 5, "and nowhere now")
