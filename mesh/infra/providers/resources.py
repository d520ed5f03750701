"""What a type of resource is to the network, as its driver says it.

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


class Kind(StrEnum):
    """What a resource is to the network."""

    SERVER = "server"
    ADDRESS = "address"
    FIREWALL = "firewall"
    GROUND = "ground"
    """What all nodes of a place reach others by, and what goes although they stand there."""
    ROOT = "root"
    """What a stack has one of for as long as it lives."""
    OTHER = "other"
    """Known, and no node is cut off by its loss."""
    UNKNOWN = "unknown"
    """Of no type that is described."""


def _never(_inputs: Inputs) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One type of resource.

    ``quiet`` are the inputs of a server that change while it runs: any other may restart it. None
    where nothing does. ``quiet_drift`` is how the drift begins (the output of that name, of our own
    resources) that is repaired while the server runs, or that it does not run for.

    ``protected`` says that the program protects it from deletion (``mesh:protect``), where a node
    or the stack has it; ``reserved`` that it is a reserved address, which has to be protected
    wherever it is. ``is_inside`` tells by its inputs that an address is one of the provider's
    private network.

    ``tags`` is the input of a server that holds its tags. ``has_ipv6`` tells by the inputs whether
    the resource gives its node IPv6. ``lets_in`` reads a rule of the provider's firewall: the
    networks and the TCP ports that they may reach.
    """

    kind: Kind
    quiet: frozenset[str] | None = frozenset()
    quiet_drift: tuple[str, ...] = ()
    protected: bool = False
    reserved: bool = False
    is_inside: Callable[[Inputs], bool] = _never
    tags: str | None = None
    has_ipv6: Callable[[Inputs], bool] | None = None
    lets_in: Callable[[Inputs], Iterator[tuple[str, PortRange]]] | None = None


UNKNOWN = ResourceType(Kind.UNKNOWN)
OTHER = ResourceType(Kind.OTHER)
GROUND = ResourceType(Kind.GROUND)
