"""The withdrawal of a node without an agent: it announces and serves nothing.

It has to work when the agent does not, so it needs only Python and BIRD's socket: neither the
system's packages for the agent nor a configuration that this version can read.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.agent import file_paths
from mesh.agent.announce_state import AnnounceState, write_state, written_names
from mesh.agent.host import Host
from mesh.agent.network import Network
from mesh.bird.client import Bird, BirdError, NotRunning
from mesh.bird.questions import constant

Step = Callable[[], None]


def steps(host: Host, bird: Bird, network: Network) -> list[Step]:
    """The steps of the withdrawal; a failed one may be tried again (:func:`failures`)."""
    return [
        lambda: write_state(host, AnnounceState()),
        lambda: _forget_orders(host),
        lambda: _reconfigure(host, bird),
        network.end_service,
    ]


def failures(todo: list[Step]) -> list[tuple[Step, str]]:
    """Takes these steps; those that have failed, with the reason."""
    failed: list[tuple[Step, str]] = []
    for step in todo:
        try:
            step()
        except Exception as error:
            # The other steps are taken, whatever fails here.
            failed.append((step, f"{type(error).__name__}: {error}"))
    return failed


def _forget_orders(host: Host) -> None:
    """Removes blackholes from BIRD: without an agent they would not end. The firewall's do."""
    for path in (*file_paths.ORDERS.values(), *file_paths.FORCED.values()):
        host.write(path, b"", 0o644)


def _reconfigure(host: Host, bird: Bird) -> None:
    try:
        bird.configure()
        with bird.asking() as ask:
            if any(constant(ask, name) for name in written_names(host)):
                raise BirdError("bird: still runs as in service")
    except NotRunning:
        return  # It announces nothing, and starts out of service.
