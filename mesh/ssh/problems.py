"""What may go wrong between here and a host, each in one sentence with its cure."""

from __future__ import annotations

from dataclasses import replace

from mesh.spec.problems import Problem


class DeliveryError(Exception):
    """It cannot be delivered; each problem names key, value, reason and cure."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Unreachable(DeliveryError):
    """The host does not answer, or no longer: it says nothing about what is on it."""


def beyond_reach(error: Unreachable, node: str) -> Unreachable:
    """The same of a host that has to go: what to do where it never comes back."""
    (problem,) = error.problems
    return Unreachable(
        replace(
            problem,
            cure=f"bring it back and run this again; a host that is gone for good is forgotten "
            f"with `pulumi state delete` on the urn that ends in {node}-instance, and one that "
            "still runs somewhere is cleared by hand, as root: python3 "
            "/var/lib/anycast-mesh/state/delivery/receiver.py remove",
        )
    )
