"""Rolls changes out over a twin of its own while clients of every city connect each 10 ms over both
families: what does not restart anything, what does, and what is wrong and has to stop at its first
node. Then `up` is killed after each wave, and a node that was off comes back between two waves.

    python -m tests.waves                          # root; half an hour
    python -m tests.waves hold-time wrong-password # these alone
    python -m tests.waves --mixed                  # the network of seven: members, an existing host

Prints a table (Markdown), and what `up` said where something is not as it should be. Exit code: 0
where everything was as it should be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

import pytest

from tests.kit.stacks import ROOT
from tests.waves.cases import BAD, GOOD
from tests.waves.interrupted import INTERRUPTED
from tests.waves.network import Network, deployed
from tests.waves.outcome import HEADER, Outcome
from tests.waves.proofs import bad, good

NAME = f"waves-{crc32(str(ROOT).encode()):08x}"
LAST_LINES = 40


def proofs() -> dict[str, Callable[[Network], Outcome]]:
    """What is proved, by its name."""
    return {
        **{each.name: good(each) for each in GOOD},
        **{each.name: bad(each) for each in BAD},
        **INTERRUPTED,
    }


def main(arguments: Sequence[str]) -> int:
    """1 where something was not as it should be."""
    known = proofs()
    parser = argparse.ArgumentParser(
        prog="python -m tests.waves",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--mixed", action="store_true", help="the network of seven nodes")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - known.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    with tempfile.TemporaryDirectory() as folder:
        example = "mixed" if given.mixed else "prod"
        with deployed(NAME, example, Path(folder)) as network:
            print(HEADER, flush=True)
            proved = [_proved(network, name, known[name]) for name in given.names or known]
    return int(not all(proved))


def _proved(network: Network, name: str, proof: Callable[[Network], Outcome]) -> bool:
    try:
        outcome = proof(network)
    except (AssertionError, pytest.fail.Exception) as error:
        print(error, file=sys.stderr)
        outcome = Outcome(name, (), ("it could not be proved",))
    print(outcome.row(), flush=True)
    if not outcome.good:
        lines = outcome.output.splitlines()[-LAST_LINES:]
        print("\n".join(f"    {line}" for line in lines), file=sys.stderr, flush=True)
    return outcome.good


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
