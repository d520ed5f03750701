"""Breaks a twin that monitors itself, and looks at who rings: the right alert, within its time, and
nothing else; what is healed resolves. Before that, a healthy twin rings nothing for ten minutes.

    python -m tests.monitoring                      # root; about an hour
    python -m tests.monitoring --quiet 0 hang       # one fault, and no quiet time before

Prints a table (Markdown). Exit code: 0 where everything was as it should be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from zlib import crc32

from mesh.lab.lab_files import LabFiles, files_of
from tests.kit.stacks import ROOT
from tests.monitoring.cases import CASES, FAILED, Case, Ring
from tests.monitoring.network import monitored
from tests.monitoring.rung import beats, since
from tests.twin.conftest import Twin

NAME = f"alerts-{crc32(str(ROOT).encode()):08x}"
LOOK = 1.0
RESOLVED = 300.0
"""Seconds after a fault is healed until nothing rings: sessions, a minute until Alertmanager says
so, and for a machine its boot."""
BEAT = 90.0
"""Seconds between two messages to the dead man's switch, at most."""
RULE = {"name": "proof", "nodes": ["ord-vultr-1"], "prepend": 1}
"""What the generation brings that fails: other files of BIRD."""
BIRD = "/usr/sbin/bird"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What rang for a fault: seconds after it by alert, and seconds until all was quiet again."""

    case: Case
    rang: dict[Ring, float]
    quiet_after: float | None

    @property
    def good(self) -> bool:
        """Whether the right ones rang in time, and no other one, and resolved."""
        late = any(seconds > self.case.within for seconds in self.rang.values())
        return set(self.rang) == self.case.rings and not late and self.quiet_after is not None

    def row(self) -> str:
        """A line of the table."""
        right = [_shown(ring, self.rang.get(ring)) for ring in sorted(self.case.rings)]
        others = [
            _shown(each, self.rang[each]) for each in sorted(set(self.rang) - self.case.rings)
        ]
        quiet = "never" if self.quiet_after is None else f"{self.quiet_after:.0f} s"
        cells = (
            f"{self.case.verb} {self.case.target}", ", ".join(right), f"{self.case.within} s",
            ", ".join(others) or "none", quiet, "yes" if self.good else "**no**",
        )  # fmt: skip
        return f"| {' | '.join(cells)} |"


def _shown(ring: Ring, seconds: float | None) -> str:
    name, node = ring
    return f"{name} {node}".strip() + (" never" if seconds is None else f" {seconds:.0f} s")


def main(arguments: Sequence[str]) -> int:
    """1 where something was not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.monitoring", description=__doc__)
    parser.add_argument("--quiet", type=float, default=10, help="minutes without a fault first")
    parser.add_argument("faults", nargs="*", help=", ".join(case.verb for case in CASES))
    given = parser.parse_args(arguments)
    chosen = [case for case in CASES if not given.faults or case.verb in given.faults]
    good = True
    with tempfile.TemporaryDirectory() as folder, monitored(NAME, Path(folder)) as twin:
        if given.quiet:
            good = quiet(files_of(twin.name), 60 * given.quiet)
        print("| fault | rings | within | what else rang | quiet after healing | as it should be |")
        print("|---|---|---|---|---|---|", flush=True)
        for case in chosen:
            outcome = prove(twin, case)
            print(outcome.row(), flush=True)
            good &= outcome.good
    return 0 if good else 1


def quiet(files: LabFiles, seconds: float) -> bool:
    """Whether nothing rings for so long, and the dead man's switch hears of it."""
    began = time.time()
    time.sleep(seconds)
    rang = since(files, began).first
    heard = [began, *beats(files, began), time.time()]
    longest = max(later - earlier for earlier, later in pairwise(heard))
    for ring, moment in sorted(rang.items()):
        print(f"rang without a fault: {_shown(ring, moment - began)}")
    print(
        f"{seconds:.0f} s without a fault: {len(rang)} alerts; the dead man's switch was told "
        f"{len(heard) - 2} times, after {longest:.0f} s at most\n",
        flush=True,
    )
    return not rang and longest <= BEAT


def prove(twin: Twin, case: Case) -> Outcome:
    """Breaks, waits as long as alerts may take, heals, and waits until all is quiet."""
    files, began = files_of(twin.name), time.time()
    with broken(twin, case):
        while time.time() < began + case.within:
            time.sleep(LOOK)
    healed, quiet_after = time.time(), None
    while quiet_after is None and time.time() < healed + RESOLVED:
        time.sleep(LOOK)
        now = since(files, began)
        if not now.ringing:
            quiet_after = time.time() - healed
    rang = {ring: moment - began for ring, moment in since(files, began).first.items()}
    return Outcome(case, rang, quiet_after)


@contextmanager
def broken(twin: Twin, case: Case) -> Iterator[None]:
    """The fault is there meanwhile."""
    if case.verb == FAILED:
        with _failed(twin, case.target):
            yield
        return
    twin.mesh("lab", "fault", case.verb, case.target)
    try:
        yield
    finally:
        twin.mesh("lab", "heal", case.target)


@contextmanager
def _failed(twin: Twin, node: str) -> Iterator[None]:
    """A generation is published whose files of BIRD a node cannot validate, since its program is
    another one; the running BIRD stays. Then one that it can apply."""
    twin.exec(node, "mv", BIRD, f"{BIRD}.away")
    twin.exec(node, "sh", "-c", f"printf '#!/bin/sh\\nexit 1\\n' > {BIRD}; chmod 755 {BIRD}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            changed = twin.with_keys(Path(folder), {"traffic": [RULE]})
            twin.pulumi("up", "--yes", "--skip-preview", config=changed, check=False)
        yield
    finally:
        twin.exec(node, "mv", f"{BIRD}.away", BIRD)
        twin.pulumi("up", "--yes", "--skip-preview")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
