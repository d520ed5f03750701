"""What the supervisor of an OpenBSD node reads: whether the agent hangs, and whether it works.

``/var/run/anycast-mesh/beat`` is written anew with each beat, and has one line: ``started``, or
``works`` once the agent has been shown to work. A file that is older than the time within which
systemd wants to hear of Debian's agent is that of an agent that hangs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.agent.host import Host

BEAT = "/run/anycast-mesh/beat"


@dataclass(slots=True)
class Beat:
    """The file of one node."""

    host: Host
    _word: str = field(default="started", init=False)

    def started(self) -> None:
        """Writes the first beat."""
        self.beat()

    def beat(self) -> None:
        """Writes the file anew."""
        self.host.write(BEAT, f"{self._word}\n".encode(), 0o644, flush=False)

    def works(self) -> bool:
        """Says so in the file: the supervisor does not withdraw the node then."""
        self._word = "works"
        self.beat()
        return True

    def stopping(self) -> None:
        """Removes the file, which nobody writes any more."""
        self.host.remove(BEAT)
