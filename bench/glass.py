"""The looking glass beside BIRD with a full table, and beside the glasses of other nodes.

Eight clients ask the glass of a node, each from an address of its own and as often as the glass
allows: first all of them look up addresses, then one of them asks for more-specifics and one for
refused routes, which BIRD goes over its tables for. Meanwhile BIRD is asked for its status, and has
a BFD session with another BIRD. The page of all nodes is asked where every node answers, and where
one of sixteen is dead.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from ipaddress import ip_network
from pathlib import Path

from bench import internet
from bench.glass_clients import AT_MOST, Asked, Client
from bench.glass_nodes import Glass, Place, laid, network_of, packed, running
from bench.table import Running
from bench.thousand import fleet
from mesh import netns
from mesh.bird.client import BirdError
from mesh.lab import namespaces
from mesh.plan import Plan
from mesh.render import File, node_files, placeholder_facts
from tests.kit import bird
from tests.kit.edge.uplink import GATEWAYS, Edge, edge
from tests.kit.machine import Debian
from tests.kit.namespaces import settle, spaces
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import until

NODE = "lax-vultr-1"
HERE = f"node={NODE}&here=1"
SMALL, FULL = {4: 160_000, 6: 40_000}, {4: 1_000_000, 6: 200_000}
SECONDS, QUIET = 10.0, 3.0
"""For how long each eight clients ask, and BIRD alone before them."""
RATE = 5.0
"""Questions of a client in a second, nearly: what a glass answers one address."""
PAGES, SLOW_PAGES = 15, 3
Figures = Iterator[tuple[str, float, str]]

CONTROL = "/run/bird/glass.ctl"
SOCKET = f'cli "{CONTROL}" {{ restrict }};\n'
BFD = f"""
	interface "enp1s0" {{ interval 150 ms; multiplier 3; }};
	neighbor {GATEWAYS["ipv4"]} dev "enp1s0";
