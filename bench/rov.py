"""Origin validation: half a million VRPs over RTR, and a full table validated by them.

The rendered configuration of an edge with a validator and without one, in turns in one run. Time
for VRPs is from BIRD's start until all are in its tables; time for routes is from the first byte
until BIRD has filtered the last one; with a validator the session also keeps received routes
(``import table``). ``judged again`` is from one more VRP at the validator until a route of the full
table has another result.
"""

from __future__ import annotations

import random
import re
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from bench import internet
from bench.table import Running
from tests.kit.bgp.attributes import Route
from tests.kit.bgp.speaker import Speaker
from tests.kit.edge.uplink import Edge, edge
from tests.kit.rtr import ANNOUNCE, Server, Vrp, prefix_pdu
from tests.kit.stacks import prod
from tests.kit.wait import until

NODE, VALIDATOR = "lax-vultr-1", "198.51.100.1"
VRPS, ROUTES = 500_000, 200_000
COVERED = 0.5
"""Of routes; the share of the world's in 2025. Some in a hundred of all are Invalid."""
TURNS = 3
LONGEST, NAP = 50.0, 0.02  # seconds
MARK = "203.1.0.0/24"  # in no block that routes are drawn from


@dataclass(frozen=True)
class Cost:
    """What one turn took: seconds until VRPs were loaded, seconds and CPU seconds for routes,
    memory in MiB before and after them, seconds until one more VRP counted."""

    loaded: float
    seconds: float
    cpu: float
    empty: float
    full: float
    again: float


def figures() -> Iterator[tuple[str, float, str]]:
    """Name, value and unit of each figure."""
    groups = list(internet.groups(4, ROUTES))
    updates = internet.updates(4, ROUTES)
    data = vrps(groups)
    bare = prod() | {"routing": {"import": "full"}}
    judged = bare | {"rpki": {"servers": [f"rtr://{VALIDATOR}:3323"]}}
    costs: dict[bool, list[Cost]] = {False: [], True: []}
    for _ in range(TURNS):
        costs[False].append(_cost(bare, updates, None))
        costs[True].append(_cost(judged, updates, data))

    def median(what: str, with_rov: bool) -> float:
        return float(statistics.median(getattr(cost, what) for cost in costs[with_rov]))

    yield f"{VRPS} VRPs: until loaded", median("loaded", True), "s"
    memory = median("empty", True) - median("empty", False)
    yield f"{VRPS} VRPs: memory", memory, "MiB"
    for what, unit in (("seconds", "s"), ("cpu", "s"), ("full", "MiB")):
        name = f"{ROUTES} routes, {'memory with all' if what == 'full' else what}"
        without, with_rov = median(what, False), median(what, True)
        yield f"{name}: no ROV", without, unit
        yield f"{name}: ROV", with_rov, unit
        yield f"{name}: ROV over none", with_rov / without, "x"
    yield f"{ROUTES} routes: judged again after one more VRP", median("again", True), "s"


def vrps(groups: list[internet.Group]) -> bytes:
    """Half a million of them as PDUs of version 2: for half of the routes their own, and as many
    others of both families as it takes."""
    chance = random.Random(27218)  # noqa: S311  # a table, no secret
    pdus: dict[tuple[str, int], bytes] = {}

    def add(prefix: str, asn: int) -> None:
        network = ip_network(prefix)
        pdus[prefix, asn] = prefix_pdu(2, ANNOUNCE, network, network.prefixlen, asn)

    for group in groups:
        for prefix in group.prefixes:
            if chance.random() < COVERED:
                path = group.like.path
                assert path is not None
                origin = path[-1]
                assert isinstance(origin, int)
                add(prefix, origin if chance.random() > 0.01 else 1)
    while len(pdus) < VRPS:
        if chance.random() < 0.25:
            add(f"2a{chance.randrange(256):02x}:{chance.randrange(65536):x}::/32", len(pdus))
        else:
            high, low = chance.randrange(101, 126), chance.getrandbits(16)
            add(f"{high}.{low >> 8}.{low & 255}.0/24", chance.randrange(200_000, 400_000))
    return b"".join(pdus.values())


def _cost(keys: dict[str, Any], updates: list[bytes], data: bytes | None) -> Cost:
    server = Server(VALIDATOR)
    server.raw = data or b""
    began = time.perf_counter()
    ready = server.come if data else lambda _: None
    with edge(keys, NODE, also=(VALIDATOR,), ready=ready) as made:
        bird = Running(made.pid)
        loaded = _loaded(made, began) if data else 0.0
        speaker = made.upstream("ipv4")
        empty = made.resident()
        began, cpu = time.perf_counter(), bird.cpu()
        speaker.send(*updates)
        bird.judged({4: ROUTES})
        seconds, cpu = time.perf_counter() - began, bird.cpu() - cpu
        full = made.resident()
        again = _again(made, speaker, server) if data else 0.0
        speaker.close()
    server.go()
    return Cost(loaded, seconds, cpu, empty, full, again)


def _loaded(made: Edge, began: float) -> float:
    """Seconds until all VRPs are in BIRD's tables."""
    until(
        lambda: "Established" in made.birdc("show protocols"), LONGEST, "its VRPs are in", nap=NAP
    )
    took = time.perf_counter() - began
    text = made.birdc("show route table roas4 count") + made.birdc("show route table roas6 count")
    found = sum(int(number) for number in re.findall(r"^(\d+) of", text, re.M))
    if found != VRPS:
        raise RuntimeError(f"BIRD has {found} VRPs of {VRPS}")
    return took


def _again(made: Edge, speaker: Speaker, server: Server) -> float:
    """Seconds from one more VRP until a route that it makes Invalid is refused."""
    speaker.announce(Route(MARK, (internet.PEER, 20473, 15169), internet.HOPS4))
    show = f"show route {MARK} table internet4"
    until(lambda: MARK in made.birdc(show), LONGEST, f"{MARK} is taken", nap=NAP)
    began = server.tell(Vrp(MARK, 1))
    until(lambda: MARK not in made.birdc(show), LONGEST, f"{MARK} is refused", nap=NAP)
    return time.monotonic() - began


if __name__ == "__main__":
    for name, value, unit in figures():
        print(f"{name:50} {value:10.2f} {unit}")
