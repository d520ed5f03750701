"""The network's identity at a provider: made once, and in the state before anything else is made.

It is part of the mark of every object of the network there. Only a stack that makes servers by
Vultr's API has it.
"""

from __future__ import annotations

import secrets
from typing import Any

from pulumi import Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource

from mesh.infra.dynamic.base import Properties, Stub

BYTES = 4


class IdentityProvider(Stub):
    """Makes it at random; it never changes, and exists in the state only."""

    def create(self, _props: Properties) -> CreateResult:
        """8 random hex digits."""
        identity = secrets.token_hex(BYTES)
        return CreateResult(identity, {"identity": identity})

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> DiffResult:
        """Never a change: with another identity all existing objects would be another network's."""
        return DiffResult(changes=False)


class Identity(Resource, module="mesh", name="Identity"):
    """The network's identity at a provider: ``identity`` is 8 hex digits, no secret."""

    identity: Output[str]

    def __init__(self, name: str, opts: ResourceOptions | None = None) -> None:
        props: dict[str, Any] = {"identity": None}
        super().__init__(IdentityProvider(), name, props, opts)
