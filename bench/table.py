"""A full table through the import policy, against BIRD that takes everything, in one run.

The same rendered configuration twice, the second with ``import all`` in place of the policy; each
BIRD gets the same bytes over one session per family. Time is from the first byte until BIRD has
judged the last route; CPU is BIRD's own.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import internet
from mesh.facts import Facts
from mesh.plan import Plan
from mesh.render import File, node_files, node_secrets, placeholder_facts
from tests.debian import Debian
from tests.routing.bgp.speaker import Speaker
from tests.stacks import plan_of, prod

NODE, PASSWORD = "lax-vultr-1", "s3cret"
COUNTS = {4: 1_000_000, 6: 200_000}
TURNS = 3
DEADLINE = 600
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
    said = {version: internet.said(version, count) for version, count in COUNTS.items()}
    keys = prod() | {"routing": {"import": "full"}}
    costs: dict[bool, list[Cost]] = {False: [], True: []}
    for _ in range(TURNS):
        for policy, found in costs.items():
            found.append(_cost(keys, said, policy))
    for what, unit in (("seconds", "s"), ("cpu", "s"), ("memory", "MiB")):
        bare, judged = (statistics.median(getattr(c, what) for c in costs[p]) for p in costs)
        name = f"full table (1M IPv4, 200k IPv6), {what}"
        yield f"{name}: import all", bare, unit
        yield f"{name}: import policy", judged, unit
        yield f"{name}: policy over all", judged / bare, "x"


def _cost(keys: dict[str, Any], said: Mapping[int, list[bytes]], policy: bool) -> Cost:
    change = (lambda text: text) if policy else (lambda text: POLICY.sub("\t\timport all;\n", text))
    with edge(keys, change) as (bird, speakers):
        count = {version: COUNTS[version] for version in said}
        began, cpu = time.perf_counter(), bird.cpu()
        for version, messages in said.items():
            speakers[version].send(*messages)
        bird.judged(count)
        return Cost(time.perf_counter() - began, bird.cpu() - cpu, bird.memory())


@dataclass(frozen=True)
class Bird:
    """A BIRD that runs, by its process."""

    pid: int

    def ask(self, *command: str) -> str:
        """What birdc says."""
        root = f"/proc/{self.pid}/root"
        enter = ("nsenter", f"--mount=/proc/{self.pid}/ns/mnt", f"--root={root}", f"--wd={root}")
        done = subprocess.run([*enter, "birdc", *command], capture_output=True, text=True)
        return done.stdout

    def judged(self, count: Mapping[int, int]) -> None:
        """Until so many routes of each family have been received; TimeoutError in vain."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if all(self._received(f"vultr{v}") >= n for v, n in count.items()):
                return
            time.sleep(0.1)
        raise TimeoutError(self.ask("show", "protocols", "all", "vultr4"))

    def _received(self, session: str) -> int:
        found = re.search(r"Import updates:\s+(\d+)", self.ask("show", "protocols", "all", session))
        return int(found[1]) if found else 0

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> float:
        """Resident memory in MiB."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024


@contextmanager
def edge(
    keys: dict[str, Any], change: Callable[[str], str]
) -> Iterator[tuple[Bird, dict[int, Speaker]]]:
    """An edge's BIRD with its rendered configuration (``change`` may edit bird.conf), and the
    upstream's sessions with it, up."""
    plan = plan_of(keys)
    facts = placeholder_facts(plan)
    node, here = plan.node(NODE), facts[NODE]
    spaces = [f"bench-{os.getpid()}-{end}" for end in ("node", "isp")]
    try:
        for space in spaces:
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
        far = ("type", "veth", "peer", "name", "isp0", "netns", spaces[1])
        _ip("-n", spaces[0], "link", "add", here.uplink, *far)
        ends = ((spaces[0], here.uplink), (spaces[1], "isp0"))
        neighbors = [session.neighbor for session in node.upstreams]
        own = (
            [f"{here.ipv4}/32", f"{here.ipv6}/128"],
            [f"{address}/{address.max_prefixlen}" for address in neighbors],
        )
        for (space, device), mine, theirs in zip(ends, own, reversed(own), strict=True):
            _ip("-n", space, "link", "set", device, "up")
            for address in mine:
                quiet = ["nodad"] if ":" in address else []
                _ip("-n", space, "addr", "add", address, "dev", device, *quiet)
            for address in theirs:
                _ip("-n", space, "route", "add", address, "dev", device)
        with tempfile.TemporaryDirectory() as folder:
            machine = Debian(Path(folder))
            process = _start(machine, plan, facts, spaces[0], change)
            try:
                bird = Bird(process.pid)
                speakers: dict[int, Speaker] = {}
                for session in node.upstreams:
                    version = session.neighbor.version
                    speaker = Speaker(
                        session.peer_asn, node.router_id, password=PASSWORD, namespace=spaces[1]
                    )
                    main = here.ipv4 if version == 4 else here.ipv6
                    speaker.establish(str(session.neighbor), str(main))
                    speakers[version] = speaker
                yield bird, speakers
                for speaker in speakers.values():
                    speaker.close()
            finally:
                process.kill()
                process.wait()
    finally:
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


def _start(
    machine: Debian,
    plan: Plan,
    facts: Mapping[str, Facts],
    space: str,
    change: Callable[[str], str],
) -> subprocess.Popen[str]:
    files = [
        File(each.path, change(each.content), each.mode)
        if each.path == "/etc/bird/bird.conf"
        else each
        for each in node_files(plan, facts)[NODE].files
    ]
    machine.put(files)
    machine.put(node_secrets(plan, NODE, {"vultr": PASSWORD}))
    out = next(f for f in files if f.path.endswith("out-of-service.conf"))
    machine.put([File("/run/anycast-mesh/bird/announce.conf", out.content)])
    (machine.folder / "upper/run/bird").mkdir(parents=True)
    return machine.start("bird", "-f", "-s", "/run/bird/bird.ctl", namespace=space)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
