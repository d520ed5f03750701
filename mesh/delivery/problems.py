"""What may go wrong between here and a host, each in one sentence with its cure."""

from __future__ import annotations

from mesh.spec.problems import Problem


class DeliveryError(Exception):
    """It cannot be delivered; each problem names key, value, reason and cure."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Unreachable(DeliveryError):
    """The host does not answer, or no longer: it says nothing about what is on it."""
