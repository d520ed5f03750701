"""What each type of resource is to the network, and what an update does to a server.

The drivers describe the types that they make (``mesh/infra/providers``); this program's own are
here. Any other type is :attr:`Kind.UNKNOWN`: it may be a server, and the gate refuses to replace or
delete it unattended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mesh.infra.providers import RESOURCES
from mesh.infra.providers.resources import OTHER, UNKNOWN, ResourceKind, ResourceType

__all__ = [
    "CANDIDATE",
    "GENERATION",
    "KINDS",
    "OPERATOR",
    "PROTECTED",
    "PROVIDERS",
    "TYPES",
    "ResourceKind",
    "described",
    "kind_of",
    "may_restart",
]

GENERATION = "pulumi-python:dynamic/mesh:Publish"
"""The publication, whose inputs hold the whole plan."""
CANDIDATE = "pulumi-python:dynamic/mesh:Candidate"
"""What is to be published: the state's own count, which concerns no node."""
OPERATOR = "pulumi-python:dynamic/mesh:Operator"
"""The operator's key."""
PROVIDERS = "pulumi:providers:"
"""How the types of the engine's own provider resources begin: they hold no more than settings, and
what a change of them does to a resource is a step of that resource."""

TYPES: Mapping[str, ResourceType] = {
    GENERATION: ResourceType(ResourceKind.ROOT),
    OPERATOR: ResourceType(ResourceKind.ROOT, protected=True),
    CANDIDATE: OTHER,
    "pulumi-python:dynamic/mesh:Birth": OTHER,  # a note of when an instance was made
    **RESOURCES,
}
"""Every type that is known."""

KINDS: Mapping[str, ResourceKind] = {type_: what.kind for type_, what in TYPES.items()}

PROTECTED = frozenset(type_ for type_, what in TYPES.items() if what.protected)
"""What the program protects from deletion (``mesh:protect``), where a node has it or the stack."""


def kind_of(type_: str) -> ResourceKind:
    """What resources of that type are."""
    if type_.startswith(PROVIDERS):
        return ResourceKind.OTHER
    return KINDS.get(type_, ResourceKind.UNKNOWN)


def described(type_: str) -> ResourceType:
    """What is known of resources of that type."""
    return TYPES.get(type_, UNKNOWN)


def may_restart(type_: str, changed: Collection[str], drift: Collection[str] = ()) -> bool:
    """Whether an update may restart a server of that type. ``changed`` are inputs by the provider's
    names, ``drift`` the texts of a refresh. Where neither is known, it may."""
    known = described(type_)
    if known.quiet is None:
        return False
    if not changed and not drift:
        return True
    restarting = [each for each in drift if not each.startswith(known.quiet_drift)]
    return bool(restarting) or not set(changed) <= known.quiet
