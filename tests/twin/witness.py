"""What the routers and nodes know at the moment when a client is not answered, or by another node.

A probe says how long nobody answered. Why can be read only while it lasts, so a witness asks beside
the probe, and looks at the whole way at the first silence.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mesh import netns
from mesh.lab import bird, namespaces
from mesh.lab.errors import LabError
from mesh.lab.inside import inside
from mesh.lab.lab_files import LabFiles, files_of
from mesh.lab.world import load

INTERVAL = 0.25
PATIENCE = 0.5
"""Seconds for one answer."""
UNANSWERED = 3
"""Silence is so many questions in a row without an answer."""
_COUNTERS = "/proc/net/snmp6"


@dataclass
class Witness:
    """``seen`` is what was found at the first silence; empty while all questions were answered."""

    seen: str = ""


@contextmanager
def witness(lab: str, client: str, address: str) -> Iterator[Witness]:
    """Asks an address from a client until the end, and looks once when nobody answers."""
    found, over = Witness(), threading.Event()

    def ask() -> None:
        unanswered = 0
        while not over.wait(INTERVAL) and not found.seen:
            unanswered = 0 if _is_answered(lab, client, address) else unanswered + 1
            if unanswered == UNANSWERED:
                found.seen = way(lab, client, address)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join(60)


def _is_answered(lab: str, client: str, address: str) -> bool:
    def connect() -> bool:
        try:
            with socket.create_connection((address, 80), timeout=PATIENCE):
                return True
        except OSError:
            return False

    return netns.inside(files_of(lab).namespace(client), connect)


def way(lab: str, client: str, address: str) -> str:
    """Each box's own routes there and back, and which of its counters grow meanwhile."""
    here, world = files_of(lab), load(lab)
    one = world.client(client)
    back = str(one.ipv6 if ":" in address else one.ipv4)
    routers = [*(t.box for t in world.transits), *(u.box for u in world.upstreams)]
    nodes = [uplink.node for uplink in world.nodes]
    before = {box: _counters(here, box) for box in (*routers, *nodes)}
    lines = [f"{client} has no answer from {address} at {time.strftime('%X')}"]
    for box in (*routers, *nodes):
        for target in (address, back):
            lines.append(_said(here, box, "ip", "route", "get", target))
        lines.append(_said(here, box, "ip", "-6", "neighbor"))
    for box in routers:
        lines.append(f"{box}: {bird.ask(here, box, f'show route for {address}').strip()}")
        lines.append(f"{box}: {bird.failure(here, box)}")
    for node in nodes:
        lines.append(_said(here, node, "ip", "-6", "route", "show", "default"))
        lines.append(_said(here, node, "ip", "-br", "address", "show", "dev", "dummy0"))
        lines.append(_said(here, node, "birdc", "show", "route", "for", address, "all"))
        lines.append(_said(here, node, "systemctl", "--failed", "--plain", "--no-legend"))
    for box, counters in before.items():
        after = _counters(here, box)
        grown = {key: after[key] - old for key, old in counters.items() if after.get(key, 0) > old}
        lines.append(f"{box}: counted {grown}")
    return "\n".join(lines)


def _said(here: LabFiles, box: str, *command: str) -> str:
    try:
        return f"{box}: {' '.join(command)}: {namespaces.run(inside(here, box, command)).strip()}"
    except LabError as error:
        return f"{box}: {error}"


def _counters(here: LabFiles, box: str) -> dict[str, int]:
    try:
        text = namespaces.run(inside(here, box, ("cat", _COUNTERS)))
    except LabError:
        return {}
    return {key: int(value) for key, value in map(str.split, text.splitlines())}
