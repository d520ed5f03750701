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


def of_another_network(target: Target, node: str | None) -> DeliveryError:
    """The host has a delivery of another network, by this node's name; None where it has joined
    that by other means."""
    remove = (
        "remove it there first; or, if that network is no more, on the host, as root: "
        f"{REMOVE[target.os]}"
    )
    return DeliveryError(
        Problem(
            target.key("ipv4"), target.address,
            f"the host is already {'a node' if node is None else node[:60]} of another network",
            "reinstall it from the provider's panel" if node is None else remove,
        )
    )  # fmt: skip
