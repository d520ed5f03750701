"""A host that exists already, as a resource: what is delivered to it, and taken back from it."""

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

from mesh.infra.dynamic.base import Properties, Stub, difference, gone, say

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from mesh.ssh import Load, Target

SETTLED_AT_BIRTH = ("user_data", "admin")
"""What matters at the delivery only; a host that runs ignores a change."""

REACHED_BY = ("user", "port", "host_keys", "host_key", "ssh_key", "ipv6")
"""What may change under a host that runs, if it can be reached by it."""


class HostProvider(Stub):
    """Hosts without an API, over SSH."""

    def check(self, olds: Properties, news: Properties) -> CheckResult:
        """What a delivery would meet, asked of the host itself before anything is made: at the
        preview of a host that is to come. One that is a node already is not disturbed, so that
        later previews need no way to it."""
        if olds:
            return CheckResult(news, [])
        from mesh.ssh import examine

        target = _target(news)
        # Before the first key is on record any will do for a look; by none is anything delivered.
        target = replace(target, patience=LOOK, trust_first=not target.host_keys)
        found = examine(target, news["ipv6"], _admin(news))
        return CheckResult(news, [CheckFailure("", str(problem)) for problem in found])

    def create(self, props: Properties) -> CreateResult:
        """Deliver the node; a delivery that was cut is gone on with."""
        from mesh.ssh import deliver

        done = deliver(_target(props), _load(props), say)
        outs = {**props, "instance_id": done.instance_id, "created": done.created}
        return CreateResult(done.instance_id, outs)

    def update(self, id_: str, olds: Properties, news: Properties) -> UpdateResult:
        """Another way to the same host: taken once it leads there."""
        from mesh.spec import Problem
        from mesh.ssh import DeliveryError, is_there

        # A key that is known is never given up for another one that was only shown.
        target = _target({**news, "host_key": olds["host_key"] or news["host_key"]})
        if not is_there(target, id_):
            problem = Problem(
                target.key("ssh"), f"{target.user}@{target.address}",
                f"what is reached there is not the instance {id_}",
                "run `pulumi refresh`, which sees what became of it, and `pulumi up` again",
            )  # fmt: skip
            raise DeliveryError(problem)
        kept = {key: olds[key] for key in ("instance_id", "created")}
        return UpdateResult({**news, **kept})

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Another address is another host; another way to the same one is not."""
        replaces = ("node", "ipv4", *SETTLED_AT_BIRTH)
        return difference(
            olds, news, updates=REACHED_BY, replaces=replaces, delete_before_replace=True
        )

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether the host still is this instance. One that does not answer is no news: it would
        be made anew, and its place taken, for a cable that was cut."""
        from mesh.ssh import Unreachable, is_there

        try:
            there = is_there(_target(props), id_)
        except Unreachable as error:
            say(f"warning: kept as it was known: {error}")
            return ReadResult(id_, props)
        if not there:
            say(f"{props['node']}: {props['ipv4']} is not instance {id_} any more")
            return gone()
        return ReadResult(id_, props)

    def delete(self, id_: str, props: Properties) -> None:
        """Take this instance from its host. One that cannot be reached is an error: it would go on
        with our keys and announcements, and nobody would know."""
        from mesh.ssh import Unreachable, withdraw
        from mesh.ssh.problems import beyond_reach

        try:
            withdraw(_target(props), id_, say)
        except Unreachable as error:
            raise beyond_reach(error, props["node"]) from None


LOOK = 8.0
"""Seconds that a preview waits for a host."""


def _target(props: Properties) -> Target:
    """The host, believed by the keys that the stack file gives, or else by the one on record; by
    none where that is not known yet."""
    from mesh.ssh import Target

    recorded = props["host_key"]
    # At a preview it may be the engine's mark of what is not known yet, which is no text.
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
    """A host: where it is, how it is reached, and what is delivered to it. ``host_keys`` are
    public keys (type and base64) that the stack file gives, ``host_key`` the one on record, and
    ``admin`` the networks that its firewall lets log in."""

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
