"""What a node does whose agent has not come back: it announces and serves nothing.

It must work where the agent does not, so it needs nothing but Python and BIRD's socket: neither
Debian's packages for the agent nor a configuration that this version can read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from mesh.agent import file_paths
from mesh.agent.host import CommandFailed, Host
from mesh.agent.interface import addresses_on, line
from mesh.bird.client import Bird, BirdError, NotRunning
from mesh.bird.questions import constant

OUT_OF_SERVICE = b"define IN_SERVICE = false;\ndefine DRAINING = false;\n"
"""BIRD's announce state then, as :mod:`announce` writes it."""
INTERFACE = "dummy0"
"""That of a node whose configuration cannot be read."""
_UNIT = "/etc/systemd/system/anycast-mesh-dummy.service"
_OWN = re.compile(r"^ExecStart=.* address replace ([0-9a-f.:]+)/[0-9]+ dev ", re.MULTILINE)

Step = Callable[[], None]


def steps(host: Host, bird: Bird) -> list[Step]:
    """All that there is to do, each worth another try where it fails (:func:`failures`)."""
    return [
        lambda: host.write(file_paths.ANNOUNCE, OUT_OF_SERVICE, 0o644),
        lambda: _forget_orders(host),
        lambda: _tell(bird),
        lambda: _unbind(host),
    ]


def failures(todo: list[Step]) -> list[tuple[Step, str]]:
    """Does these; those that have failed, with the reason."""
    failed: list[tuple[Step, str]] = []
    for step in todo:
        try:
            step()
        except Exception as error:
            # Whatever it is: the rest is done all the same.
            failed.append((step, f"{type(error).__name__}: {error}"))
    return failed


def _forget_orders(host: Host) -> None:
    """Nobody is left to see when a blackhole order ends. The firewall sees by itself."""
    for path in (*file_paths.ORDERS.values(), *file_paths.FORCED.values()):
        host.write(path, b"", 0o644)


def _tell(bird: Bird) -> None:
    try:
        bird.configure()
        with bird.asking() as ask:
            if constant(ask, "IN_SERVICE"):
                raise BirdError("bird: runs as one in service still")
    except NotRunning:
        return  # It announces nothing, and starts out of service.


def _unbind(host: Host) -> None:
    """Whatever is on the interface and is not the node's own, as its unit brings it up: addresses
    of services, of this generation or of one before."""
    interface, services = _configured(host)
    found = addresses_on(host, interface)
    unit = host.read(_UNIT)
    if unit is None:
        going = found if services is None else found & services
    else:
        going = found - frozenset(_OWN.findall(unit.decode("utf-8", "replace")))
    if not going:
        return
    lines = [line("del", address, interface) for address in sorted(going)]
    result = host.run("ip", "-force", "-batch", "-", given="\n".join(lines) + "\n")
    if left := addresses_on(host, interface) & going:
        raise CommandFailed(f"ip: {', '.join(sorted(left))}: bound still: {result.why()}")


def _configured(host: Host) -> tuple[str, frozenset[str] | None]:
    """The interface, and the addresses of the services: None where they cannot be read."""
    try:
        document = json.loads(host.read(file_paths.CONFIG) or b"")
        found = [address for each in document["services"] for address in each["addresses"]]
        return str(document["interface"]), frozenset(map(str, found))
    except (OSError, ValueError, TypeError, LookupError):
        return INTERFACE, None
