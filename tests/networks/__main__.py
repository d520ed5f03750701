"""Prints the networks as a table (Markdown), with what is announced by whom, and the verdicts.

python -m tests.networks > networks.md
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from mesh.spec import SpecError
from tests.kit.machine import BIRDS
from tests.networks.table import (
    NETWORKS,
    Network,
    announced,
    machine,
    refused_by_bird,
    refused_by_nftables,
)


def main() -> int:
    """1 where some network is refused."""
    heads = ["network", "what its operator wants", "nodes", "announced", "check"]
    heads += [*(f"BIRD {bird}" for bird in BIRDS), "nftables"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    verdicts = [_row(network) for network in NETWORKS]
    return min(verdicts.count(False), 1)


def _row(network: Network) -> bool:
    """Prints a network's row; whether all is well with it."""
    try:
        network.problems()
    except SpecError as error:
        print(f"| {network.name} | {network.wish} | | | {error.problems[0]} |")
        return False
    found = announced(network.plan)
    verdicts = ["ok" if dict(found) == dict(network.announces) else "announces something else"]
    with tempfile.TemporaryDirectory() as folder:
        for bird in BIRDS:
            at = machine(Path(folder) / bird, (network,), bird)
            verdicts.append(refused_by_bird(at) or "ok")
        verdicts.append(refused_by_nftables(at) or "ok")
    heard = "<br>".join(f"{prefix} by {', '.join(nodes)}" for prefix, nodes in found.items())
    ids = "<br>".join(node.id for node in network.plan.nodes)
    print(f"| {' | '.join([network.name, network.wish, ids, heard, *verdicts])} |", flush=True)
    return set(verdicts) == {"ok"}


if __name__ == "__main__":
    sys.exit(main())
