"""Errors of a delivery, each with what to do."""

from __future__ import annotations

from dataclasses import replace

from mesh.spec.problems import Problem


class DeliveryError(Exception):
    """A delivery failed; each problem gives key, value, reason and cure."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class HostUnreachable(DeliveryError):
    """The host does not answer (any more): what is on it is unknown."""


def beyond_reach(error: HostUnreachable, node: str) -> HostUnreachable:
    """The same error for a host to be removed: also what to do where it is gone for good."""
    (problem,) = error.problems
    return HostUnreachable(
        replace(
            problem,
            cure=f"bring it back and run this again; remove a host that is gone for good with "
            f"`pulumi state delete` on the urn that ends in {node}-instance, and clear one that "
            "still runs somewhere by hand, as root: python3 "
            "/var/lib/anycast-mesh/state/delivery/receiver.py remove",
        )
    )
