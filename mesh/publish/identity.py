"""A network's name: made once and kept in the stack's state.

It distinguishes networks with the same operator key. Renaming the stack or changing the ASN does
not change it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable
from dataclasses import replace

from mesh.plan import Plan
from mesh.publish.order import Fleet
from mesh.trust.documents import MAX_NETWORK, Manifest

_RANDOM_BYTES = 8


def new_network(plan: Plan) -> str:
    """The name of a network that is published for the first time. Its random part distinguishes it
    from a later stack with the same name and operator key."""
    tail = "-" + secrets.token_hex(_RANDOM_BYTES)
    return former_name(plan.asn, plan.stack)[: MAX_NETWORK - len(tail)] + tail


def former_name(asn: int, stack: str) -> str:
    """The name that earlier versions computed at each publication."""
    return f"as{asn}-{stack}"


def named(fleet: Fleet, plan: str) -> Fleet:
    """A fleet of the state with its network's name.

    Earlier versions did not keep it, and computed it from ``plan``, the plan as JSON in the state.
    Only two keys of it are read, since this version may not be able to read the whole. Without
    them the fleet stays as it is.
    """
    if fleet.network is not None:
        return fleet
    try:
        document = json.loads(plan)
        asn, stack = document["asn"], document["stack"]
    except (ValueError, TypeError, KeyError):
        return fleet
    if not isinstance(asn, int) or not isinstance(stack, str):
        return fleet
    return replace(fleet, network=former_name(asn, stack))


def adopted(manifests: Iterable[Manifest], identities: Collection[str]) -> str | None:
    """The network that nodes with these identity keys belong to: that of the highest manifest at
    the registries that contains one of them. None where none does."""
    own = [
        manifest
        for manifest in manifests
        if any(entry.identity in identities for entry in manifest.nodes.values())
    ]
    return max(own, key=lambda one: one.generation).network if own else None
