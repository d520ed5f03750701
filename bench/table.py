"""A full table through the import policy, against BIRD that takes everything, in one run.

The same rendered configuration twice, the second with ``import all`` in place of the policy; each
BIRD gets the same bytes over one session per family. Time is from the first byte until BIRD has
judged the last route; CPU is BIRD's own.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import internet
from tests.kit.edge.uplink import edge
from tests.kit.machine import bird_of
from tests.kit.stacks import prod
from tests.kit.wait import until

NODE = "lax-vultr-1"
COUNTS = {4: 1_000_000, 6: 200_000}
TURNS = 3
LONGEST = 100.0  # seconds
POLICY = re.compile(r"\t\timport keep filtered on;[^\n]*\n\t\timport filter \{.*?\n\t\t\};\n", re.S)
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a table cost: seconds by the clock and of CPU, and MiB of memory."""

    seconds: float
    cpu: float
    memory: float


def figures() -> Iterator[tuple[str, float, str]]:
    """Name, value and unit of each figure."""
    updates = {version: internet.updates(version, count) for version, count in COUNTS.items()}
    keys = prod() | {"routing": {"import": "full"}}
    costs: dict[bool, list[Cost]] = {False: [], True: []}
    for _ in range(TURNS):
        for policy, found in costs.items():
            found.append(_cost(keys, updates, policy))
    for what, unit in (("seconds", "s"), ("cpu", "s"), ("memory", "MiB")):
        bare, judged = (statistics.median(getattr(c, what) for c in costs[p]) for p in costs)
        name = f"full table (1M IPv4, 200k IPv6), {what}"
        yield f"{name}: import all", bare, unit
        yield f"{name}: import policy", judged, unit
        yield f"{name}: policy over all", judged / bare, "x"


def _cost(keys: dict[str, Any], updates: Mapping[int, list[bytes]], policy: bool) -> Cost:
    def bend(text: str) -> str:
        return text if policy else POLICY.sub("\t\timport all;\n", text)

    with edge(keys, NODE, bend=bend) as made:
        bird = Running(made.pid)
        speakers = {version: made.upstream(f"ipv{version}") for version in updates}
        began, cpu = time.perf_counter(), bird.cpu()
        for version, messages in updates.items():
            speakers[version].send(*messages)
        bird.judged(COUNTS)
        cost = Cost(time.perf_counter() - began, bird.cpu() - cpu, made.resident())
        for speaker in speakers.values():
            speaker.close()
    return cost


@dataclass(frozen=True)
class Running:
    """A BIRD that runs, by its process."""

    pid: int

    def ask(self, command: str) -> str:
        """BIRD's answer."""
        return bird_of(self.pid).ask(command, 30).text

    def judged(self, count: Mapping[int, int]) -> None:
        """Waits until so many routes of each family have been received."""

        def are_received() -> bool:
            return all(self._received(f"vultr{v}") >= n for v, n in count.items())

        until(are_received, LONGEST, f"{count} routes are received", nap=0.1)

    def _received(self, session: str) -> int:
        found = re.search(r"Import updates:\s+(\d+)", self.ask(f"show protocols all {session}"))
        return int(found[1]) if found else 0

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
