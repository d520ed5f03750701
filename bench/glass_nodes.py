"""Looking glasses of nodes, each a process of the bundle in a network namespace, with the files
that the plan and an agent give them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from bench.glass_clients import Asked, Client, asked
from mesh import netns
from mesh.agent import bundle
from mesh.glass import network
from mesh.glass.network import Network, Node
from mesh.glass.snapshot import Channel, Generation, Session, Snapshot, Tunnel, Versions
from mesh.render import File
from mesh.trust.documents import Health, Repairs
from tests.kit.wait import until

SERVE = (
    "import sys; from pathlib import Path; from mesh.glass.serve import serve; "
    "serve(*map(Path, sys.argv[1:]))"
)
AGENT = "/etc/anycast-mesh/agent.json"
FILES = ("glass.json", "agent.json", "snapshot.json")
MYSELF = Client("bench", "127.0.0.1", 1, ())


@dataclass(frozen=True)
class Place:
    """A node's glass before it runs: its view of the plan, its network namespace, the folder of its
    files, and BIRD's restricted socket, which is not there where no BIRD runs."""

    plan: Network
    node: Node
    space: str
    folder: Path
    control: Path = Path("/nowhere/bird.ctl")

    def ask(self, path: str) -> Asked:
        """One question at the node itself."""
        return netns.inside(self.space, partial(asked, MYSELF, self.plan.port, path))

    def is_well(self) -> None:
        """Writes the snapshot of this moment, as an agent does every two seconds."""
        beside = self.folder / "snapshot.new"
        beside.write_bytes(TypeAdapter(Snapshot).dump_json(_well(self.plan, self.node)))
        beside.replace(self.folder / "snapshot.json")


@dataclass(frozen=True)
class Glass:
    """A glass that runs; ``started`` are the seconds until its first answer."""

    place: Place
    pid: int
    started: float

    def resident(self) -> float:
        """Its resident memory in MiB."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) / 1024


def packed(folder: Path) -> Path:
    """The bundle of this checkout, as nodes have it."""
    path = folder / "bundle.pyz"
    path.write_bytes(bundle.build())
    return path


def network_of(files: Sequence[File]) -> Network:
    """What the plan tells every glass, from the files of a node."""
    (text,) = (file.content for file in files if file.path == network.PATH)
    return TypeAdapter(Network).validate_json(text)


def laid(folder: Path, files: Sequence[File]) -> Path:
    """The folder of a node's glass, with those of its files that a glass reads."""
    folder.mkdir(parents=True)
    for file in files:
        if file.path in (network.PATH, AGENT):
            (folder / Path(file.path).name).write_text(file.content)
    return folder


@contextmanager
def running(program: Path, *places: Place) -> Iterator[list[Glass]]:
    """The glasses of nodes, begun at the same time, once all of them answer."""
    with ExitStack() as ended:
        begun = [(place, time.perf_counter(), _begun(program, place)) for place in places]
        for _, _, process in begun:
            ended.callback(_end, process)
        glasses = []
        for place, began, process in begun:
            until(partial(_answers, place, process), 10, f"{place.node.id} answers", nap=0.01)
            glasses.append(Glass(place, process.pid, time.perf_counter() - began))
        yield glasses


def _begun(program: Path, place: Place) -> subprocess.Popen[bytes]:
    place.is_well()
    with (place.folder / "log").open("w") as log:
        return subprocess.Popen(
            [*netns.entering(place.space), "env", f"PYTHONPATH={program}", sys.executable,
             "-c", SERVE, *(str(place.folder / name) for name in FILES), str(place.control)],
            cwd="/", stdout=log, stderr=log,
        )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _answers(place: Place, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the glass ended: {(place.folder / 'log').read_text()[-2000:]}")
    return place.ask("/health").status == 200


def _well(plan: Network, node: Node) -> Snapshot:
    """A node in service, with nothing wrong."""
    now = time.time()
    sessions = _sessions(plan, node)
    return Snapshot(
        node=node.id,
        at=now,
        agent_started=now - 86400,
        bird_started=now - 86400,
        versions=Versions("2.17.6", "ab" * 32, "6.12.57"),
        generation=Generation(7, 7, "applied"),
        health=Health(
            in_service=True,
            services=dict.fromkeys(node.services, True),
            sessions={each.name: each.state for each in sessions},
            repairs=Repairs(0),
        ),
        sessions=sessions,
        tunnels=tuple(
            Tunnel(f"wg-{peer}"[:15], peer, now - 30, 10**9, 10**9) for peer in _peers(plan, node)
        ),
        prefixes={str(each.prefix): node.id in each.nodes for each in plan.aggregates},
    )


def _sessions(plan: Network, node: Node) -> tuple[Session, ...]:
    """Those of the underlay and of upstreams."""
    up, since = "Established", time.time() - 3600
    few, many = Channel(10, 10, 0, 10), Channel(1_000_000, 999_000, 1000, 2, 1_500_000)
    tunnels = tuple(
        Session(f"u_{peer}", "tunnel", peer, plan.by_id[peer].asn, up, since, "", True,
                {"ipv4": few, "ipv6": few})
        for peer in _peers(plan, node)
    )  # fmt: skip
    upstreams = tuple(
        Session(each.name, "upstream", each.label or node.provider, each.asn, up, since, "", None,
                {each.family: many})
        for each in node.upstreams
    )  # fmt: skip
    return tunnels + upstreams


def _peers(plan: Network, node: Node) -> list[str]:
    ends = [link.ends for link in plan.links if node.id in link.ends]
    return [one if other == node.id else other for one, other in ends]
