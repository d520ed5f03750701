"""The bundle's commands. Each imports only what it needs, to start fast."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.agent import file_paths

if TYPE_CHECKING:
    from mesh.agent.agent import Agent
    from mesh.agent.apply import Applier
    from mesh.agent.host import Host
    from mesh.agent.system import Supervisor

GRACE = 30
"""Seconds after which a node without an agent withdraws."""
_WATCHDOG_PATIENCE = 20.0
_AGAIN = 3.0
"""Seconds until a failed withdrawal is tried again."""


def main() -> None:
    """``python3 bundle.pyz COMMAND``."""
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    if sys.argv[1:2] == ["hold"] and len(sys.argv) == 3:
        hold(sys.argv[2])
        return
    if command not in _COMMANDS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(_COMMANDS)}, or hold <time>, as 30m")
    _COMMANDS[command]()


def agent() -> None:
    """The node's agent."""
    from mesh.agent import log
    from mesh.agent.single_instance import alone
    from mesh.agent.systems import here

    log.start()
    host, stop = here(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with alone(host, stop) as free:
        if free and not _work(host, stop):
            sys.exit(1)


def _work(host: Host, stop: threading.Event) -> bool:
    """Runs an agent until ``stop`` is set; False if it has failed."""
    from mesh.agent import log
    from mesh.agent.agent import Agent
    from mesh.agent.seed import read_seed
    from mesh.agent.systems import of

    system = of(host)
    one = Agent(host, read_seed(host), system, stop)

    def work() -> None:
        try:
            one.run()
        except Exception as error:
            # Logged in one line; the supervisor restarts the agent.
            log.warning("agent-failed", kind=type(error).__name__, reason=error)
            one.failed = True
        stop.set()

    threading.Thread(target=work, name="agent", daemon=True).start()
    system.supervisor.started()
    tend(one, system.supervisor)
    system.supervisor.stopping()
    return not one.failed


def tend(one: Agent, supervisor: Supervisor) -> None:
    """Until an agent stops: tells the supervisor that it does not hang, and cancels the node's
    withdrawal once it works. An agent that has only started cancels nothing: it may fail as the one
    before."""
    put_off = False
    while not one.stop.wait(5.0 if put_off else 0.5):
        if not put_off and one.works:
            put_off = supervisor.works()
        if time.monotonic() - one.beat < _WATCHDOG_PATIENCE:
            supervisor.beat()


def registry() -> None:
    """Runs the registry."""
    from mesh.registry import serve

    folder = Path(file_paths.REGISTRY)
    bundle = serve.seed_bundle(Path(file_paths.BUNDLE))
    serve.serve(serve.settings(Path(file_paths.SEED), folder), bundle)


def whoami() -> None:
    """Runs the whoami server."""
    from mesh.agent.systems import unprivileged
    from mesh.agent.whoami import serve

    serve(Path(file_paths.CONFIG), unprivileged())


def glass() -> None:
    """Runs the looking glass."""
    from mesh.glass import network, snapshot
    from mesh.glass.serve import serve

    serve(
        Path(network.PATH),
        Path(file_paths.CONFIG),
        Path(snapshot.PATH),
        Path(file_paths.GLASS_SOCKET),
    )


def stopped() -> None:
    """Called when the agent has stopped: the node withdraws unless an agent works again within
    GRACE. A timer that already runs is not restarted."""
    from mesh.agent.notify import WITHDRAW
    from mesh.agent.systems import here

    here().run(
        "systemd-run",
        "--collect",
        f"--unit={WITHDRAW}",
        f"--on-active={GRACE}",
        "--timer-property=AccuracySec=100ms",
        "/usr/bin/python3",
        file_paths.BUNDLE,
        "withdraw",
    )


def withdraw() -> None:
    """Withdraws the node because no agent works: nothing is announced or served. A failed step is
    tried again until it succeeds or an agent works, which then announces and serves again."""
    from mesh.agent import log
    from mesh.agent.systems import bird_of, here, network
    from mesh.agent.withdrawal import failures, steps

    log.start()
    host = here()
    bird = bird_of(host)
    todo, before = steps(host, bird, network(host, bird)), ""
    while failed := failures(todo):
        todo, reason = [step for step, _ in failed], "; ".join(why for _, why in failed)
        if reason != before:
            log.warning("not-withdrawn", reason=reason)
        before = reason
        time.sleep(_AGAIN)
    log.info("withdrawn")


def undo() -> None:
    """At the end of an unconfirmed change's time: keeps it if somebody has logged in, otherwise
    undoes it. Works without the agent."""
    _applier().settle()


def undo_at_start() -> None:
    """At boot with an unconfirmed change: restores the files before the daemons read them."""
    _applier().put_files_back()


def _applier() -> Applier:
    from mesh.agent import log
    from mesh.agent.apply import Applier
    from mesh.agent.systems import here, of

    log.start()
    return Applier(of(here()), lambda: True)


def hold(text: str = "30m") -> None:
    """Holds this node: nothing is repaired or applied for that time."""
    from mesh.agent import holds
    from mesh.agent.systems import here
    from mesh.trust.encoding import moment

    try:
        until = holds.hold(here(), text)
    except holds.InvalidDuration as error:
        sys.exit(f"{text}: {error}")
    print(f"nothing is repaired or applied here until {moment(until)} (unhold ends it)")


def unhold() -> None:
    """Ends the hold of this node, by a command or by an order."""
    from mesh.agent import holds
    from mesh.agent.systems import here

    holds.unhold(here())
    print("the hold is ended")


def settle_bundle() -> None:
    """Returns to this bundle unless the one on trial works."""
    from mesh.agent import log
    from mesh.agent.bundle_trial import settle
    from mesh.agent.systems import here

    log.start()
    settle(here())


def check() -> None:
    """Fails if a module that the agent needs is missing on this node. Prints what an agent that
    starts this bundle may rely on."""
    import mesh.agent.agent  # noqa: F401
    from mesh.agent.bundle_trial import CAPABILITY

    print(CAPABILITY)


_COMMANDS = {
    "agent": agent,
    "registry": registry,
    "whoami": whoami,
    "glass": glass,
    "stopped": stopped,
    "withdraw": withdraw,
    "undo": undo,
    "undo-at-start": undo_at_start,
    "settle-bundle": settle_bundle,
    "check": check,
    "hold": hold,
    "unhold": unhold,
}
