"""The key that a host showed first, as a resource that outlives the nodes on that host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from mesh.infra.dynamic.base import Properties, Stub, difference, progress

if TYPE_CHECKING:
    from mesh.ssh import Target


class HostKeyProvider(Stub):
    """Trust on first use, once for each host."""

    def create(self, props: Properties) -> CreateResult:
        """Record the key that the host shows, unless the stack file has its keys."""
        key = "" if props["host_keys"] else _shown(props, ())
        return CreateResult(props["ipv4"], {**props, "key": key})

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        """Where the stack file no longer has keys, record the one of them that the host shows."""
        key = "" if news["host_keys"] else _shown(news, olds["host_keys"])
        return UpdateResult({**news, "key": key})

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """A key belongs to a node and an address; once it is recorded, nothing else changes it."""
        return difference(
            olds, news, updates=() if olds["key"] else ("host_keys",), replaces=("node", "ipv4")
        )

    def delete(self, _id: str, props: Properties) -> None:
        """Warn where a delivery that was interrupted before the state had it left something on the
        host. Its instance is not known here, so nothing is removed unasked."""
        from mesh.ssh import REMOVE, DeliveryError, is_left

        node, known = props["node"], [*props["host_keys"], *filter(None, [props["key"]])]
        target = _target(props, known, trust_first=False)
        try:
            if is_left(target):
                progress(
                    f"warning: {node}: {props['ipv4']} still holds what an update that did not "
                    f"finish delivered there; on the host, as root: {REMOVE[target.os]}"
                )
        except DeliveryError as error:
            progress(f"warning: {node}: it is unknown whether its host still holds a node: {error}")


def _shown(props: Properties, known: Sequence[str]) -> str:
    """The key that the host shows: one of the known ones, or any where none is known."""
    from mesh.ssh import shown_key

    return shown_key(_target(props, known, trust_first=not known))


def _target(props: Properties, known: Sequence[str], *, trust_first: bool) -> Target:
    from mesh.operating_systems import OperatingSystem
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
        # States of earlier versions have none.
        os=OperatingSystem(props.get("os", "debian")),
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
    os: str


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
