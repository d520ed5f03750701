"""When a server was created, for a provider whose resource has no such output."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource

from mesh.infra.dynamic.base import Properties, Stub, difference


class BirthProvider(Stub):
    """Records the time at which an instance is first known."""

    def create(self, props: Properties) -> CreateResult:
        """The current time: the provider has just reported that the instance runs."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return CreateResult(props["instance_id"], {**props, "created": created})

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Another instance has another time."""
        return difference(olds, news, replaces=["instance_id"])


class Birth(Resource, module="mesh", name="Birth"):
    """The creation time of one instance, kept in the stack's state: ``created`` is RFC 3339."""

    created: Output[str]

    def __init__(
        self, name: str, instance_id: Input[str], opts: ResourceOptions | None = None
    ) -> None:
        props: dict[str, Any] = {"instance_id": instance_id, "created": None}
        super().__init__(BirthProvider(), name, props, opts)
