"""Deploys networks as twins on this machine, one after the other, and prints a table (Markdown):
whether each client is answered at every address of each service, and how the network is.

python -m tests.networks.twins [NETWORK…]    # all of them without a name; root
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from zlib import crc32

import yaml

from tests.kit.stacks import ROOT
from tests.networks.table import NETWORKS, Network
from tests.twin.conftest import Twin, another, checkout_of

NAME = f"network-{crc32(str(ROOT).encode()):08x}"
ANSWERING = {"ports": {"tcp": [80]}, "checks": [{"kind": "http", "port": 80, "path": "/whoami"}]}
"""What a node of the lab serves, whatever the network's own services are."""
SETTLED = 60
"""Seconds until a network that was just deployed is well."""


def main(names: list[str]) -> int:
    """1 where some network is not as it should be."""
    chosen = [network for network in NETWORKS if not names or network.name in names]
    print("| network | nodes | deployed | every client is answered | who announces | is well |")
    print("|---|---|---|---|---|---|")
    return min([_row(network) for network in chosen].count(False), 1)


def _row(network: Network) -> bool:
    """Prints a network's row; whether all is as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        root = checkout_of(Path(folder), network.name, services=False)
        _write(root / "examples" / f"Pulumi.{network.name}.yaml", network)
        with another(NAME, root) as state:
            twin, began = Twin(state, root, NAME), time.monotonic()
            up = twin.mesh("lab", "up", check=False)
            took = f"{time.monotonic() - began:.0f} s"
            deployed, answered = "deployed in" in up.stdout, up.returncode == 0
            well = deployed and _is_well(twin)
            announced = deployed and _announced(twin) == dict(network.announces)
            if not (answered and announced and well):
                print(up.stdout, up.stderr, twin.mesh("status", check=False).stdout)
    cells = [network.name, str(len(network.plan.nodes)), took if deployed else "no"]
    cells += ["yes" if each else "no" for each in (answered, announced, well)]
    print(f"| {' | '.join(cells)} |", flush=True)
    return answered and announced and well


def _write(path: Path, network: Network) -> None:
    """The stack file, with services that answer in the lab."""
    document = yaml.safe_load(network.text)
    for service in document["config"].get("mesh:services", {}).values():
        service |= ANSWERING
    path.write_text(yaml.safe_dump(document))


def _announced(twin: Twin) -> dict[str, tuple[str, ...]]:
    """Who announces what by the nodes' own reports."""
    status = json.loads(twin.mesh("status", "--json", check=False).stdout)
    return {prefix: tuple(sorted(of["announcers"])) for prefix, of in status["prefixes"].items()}


def _is_well(twin: Twin) -> bool:
    end = time.monotonic() + SETTLED
    while twin.mesh("status", check=False).returncode:
        if time.monotonic() > end:
            return False
        time.sleep(1)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
