"""``python -m tests.vultr_api``: the production network as committed, deployed to a fake of Vultr.

The production program and driver speak to an API on this machine (TLS, real sockets), whose
servers are the lab's containers, booted from the user data that the API is given. Shows who
answers whom, and ends all of it again.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from mesh.cli.answers import show
from mesh.cli.engine import Interrupted, attend
from mesh.cli.exits import ExitCode
from mesh.infra.ending import DESTROY, GIVEN_UP, ending
from mesh.lab.errors import LabError
from tests.kit.vultr_api.account import Knobs
from tests.vultr_api.whole import Whole, lab_name, whole

UP = ("up", "--yes", "--skip-preview", "--suppress-outputs")


def main() -> int:
    """1 where the engine fails, a client gets no answer, or something is left at the end; 130
    after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.vultr_api", description=__doc__)
    parser.add_argument("--hold", action="store_true", help="leave it standing until Ctrl-C")
    parser.add_argument("--boot", type=float, default=1.0, metavar="SECONDS",
                        help="until a server is active, at least (default: 1)")  # fmt: skip
    given = parser.parse_args()
    console = Console(highlight=False)
    try:
        return proven(given.boot, given.hold, console)
    except LabError as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    except PermissionError as error:
        console.print(f"[red]error:[/] the lab needs root ({escape(str(error))})", soft_wrap=True)
        return 1
    except (Interrupted, KeyboardInterrupt):
        return ExitCode.INTERRUPTED


def proven(boot: float, held: bool, console: Console) -> int:
    """Deploy it, show it, end it."""
    with (
        tempfile.TemporaryDirectory(prefix="vultr-api-") as folder,
        whole(Path(folder), lab_name(), Knobs(boot=boot, ipv6=boot)) as one,
    ):
        if run(one, *UP):
            return 1
        counted(one, console)
        answered = show(one.plan, one.lab, console)
        if held:
            hold(one, console)
        if run(one, *DESTROY, *GIVEN_UP):
            return 1
        left = {kind: count for kind, count in one.vultr.holdings().items() if count}
        console.print(f"left at Vultr: {left or 'nothing'}")
        return 0 if answered and not left else 1


def run(one: Whole, *command: str) -> int:
    """Run the engine, its output shown."""
    began = time.monotonic()
    engine = one.engine
    own = ending(engine.environment) if command[0] == "destroy" else engine.environment
    status = attend(engine._command(*command), cwd=engine.program, environment=own)
    print(f"pulumi {command[0]}: {time.monotonic() - began:.1f} s", flush=True)
    return status


def counted(one: Whole, console: Console) -> None:
    """What the API was asked, and what there is now."""
    methods = Counter(call.method for call in one.vultr.calls)
    console.print("asked of the API:", ", ".join(f"{n} {m}" for m, n in sorted(methods.items())))
    console.print("at Vultr:", ", ".join(f"{n} {k}" for k, n in one.vultr.holdings().items()))
    one.vultr.forget_calls()


def hold(one: Whole, console: Console) -> None:
    """Wait for Ctrl-C; meanwhile the engine and the lab's commands work in another terminal."""
    engine = one.engine
    names = ("VULTR_API_ENDPOINT", "SSL_CERT_FILE", "PULUMI_HOME", "PULUMI_BACKEND_URL",
             "PULUMI_CONFIG_PASSPHRASE_FILE", "PATH")  # fmt: skip
    console.print("In another terminal, until Ctrl-C here:", soft_wrap=True)
    for name in names:
        print(f"  export {name}={shlex.quote(engine.environment[name])}")
    print(f"  export MESH_LAB={one.lab}")
    print(f"  cd {engine.program}; {' '.join(engine.inside)} pulumi preview --stack prod")
    print("  mesh lab list", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    sys.exit(main())
