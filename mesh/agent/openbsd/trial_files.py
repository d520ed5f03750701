"""The supervisor's watch over a bundle on trial: files in a form that a shell reads.

The supervisor is a script, and returns to the bundle before without anything of the new one. Each
file has one thing a line.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.agent import file_paths
from mesh.agent.bundle_trial import Trial
from mesh.agent.host import Host

TRIAL = f"{file_paths.STATE}/bundle-trial"
"""The bundle on trial, and the one before."""
WENT_BACK = f"{file_paths.STATE}/bundle-gone-back"
"""The bundle that did not work, and why. The supervisor writes it."""


@dataclass(frozen=True, slots=True)
class SupervisedTrial:
    """The supervisor of a node, as far as trials are concerned."""

    host: Host

    def starts(self) -> int:
        """Unknown here: the supervisor counts."""
        return 0

    def begin(self, trial: Trial) -> None:
        """From here on the supervisor looks at the link."""
        self.host.path(WENT_BACK).unlink(missing_ok=True)
        self.host.write(TRIAL, f"{trial.bundle}\n{trial.before}\n".encode(), 0o600)

    def end(self) -> None:
        """Removes both files."""
        self.host.remove(TRIAL)
        self.host.remove(WENT_BACK)

    def went_back(self) -> tuple[str, str] | None:
        """What the supervisor has written."""
        lines = (self.host.read(WENT_BACK) or b"").decode("utf-8", "replace").splitlines()
        return (lines[0].strip(), lines[1].strip()) if len(lines) > 1 else None
