"""The bundle's commands. Each imports what it needs and no more: starting fast is part of it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

from mesh.agent import places

GRACE = 30
"""Seconds after which a node whose agent is gone withdraws."""
_WITHDRAW = "anycast-mesh-withdraw"
_WATCHDOG_PATIENCE = 20.0


def main() -> None:
    """``python3 bundle.pyz COMMAND``."""
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    if command not in _COMMANDS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(_COMMANDS)}")
    _COMMANDS[command]()


def agent() -> None:
    """The node's agent."""
    from mesh.agent import log
    from mesh.agent.agent import Agent
    from mesh.agent.host import Host
    from mesh.agent.notify import notify
    from mesh.agent.seed import read_seed
    from mesh.agent.units import Systemd

    log.start()
    host = Host()
    # We are back in time: what the last stop has put off is put off for good.
    host.run("systemctl", "stop", f"{_WITHDRAW}.timer")
    one = Agent(host, read_seed(host), Systemd(host))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: one.stop.set())

    def work() -> None:
        try:
            one.run()
        except Exception as error:
            # Whatever it is: said in one line, and systemd starts us again.
            log.warning("agent-failed", kind=type(error).__name__, reason=error)
            one.failed = True
        one.stop.set()

    threading.Thread(target=work, name="agent", daemon=True).start()
    notify("READY=1")
    while not one.stop.wait(5.0):
        if time.monotonic() - one.beat < _WATCHDOG_PATIENCE:
            notify("WATCHDOG=1")
    notify("STOPPING=1")
    if one.failed:
        sys.exit(1)


def registry() -> None:
    """The registry."""
    from mesh.discovery import serve

    folder = Path(places.REGISTRY)
    bundle = serve.seed_bundle(Path(places.BUNDLE))
    serve.serve(serve.settings(Path(places.SEED), folder), bundle)


def whoami() -> None:
    """Which node answers."""
    from mesh.agent.whoami import serve

    serve(Path(places.CONFIG))


def stopped() -> None:
    """The agent has stopped: unless it is back soon, the node withdraws."""
    from mesh.agent.host import Host

    Host().run(
        "systemd-run",
        "--collect",
        f"--unit={_WITHDRAW}",
        f"--on-active={GRACE}",
        "--timer-property=AccuracySec=100ms",
        "/usr/bin/python3",
        places.BUNDLE,
        "withdraw",
    )


def withdraw() -> None:
    """The agent has not come back: nothing is served or announced any more."""
    from mesh.agent.bird import Bird
    from mesh.agent.config import Config
    from mesh.agent.host import Host
    from mesh.agent.presence import withdraw as withdraw_now
    from mesh.trust.encoding import parse

    host = Host()
    if host.run("systemctl", "is-active", "--quiet", "anycast-mesh-agent.service").code == 0:
        return
    content = host.read(places.CONFIG)
    if content is not None:
        withdraw_now(host, Bird(host.path(places.BIRD_SOCKET)), parse(Config, content))


def check() -> None:
    """Whether this bundle starts on this node: all that the agent needs is here."""
    import mesh.agent.agent  # noqa: F401


_COMMANDS = {
    "agent": agent,
    "registry": registry,
    "whoami": whoami,
    "stopped": stopped,
    "withdraw": withdraw,
    "check": check,
}
