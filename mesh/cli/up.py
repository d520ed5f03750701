"""``mesh lab up``: the twin of the production stack, deployed by the real engine."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer
from rich.console import Console

from mesh.cli.answers import show
from mesh.cli.engine import Interrupted, one_at_a_time, run_engine
from mesh.cli.environment import checkout, environment, lab_name, state_folder
from mesh.cli.exits import fail, failing, interrupted
from mesh.cli.rollout_options import AcceptOutage, Now, RolloutOptions, Without
from mesh.cli.working_copy import STACK, EngineFailed, make_known, write
from mesh.content import described
from mesh.lab.containers import stop_node
from mesh.lab.errors import LabError
from mesh.lab.lab_files import files_of
from mesh.lab.underlay import underlay
from mesh.lab.world import begin_world, boot_ahead
from mesh.plan import Plan, make
from mesh.preview.state import Deployed, read_state
from mesh.spec import SpecError, load_file

CHECKPOINT = f"state/.pulumi/stacks/anycast-mesh/{STACK}.json"
"""Where the file backend keeps the stack's state."""


def up(now: Now = False, accept_outage: AcceptOutage = False, without: Without = None) -> None:
    """Deploy the lab and show which node answers each client.

    The options are those of `mesh rollout`.

    Exit codes: 0 done, and every client gets an answer; 1 it cannot be
    deployed, or some client gets no answer; 130 interrupted; any other is the
    engine's own.
    """
    options = RolloutOptions(now, accept_outage, tuple(without or ()))
    console = Console(highlight=False)
    if sys.platform != "linux" or os.geteuid() != 0:
        fail("the lab needs Linux and root (namespaces, containers): run `sudo make up`")
    root = checkout()
    state, began = state_folder(root), time.monotonic()
    env = environment(root, state) | options.variables()
    try:
        with failing(SpecError, EngineFailed, Stranded, LabError), one_at_a_time(state):
            config = write(root, state)
            spec = load_file(STACK, root, config).spec
            plan = make(spec, described(root, spec))
            options.check([node.id for node in plan.nodes])
            underlay(plan)  # refuses what the lab has no place for, before anything starts
            refuse_to_strand(plan, state)
            with begun(plan):
                make_known(root, state, env)
            options.show()
            # No preview: the stack is the lab's, and it would only repeat the update.
            # With a refresh first, because a restart of this machine takes every node with it.
            status = run_engine(
                ["up", "--yes", "--skip-preview", "--refresh", "--suppress-outputs"],
                root=root,
                state=state,
                config=config,
                environment=env,
            )
            if status == 0:
                sweep(state, console)
    except (Interrupted, KeyboardInterrupt):
        interrupted("run `make up` again to go on")
    if status != 0:
        raise typer.Exit(status)  # the engine has shown why
    console.print(f"deployed in {time.monotonic() - began:.1f} s")
    if not show(plan, lab_name(), console):
        fail("some clients get no answer: see `mesh status` and `mesh lab list`")


@contextmanager
def begun(plan: Plan) -> Iterator[None]:
    """Begin the world of a lab that does not stand yet, and its machines, while the engine is
    prepared. Errors are left to the engine, which does the same again."""
    ahead = threading.Thread(target=_begin, args=[plan, lab_name()])
    ahead.start()
    try:
        yield
    finally:
        ahead.join()


def _begin(plan: Plan, lab: str) -> None:
    with suppress(LabError, OSError):
        begin_world(plan, lab)
        boot_ahead(plan, lab)


def sweep(state: Path, console: Console) -> None:
    """Stop the boxes of nodes that are not in the state: a killed run started them before it saved
    its state, and the stack file no longer has them."""
    here = files_of(lab_name())
    for node in sorted(set(here.boxes()) - set(here.world_boxes()) - set(_held(state))):
        console.print(f"{node}: no resource of the stack's, stopped")
        stop_node(here.lab, node)


class Stranded(Exception):
    """An update would stop half-way, since a node that leaves is still protected."""


def refuse_to_strand(plan: Plan, state: Path) -> None:
    """Refuse, before anything changes, to remove nodes whose addresses were not released."""
    try:
        held = _held(state)
    except (OSError, ValueError):
        return  # nothing was deployed, or the engine will report what is wrong with its state
    staying = {node.id for node in plan.nodes}
    for node, resources in held.items():
        if node not in staying and any(each.protected for each in resources):
            raise Stranded(
                f"mesh:nodes = without {node}: its addresses are protected, and the update would "
                f"stop half-way; run `mesh release {node}` first, or `make down`"
            )


def _held(state: Path) -> dict[str, tuple[Deployed, ...]]:
    """The nodes that the stack's state knows, and what each has."""
    document = json.loads((state / CHECKPOINT).read_text())
    return read_state({"deployment": document.get("checkpoint", {}).get("latest")})
