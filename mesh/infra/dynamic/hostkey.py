"""The key that a host showed first, as a resource: it outlives every node that stands there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from mesh.infra.dynamic.base import Properties, Stub, difference


class HostKeyProvider(Stub):
    """Trust at first sight, once for each host."""

    def create(self, props: Properties) -> CreateResult:
        """Record the key that the host shows, unless the stack file says which is its own."""
        key = "" if props["host_keys"] else _shown(props, ())
        return CreateResult(props["ipv4"], {**props, "key": key})

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        """Where the stack file gives keys no more, the one of them that is shown is recorded."""
        key = "" if news["host_keys"] else _shown(news, olds["host_keys"])
        return UpdateResult({**news, "key": key})

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """A key belongs to a node and an address, however that is reached; once it is recorded,
        nothing else changes it."""
        return difference(
            olds, news, updates=() if olds["key"] else ("host_keys",), replaces=("node", "ipv4")
        )


def _shown(props: Properties, known: Sequence[str]) -> str:
    """The key that the host shows: one of those that are known, or where none is, any."""
    from mesh.delivery import Target, shown_key

    target = Target(
        node=props["node"],
        provider=props["provider"],
        address=props["ipv4"],
        port=int(props["port"]),
        user=props["user"],
        host_keys=tuple(known),
        trust_first=not known,
        ssh_key=props["ssh_key"],
    )
    return shown_key(target)


@dataclass(frozen=True)
class HostKeyArgs:
    """How the host is reached; ``host_keys`` are the public keys that the stack file gives."""

    node: str
    provider: str
    ipv4: str
    port: int
    user: str
    host_keys: Sequence[str]
    ssh_key: Input[str]


class HostKey(Resource, module="host", name="HostKey"):
    """The key of one host. ``key`` is type and base64; empty where the stack file gives keys."""

    key: Output[str]

    def __init__(self, name: str, args: HostKeyArgs, opts: ResourceOptions | None = None) -> None:
        props: dict[str, Any] = {
            **vars(args),
            "host_keys": list(args.host_keys),
            "ssh_key": Output.secret(args.ssh_key),
            "key": None,
        }
        super().__init__(HostKeyProvider(), name, props, opts)
