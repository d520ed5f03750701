"""An existing host as a resource: what is delivered to it, and removed from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    UpdateResult,
)

from mesh.infra.dynamic.base import Properties, Stub, difference, gone, progress

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from mesh.ssh import Load, Target

FIXED_AT_CREATION = ("user_data", "admin")
"""Inputs of the delivery only; a change is ignored on a running host."""

REACHED_BY = ("user", "port", "host_keys", "host_key", "ssh_key", "ipv6")
"""Inputs that may change on a running host, if it can be reached by the new ones."""


class HostProvider(Stub):
    """Hosts without an API, over SSH."""

    def check(self, olds: Properties, news: Properties) -> CheckResult:
        """The preflight of a new host, before anything is made. A host that is a node already is
        not asked, so that later previews need no connection to it."""
        if olds:
            return CheckResult(news, [])
        from mesh.ssh import examine

        target = _target(news)
        # Without a recorded key any is accepted here; for a delivery it has to be the recorded one.
        target = replace(target, patience=PREVIEW_SECONDS, trust_first=not target.host_keys)
        found = examine(target, news["ipv6"], _admin(news))
        return CheckResult(news, [CheckFailure("", str(problem)) for problem in found])

    def create(self, props: Properties) -> CreateResult:
        """Deliver the node, or continue an interrupted delivery."""
        from mesh.ssh import deliver

        done = deliver(_target(props), _load(props), progress)
        outs = {**props, "instance_id": done.instance_id, "created": done.created}
        return CreateResult(done.instance_id, outs)

    def update(self, id_: str, olds: Properties, news: Properties) -> UpdateResult:
        """Reach the same host by other parameters, once they are checked."""
        from mesh.spec import Problem
        from mesh.ssh import DeliveryError, is_there

        # A recorded key is never replaced by another one that the host shows.
        target = _target({**news, "host_key": olds["host_key"] or news["host_key"]})
        if not is_there(target, id_):
            problem = Problem(
                target.key("ssh"), f"{target.user}@{target.address}",
                f"what is reached there is not the instance {id_}",
                "run `pulumi refresh`, which finds what became of it, and `pulumi up` again",
            )  # fmt: skip
            raise DeliveryError(problem)
        kept = {key: olds[key] for key in ("instance_id", "created")}
        return UpdateResult({**news, **kept})

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Another address is another host; other parameters to reach it are not."""
        replaces = ("node", "ipv4", "os", *FIXED_AT_CREATION)
        # States of earlier versions have no system.
        olds, news = ({"os": "debian", **given} for given in (olds, news))
        return difference(
            olds, news, updates=REACHED_BY, replaces=replaces, delete_before_replace=True
        )

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether the host still is this instance. One that does not answer is kept: an outage
        must not replace it."""
        from mesh.ssh import HostUnreachable, is_there

        try:
            there = is_there(_target(props), id_)
        except HostUnreachable as error:
            progress(f"warning: kept as it is in the state: {error}")
            return ReadResult(id_, props)
        if not there:
            progress(f"{props['node']}: {props['ipv4']} is not instance {id_} any more")
            return gone()
        return ReadResult(id_, props)

    def delete(self, id_: str, props: Properties) -> None:
        """Remove this instance from its host. One that cannot be reached is an error: it would keep
        our keys and announcements."""
        from mesh.ssh import HostUnreachable, withdraw
        from mesh.ssh.problems import beyond_reach

        try:
            withdraw(_target(props), id_, progress)
        except HostUnreachable as error:
            raise beyond_reach(error, _target(props)) from None


PREVIEW_SECONDS = 8.0
"""Seconds that a preview waits for a host."""


def _target(props: Properties) -> Target:
    """The host with the keys of the stack file, or else the recorded one; without any where that is
    not known yet."""
    from mesh.operating_systems import OperatingSystem
    from mesh.ssh import Target

    recorded = props["host_key"]
    # In a preview it may be the engine's unknown value, which is no text.
    known = [recorded] if isinstance(recorded, str) and recorded else []
    return Target(
        node=props["node"],
        provider=props["provider"],
        address=props["ipv4"],
        port=int(props["port"]),
        user=props["user"],
        host_keys=tuple(props["host_keys"] or known),
        trust_first=False,
        ssh_key=props["ssh_key"],
        os=OperatingSystem(props.get("os", "debian")),
    )


def _admin(props: Properties) -> tuple[IPv4Network | IPv6Network, ...]:
    from ipaddress import ip_network

    return tuple(ip_network(text) for text in props["admin"])


def _load(props: Properties) -> Load:
    from mesh.agent import bundle
    from mesh.ssh import Load

    return Load(
        user_data=props["user_data"],
        bundle=bundle.build(),
        ipv6=props["ipv6"],
        admin=_admin(props),
    )


@dataclass(frozen=True)
class HostArgs:
    """A host: its address, how it is reached, and what is delivered to it. ``host_keys`` are
    public keys (type and base64) of the stack file, ``host_key`` is the recorded one, and ``admin``
    are the networks that its firewall lets log in."""

    node: str
    provider: str
    ipv4: str
    ipv6: str | None
    port: int
    user: str
    host_keys: Sequence[str]
    host_key: Input[str]
    admin: Sequence[str]
    ssh_key: Input[str]
    os: str
    user_data: Input[str]


class Host(Resource, module="host", name="Host"):
    """A node on its host. ``created`` is RFC 3339."""

    instance_id: Output[str]
    created: Output[str]

    def __init__(self, name: str, args: HostArgs, opts: ResourceOptions | None = None) -> None:
        props: dict[str, Any] = {
            **vars(args),
            "host_keys": list(args.host_keys),
            "admin": list(args.admin),
            "ssh_key": Output.secret(args.ssh_key),
            "user_data": Output.secret(args.user_data),
            "instance_id": None,
            "created": None,
        }
        super().__init__(HostProvider(), name, props, opts)
