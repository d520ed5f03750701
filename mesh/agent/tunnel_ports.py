"""In which order tunnels take new ports."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mesh.agent.daemons.kind import Changes, FileChange


def as_ports_come_free(changes: Changes, listens: re.Pattern[bytes]) -> Iterator[FileChange]:
    """The changes of tunnels' files in an order in which each tunnel's new port is free: where all
    ports change by a few, that of one is another's until then. ``listens`` finds the port."""

    def port(content: bytes | None) -> bytes | None:
        match = None if content is None else listens.search(content)
        return match[1] if match else None

    waiting = [(change, port(change.old), port(change.new)) for change in changes]
    while waiting:
        held = [old for _, old, _ in waiting]
        free = (each for each in waiting if each[2] == each[1] or each[2] not in held)
        chosen = next(free, waiting[0])
        waiting.remove(chosen)
        yield chosen[0]