"""
BESIDE = f"""
log "/run/bird.log" all;
router id {GATEWAYS["ipv4"]};
protocol device {{}}
protocol bfd {{
	debug {{ events }};
	interface "uplink" {{ interval 150 ms; multiplier 3; }};
	neighbor %s dev "uplink" local {GATEWAYS["ipv4"]};
}}
"""


def figures() -> Figures:
    """With a fifth of a full table."""
    yield from _table(SMALL)
    yield from _pages()


def full() -> Figures:
    """With a full table: about a million IPv4 and 200,000 IPv6 routes."""
    yield from _table(FULL)
    yield from _pages()


# --- Beside BIRD ------------------------------------------------------------------------------


def _table(counts: dict[int, int]) -> Figures:
    name = f"glass, {sum(counts.values())} routes"
    with tempfile.TemporaryDirectory() as scratch, _loaded(counts) as made, _far(made) as far:
        folder = Path(scratch)
        files = node_files(made.plan, placeholder_facts(made.plan))[NODE].files
        with running(packed(folder), _place(made, folder, files)) as (glass,):
            yield "glass: first answer after its start", glass.started, "s"
            yield "glass: memory at rest", glass.resident(), "MiB"
            yield from _scrape(glass)
            yield from _waits(f"{name}, nobody asks: show status", _status(made, QUIET))
            looking, walking = _looking(counts), _walking()
            yield from _asked(f"{name}, eight look up", made, glass, looking)
            two = [*looking[: -len(walking)], *walking]
            yield from _asked(f"{name}, six look up, two walk", made, glass, two)
            yield f"{name}: memory after that", glass.resident(), "MiB"
        yield f"{name}: BFD flaps", far.flaps(), "flaps"


@contextmanager
def _loaded(counts: dict[int, int]) -> Iterator[Edge]:
    """An edge that has a table, with a restricted socket and a BFD session."""
    keys = prod() | {"routing": {"import": "full"}}
    updates = {version: internet.updates(version, count) for version, count in counts.items()}
    with edge(keys, NODE, bend=_bent) as made, ExitStack() as open_:
        for version, messages in updates.items():
            speaker = made.upstream(f"ipv{version}")
            open_.callback(speaker.close)
            speaker.send(*messages)
        Running(made.pid).judged(counts)
        yield made


def _bent(text: str) -> str:
    begun = "protocol bfd {\n"
    return SOCKET + text.replace(begun, begun + BFD) if begun in text else text


def _place(made: Edge, folder: Path, files: Sequence[File]) -> Place:
    plan = network_of(files)
    control = Path(f"/proc/{made.pid}/root{CONTROL}")
    return Place(plan, plan.by_id[NODE], made.space, laid(folder / NODE, files), control)


@dataclass(frozen=True)
class Far:
    """The BIRD at the other end of the BFD session."""

    pid: int

    def is_up(self) -> bool:
        """Whether the session is."""
        return " Up " in Running(self.pid).ask("show bfd sessions")

    def flaps(self) -> int:
        """How often the session has gone down."""
        log = Path(f"/proc/{self.pid}/root/run/bird.log").read_text()
        return log.count("changed state from Up to ")


@contextmanager
def _far(made: Edge) -> Iterator[Far]:
    with tempfile.TemporaryDirectory() as scratch:
        machine = Debian(Path(scratch))
        machine.put([File("/etc/bird/bird.conf", BESIDE % made.addresses["ipv4"])])
        with bird.running(machine, made.world) as pid:
            far = Far(pid)
            until(far.is_up, 10, "the BFD session is up")
            yield far


def _status(made: Edge, seconds: float) -> list[float]:
    """Milliseconds that BIRD takes for an answer, asked fifty times a second."""
    waits: list[float] = []
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        try:
            made.bird.ask("show status", AT_MOST)
        except BirdError:
            waits.append(AT_MOST * 1000)
        else:
            waits.append((time.monotonic() - began) * 1000)
        time.sleep(max(0.0, began + 0.02 - time.monotonic()))
    return waits


def _asked(name: str, made: Edge, glass: Glass, clients: Sequence[Client]) -> Figures:
    """What clients wait that ask at the same time, and what BIRD's other users wait then."""
    order = {
        "port": glass.place.plan.port,
        "seconds": SECONDS,
        "clients": [asdict(each) for each in clients],
    }
    process = subprocess.Popen(
        [*netns.entering(made.space), sys.executable, "-m", "bench.glass_clients"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    with process:
        process.stdin.write(json.dumps(order))
        process.stdin.close()
        waits = _status(made, SECONDS)
        answers = [Asked(**each) for each in json.load(process.stdout)]
    yield from _waits(f"{name}: show status", waits)
    for kind in dict.fromkeys(answer.kind for answer in answers):
        good = [each.ms for each in answers if each.kind == kind and each.status == 200]
        yield from _waits(f"{name}: {kind}", good)
    unanswered = sum(each.status != 200 for each in answers)
    yield f"{name}: without an answer", unanswered, f"of {len(answers)}"


def _looking(counts: dict[int, int]) -> list[Client]:
    """Eight that look up addresses of the table, each another one every time."""
    chance = random.Random(8)  # noqa: S311  # a load, no secret
    prefixes = [
        ip_network(prefix)
        for version, count in counts.items()
        for group in internet.groups(version, count // 20)
        for prefix in group.prefixes
    ]
    clients = []
    for number in range(8):
        chosen = chance.sample(prefixes, round(SECONDS * RATE))
        paths = [f"/api/v1/route?for={each[1]}&{HERE}" for each in chosen]
        clients.append(Client("look-up", f"127.0.0.{10 + number}", RATE, paths))
    return clients


def _walking() -> list[Client]:
    """One that asks for more-specifics, of another prefix every time, and one for refused
    routes."""
    paths = [f"/api/v1/route?for={first}.0.0.0/10&more=1&{HERE}" for first in internet.FIRST]
    return [
        Client("more-specifics", "127.0.0.20", RATE, paths),
        Client("refused routes", "127.0.0.21", RATE, [f"/api/v1/refused?{HERE}"]),
    ]


def _scrape(glass: Glass) -> Figures:
    """What a scrape of this node's metrics takes."""
    answers = [glass.place.ask("/metrics") for _ in range(PAGES)]
    _all_good(answers)
    yield "glass: a scrape, median", statistics.median(each.ms for each in answers), "ms"
    yield "glass: a scrape", answers[-1].size / 1024, "KiB"


def _waits(name: str, waits: Sequence[float]) -> Figures:
    """The median and the 99th percentile."""
    if len(waits) > 1:
        yield f"{name}, median", statistics.median(waits), "ms"
        yield f"{name}, p99", statistics.quantiles(waits, n=100, method="inclusive")[98], "ms"


def _all_good(answers: Sequence[Asked]) -> None:
    bad = {answer.status for answer in answers} - {200}
    if bad:
        raise RuntimeError(f"the glass answers with {bad}")


# --- Beside the glasses of other nodes --------------------------------------------------------


def _pages() -> Figures:
    with _glasses(plan_of(prod())) as site:
        yield "glass: page of 4 nodes, median", _page(site, PAGES), "ms"
    with _glasses(plan_of(fleet(16))) as site:
        yield "glass: page of 16 nodes, median", _page(site, SLOW_PAGES), "ms"
        site.cut_last()
        yield "glass: page of 16 nodes, one dead, median", _page(site, SLOW_PAGES), "ms"


@dataclass(frozen=True)
class Site:
    """The glasses of all nodes, whose tunnel addresses are at one switch."""

    switch: str
    glasses: Sequence[Glass]

    def cut_last(self) -> None:
        """Nobody reaches the last node from here on, and it refuses nothing."""
        namespaces.ip([f"link set {_port(len(self.glasses) - 1)} down"], self.switch)


def _page(site: Site, times: int) -> float:
    """Milliseconds for the page of all nodes, at the first one."""
    answers = [site.glasses[0].place.ask("/") for _ in range(times)]
    _all_good(answers)
    return statistics.median(each.ms for each in answers)


@contextmanager
def _glasses(plan: Plan) -> Iterator[Site]:
    files = {name: each.files for name, each in node_files(plan, placeholder_facts(plan)).items()}
    known = network_of(files[plan.nodes[0].id])
    ids = [node.id for node in known.nodes]
    with (
        tempfile.TemporaryDirectory() as scratch,
        spaces("glass", "switch", *ids) as (switch, *names),
    ):
        namespaces.ip(["link add br0 type bridge", "link set br0 up"], switch)
        places = []
        for number, (node, name) in enumerate(zip(known.nodes, names, strict=True)):
            _wire(switch, _port(number), name)
            others = [str(a) for each in known.nodes if each != node for a in each.tunnel]
            settle(name, "eth0", map(str, node.tunnel), others)
            places.append(Place(known, node, name, laid(Path(scratch) / node.id, files[node.id])))
        with running(packed(Path(scratch)), *places) as glasses:
            yield Site(switch, glasses)


def _port(number: int) -> str:
    return f"p{number}"


def _wire(switch: str, port: str, space: str) -> None:
    """A link named ``eth0`` from a namespace to a port of the switch."""
    lines = [f"link add {port} type veth peer name eth0 netns {space}",
             f"link set {port} master br0 up"]  # fmt: skip
    namespaces.ip(lines, switch)


if __name__ == "__main__":
    for figure, value, unit in full():
        print(f"{figure:70} {value:10.2f} {unit}")
