"""The key that a host showed first, as a resource: it outlives every node that stands there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from mesh.infra.dynamic.base import Properties, Stub, difference, say

if TYPE_CHECKING:
    from mesh.ssh import Target


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

    def delete(self, _id: str, props: Properties) -> None:
        """Nothing is on the host by now, unless a delivery was cut before the state knew of it:
        then no other resource could say so. Its instance is not known here, so nothing is taken
        from the host unasked."""
        from mesh.ssh import REMOVE, DeliveryError, is_left

        node, known = props["node"], [*props["host_keys"], *filter(None, [props["key"]])]
        try:
            if is_left(_target(props, known, trust_first=False)):
                say(
                    f"warning: {node}: {props['ipv4']} still holds what an update that did not "
                    f"finish delivered there; on the host, as root: {REMOVE}"
                )
        except DeliveryError as error:
            say(f"warning: {node}: whether something is left on its host is not known: {error}")


def _shown(props: Properties, known: Sequence[str]) -> str:
    """The key that the host shows: one of those that are known, or where none is, any."""
    from mesh.ssh import shown_key

    return shown_key(_target(props, known, trust_first=not known))


def _target(props: Properties, known: Sequence[str], *, trust_first: bool) -> Target:
    from mesh.ssh import Target

    return Target(
        node=props["node"],
        provider=props["provider"],
        address=props["ipv4"],
        port=int(props["port"]),
        user=props["user"],
        host_keys=tuple(known),
        trust_first=trust_first,
        ssh_key=props["ssh_key"],
    )


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
