"""Errors of a delivery, each with what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mesh.operating_systems import OperatingSystem
from mesh.spec.problems import Problem

if TYPE_CHECKING:
    from mesh.ssh.connection import Target

REMOVE = {
    OperatingSystem.DEBIAN: "python3 /var/lib/anycast-mesh/state/delivery/receiver.py remove",
    OperatingSystem.OPENBSD: "sh /var/lib/anycast-mesh/state/delivery/receiver.sh remove",
}
"""The command on a host that removes a delivery."""


class DeliveryError(Exception):
    """A delivery failed; each problem gives key, value, reason and cure."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class HostUnreachable(DeliveryError):
    """The host does not answer (any more): what is on it is unknown."""


def beyond_reach(error: HostUnreachable, target: Target) -> HostUnreachable:
    """The same error for a host to be removed: also what to do where it is gone for good."""
    (problem,) = error.problems
    return HostUnreachable(
        replace(
            problem,
            cure=f"bring it back and run this again; remove a host that is gone for good with "
            f"`pulumi state delete` on the urn that ends in {target.node}-instance, and clear one "
            f"that still runs somewhere by hand, as root: {REMOVE[target.os]}",
        )
    )
