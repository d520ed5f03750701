"""The operator's key: made once per stack, and the root of its trust."""

from __future__ import annotations

from typing import Any

from pulumi import Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource

from mesh.infra.dynamic.base import Properties, Stub


class OperatorProvider(Stub):
    """Makes the key pair; it never changes, and exists in the state only."""

    def create(self, props: Properties) -> CreateResult:
        """A new Ed25519 key pair, base64."""
        from mesh.trust.keys import new_operator_key

        private, public = new_operator_key()
        return CreateResult(public, {"private": private, "public": public})

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> DiffResult:
        """Never a change: no node would follow another key."""
        return DiffResult(changes=False)


class Operator(Resource, module="mesh", name="Operator"):
    """The operator's key pair; the private half is a secret in the stack's state.

    Its loss means a new fleet.
    """

    private: Output[str]
    public: Output[str]

    def __init__(self, name: str, opts: ResourceOptions | None = None) -> None:
        own = ResourceOptions(additional_secret_outputs=["private"])
        props: dict[str, Any] = {"private": None, "public": None}
        super().__init__(OperatorProvider(), name, props, ResourceOptions.merge(own, opts))
