"""Plan and render of a thousand nodes: time, peak memory, and what a registry is sent."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import islice
from pathlib import Path
from typing import Any

from mesh.capacity import MIB
from mesh.plan import make
from mesh.publish.size import at_most
from mesh.registry import paths
from mesh.render import node_files, placeholder_facts
from mesh.render.templates import environment
from mesh.spec import load

PER_REGION = 5


def fleet(count: int) -> dict[str, Any]:
    """The keys of a stack of ``count`` nodes, five to a region, in ranges large enough for them."""
    blocks = islice(IPv4Network("44.0.0.0/16").subnets(new_prefix=29), -(-count // PER_REGION))
    regions, nodes = {}, {}
    for index, block in enumerate(blocks):
        region = f"r{index}"
        hosts = list(islice(block.hosts(), PER_REGION))
        regions[region] = {
            "name": f"Region {index}",
            "block": str(block),
            "location": [-60 + index % 120, -180 + (index * 7) % 360],
            "at": {"vultr": "lax"},
            "slots": {f"vultr-{n}": str(host) for n, host in enumerate(hosts, start=1)},
        }
        for n in range(1, PER_REGION + 1):
            number = index * PER_REGION + n
            if number <= count:
                nodes[f"{region}-vultr-{n}"] = {"number": number}
    return {
        "asn": 27218,
        "prefixes": {"ipv4": "44.0.0.0/16", "ipv6": "2620:71:4000::/48"},
        "tunnels": {"ipv4": "10.0.0.0/16", "ipv6": "fd00:10:10::/48"},
        "admin": {"ssh": ["207.231.1.46/32"]},
        "regions": regions,
        "nodes": nodes,
        "reflectors": ["r0-vultr-1", "r1-vultr-1"],
        "registries": ["r0-vultr-1"],
        "services": {
            "web": {
                "addresses": {"ipv4": "44.0.255.100", "ipv6": "2620:71:4000::ffff"},
                "ports": {"tcp": [80, 443]},
                "checks": [{"kind": "http", "port": 80, "path": "/whoami"}],
            }
        },
    }


def figures(count: int = 1000) -> Iterator[tuple[str, float, str]]:
    """Name, value and unit of each figure."""
    started = time.perf_counter()
    spec = load("bench", fleet(count), Path()).spec
    loaded = time.perf_counter()
    plan = make(spec)
    planned = time.perf_counter()
    files = node_files(plan, placeholder_facts(plan))
    number = sum(len(each.files) for each in files.values())
    rendered = time.perf_counter()
    environment.cache_clear()  # so that templates are compiled anew, as for a command of its own
    again = time.perf_counter()
    node_files(plan, placeholder_facts(plan))[plan.nodes[-1].id]
    single = time.perf_counter()
    yield f"{count} nodes: load and check", loaded - started, "s"
    yield f"{count} nodes: plan", planned - loaded, "s"
    yield f"{count} nodes: render", rendered - planned, "s"
    yield f"{count} nodes: plan and render", rendered - loaded, "s"
    yield f"{count} nodes: render one of them", single - again, "s"
    yield f"{count} nodes: files", number, "files"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield f"{count} nodes: peak memory", peak, "MB"
    size = at_most(plan, paths.MAX_GENERATION) / MIB
    yield f"{count} nodes: their generation on its way", size, "MiB"


if __name__ == "__main__":
    for name, value, unit in figures():
        print(f"{name:40} {value:10.2f} {unit}")
