"""What an OpenBSD node's supervisor hears of the agent: that it does not hang, and that it works.

The agent writes one word into ``/var/run/anycast-mesh/beat`` again and again: ``started``, or
``works`` once it has been shown to work. The supervisor takes the file away when it has read it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from mesh.agent.host import Host

BEAT = "/run/anycast-mesh/beat"


@dataclass(slots=True)
class Beat:
    """The file of one node."""

    host: Host
    _word: str = field(default="started", init=False)

    def started(self) -> None:
        """Writes the first word."""
        self.beat()

    def beat(self) -> None:
        """Writes the word. An agent whose disk is full works otherwise."""
        with suppress(OSError):
            self.host.write(BEAT, f"{self._word}\n".encode(), 0o644, flush=False)

    def works(self) -> bool:
        """Writes another word from now on: the supervisor does not withdraw the node then."""
        self._word = "works"
        self.beat()
        return True

    def stopping(self) -> None:
        """The supervisor sees that the process ends."""
