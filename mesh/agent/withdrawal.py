"""The withdrawal of a node without an agent: it announces and serves nothing.

It has to work when the agent does not, so it needs only Python and BIRD's socket: neither Debian's
packages for the agent nor a configuration that this version can read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from mesh.agent import file_paths
from mesh.agent.announce_state import AnnounceState, write_state, written_names
from mesh.agent.host import CommandFailed, Host
from mesh.agent.interface import addresses_on, line
from mesh.bird.client import Bird, BirdError, NotRunning
from mesh.bird.questions import constant

INTERFACE = "dummy0"
"""The interface if the configuration cannot be read."""
_UNIT = "/etc/systemd/system/anycast-mesh-dummy.service"
_OWN = re.compile(r"^ExecStart=.* address replace ([0-9a-f.:]+)/[0-9]+ dev ", re.MULTILINE)

Step = Callable[[], None]


def steps(host: Host, bird: Bird) -> list[Step]:
    """The steps of the withdrawal; a failed one may be tried again (:func:`failures`)."""
    return [
        lambda: write_state(host, AnnounceState()),
        lambda: _forget_orders(host),
        lambda: _reconfigure(host, bird),
        lambda: _unbind(host),
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


def _unbind(host: Host) -> None:
    """Removes the addresses of services, of this or an earlier generation: those on the interface
    that its unit does not set."""
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
        raise CommandFailed(f"ip: {', '.join(sorted(left))}: still bound: {result.why()}")


def _configured(host: Host) -> tuple[str, frozenset[str] | None]:
    """The interface, and the addresses of the services: None if they cannot be read."""
    try:
        document = json.loads(host.read(file_paths.CONFIG) or b"")
        found = [address for each in document["services"] for address in each["addresses"]]
        return str(document["interface"]), frozenset(map(str, found))
    except (OSError, ValueError, TypeError, LookupError):
        return INTERFACE, None
