"""What a type of resource is to the network, as its driver describes it.

Previews, the gate and the policy pack judge by it, without the SDK that makes the resources. Types
are as the engine writes them (the last argument of ``Resource.__init__`` in an SDK), and so are
their inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mesh.infra.providers.inputs import Inputs

PortRange = tuple[int, int]
"""The first and the last of a range of ports."""


class ResourceKind(StrEnum):
    """What a resource is to the network."""

    SERVER = "server"
    ADDRESS = "address"
    FIREWALL = "firewall"
    NETWORK = "ground"
    """By which all nodes of a place reach others, and which a provider deletes although it is used.
    Its value is a key of ``mesh preview --json``."""
    ROOT = "root"
    """Of which a stack has exactly one, for its whole life."""
    OTHER = "other"
    """Known; its loss cuts off no node."""
    UNKNOWN = "unknown"
    """Of a type without a description."""


def _never(_inputs: Inputs) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One type of resource.

    ``quiet`` are the inputs of a server that change while it runs: any other may restart it. None
    where no input does. ``quiet_drift`` are the beginnings of the drift texts (output ``drift`` of
    our own resources) whose repair restarts no running server.

    ``protected`` is whether the program protects it from deletion (``mesh:protect``), where a node
    or the stack has it; ``reserved`` whether it is a reserved address, which has to be protected
    anywhere. ``is_inside`` is whether, by its inputs, an address is of the provider's private
    network.

    ``tags`` is the input with a server's tags. ``has_ipv6`` is whether, by its inputs, the resource
    gives its node IPv6. ``lets_in`` reads a rule of the provider's firewall: the networks, and the
    TCP ports that they may reach.
    """

    kind: ResourceKind
    quiet: frozenset[str] | None = frozenset()
    quiet_drift: tuple[str, ...] = ()
    protected: bool = False
    reserved: bool = False
    is_inside: Callable[[Inputs], bool] = _never
    tags: str | None = None
    has_ipv6: Callable[[Inputs], bool] | None = None
    lets_in: Callable[[Inputs], Iterator[tuple[str, PortRange]]] | None = None


UNKNOWN = ResourceType(ResourceKind.UNKNOWN)
OTHER = ResourceType(ResourceKind.OTHER)
NETWORK = ResourceType(ResourceKind.NETWORK)
