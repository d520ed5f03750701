"""One node that fetches a content, as a process of its own: what its agent costs.

The order comes as JSON on standard input, the answer on standard output.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from mesh.agent.apply import Applier
from mesh.agent.contents import Contents
from mesh.agent.host import Host
from mesh.agent.state import State, verified
from mesh.agent.systems import debian
from mesh.bird.client import Bird
from mesh.trust.documents import Part
from mesh.trust.encoding import parse
from mesh.trust.requests import Signer
from mesh.trust.signing import Signed


def main() -> None:
    """Fetches, and says how long that took, what it needed, and what came."""
    given = json.load(sys.stdin)
    host = Host(Path(given["folder"]), ("true",))
    host.path("/etc").mkdir(parents=True)
    state = State(host, given["operator"], lambda _: True)
    known = verified(given["operator"], parse(Signed, given["manifest"]))
    state.accept(known)
    system = debian.system(host, Bird(Path("/nowhere")))
    applier = Applier(system, lambda: True)
    contents = Contents(
        host, system.units, system.bird, Signer("node", given["node"], given["identity"]), state,
        applier, lambda: [given["url"]], lambda: False, lambda: None,
    )  # fmt: skip
    before = _peak()
    began = time.perf_counter()
    contents.prepare(known, parse(Part, given["part"]))
    seconds = time.perf_counter() - began
    unpacked = sorted(each.name for each in host.path(given["unpacked"]).iterdir())
    print(json.dumps([seconds, before, _peak(), unpacked]))


def _peak() -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
