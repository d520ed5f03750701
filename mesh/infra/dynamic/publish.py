"""The publication of a generation: what `pulumi up` waits for last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from mesh.infra.dynamic.base import Properties, Stub, difference

if TYPE_CHECKING:
    from mesh.publish import Fleet, Instance, Order

UPDATES = (
    "plan",
    "operator_key",
    "passwords",
    "instances",
    "bundle",
    "sources",
    "registries",
    "namespace",
)
"""A change of any of these is a new generation; nothing ever replaces the publication."""

LOOK, FAREWELL = 10.0, 60.0
"""Seconds for a refresh to hear from the registries, and for a fleet to hear that it is retired:
both meet dead fleets, and must not wait as long as a publication does."""


class PublishProvider(Stub):
    """Pushes the bundle, waits for joins, signs, and waits for the fleet's signed reports."""

    def create(self, props: Properties) -> CreateResult:
        """The first generation of this state; above whatever the registries hold already."""
        return CreateResult("generation", _published(props, None))

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        """The next generation."""
        return UpdateResult(_published(news, _fleet(olds)))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """A change of what is published, or registries that were seen without it."""
        if not olds.get("held", True):
            return DiffResult(changes=True)
        return difference(olds, news, updates=UPDATES)

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether the registries still hold this generation; if not, `up` publishes again."""
        from mesh.publish import published

        try:
            fleet = _fleet(props)
            held = fleet is not None and published(_order(props, LOOK), fleet)
        except ValueError:
            held = False  # what another version of this code published
        return ReadResult(id_, {**props, "held": held})

    def delete(self, _id: str, props: Properties) -> None:
        """Tell the fleet that it is retired, so that nothing holds on to the last announcer."""
        from mesh.publish import retire

        try:
            fleet = _fleet(props)
            if fleet is not None:
                retire(_order(props, FAREWELL), fleet, _say)
        except ValueError as error:
            # Another version of this code published it; the servers can go all the same.
            _say(f"warning: the fleet is not told that it is retired: {error}")


def _say(line: str) -> None:
    """Progress under the resource; without a flush the engine would show it at the end."""
    from mesh.spec.problems import printable

    print(printable(line), flush=True)


def _published(props: Properties, fleet: Fleet | None) -> Properties:
    from mesh.publish import dump_fleet, publish

    order = _order(props, float(props["deadline"]), _bundle(props))
    done = publish(order, fleet, _say)
    return {
        **{key: props.get(key) for key in (*UPDATES, "deadline")},
        "held": True,
        "generation": done.generation,
        "manifest": done.manifest_sha256,
        "fleet": dump_fleet(done),
    }


def _fleet(props: Properties) -> Fleet | None:
    from mesh.publish import load_fleet

    return load_fleet(props["fleet"]) if props.get("fleet") else None


def _bundle(props: Properties) -> bytes:
    from mesh.agent import bundle
    from mesh.publish import PublishError

    built = bundle.build()
    if bundle.digest(built) != props["bundle"]:
        raise PublishError(
            "the sources under mesh/ changed while this update ran, so the bundle is not the one "
            "that was planned; run `pulumi up` again"
        )
    return built


def _order(props: Properties, deadline: float, bundle: bytes = b"") -> Order:
    """The order of these properties. Looking and retiring need no bundle, and work from a newer
    checkout than the one that was published."""
    from mesh.infra.dynamic.documents import read_plan
    from mesh.publish import Order

    return Order(
        plan=read_plan(props["plan"]),
        operator_key=props["operator_key"],
        passwords=dict(props["passwords"]),
        instances={
            node_id: _instance(node_id, given, props["operator_key"])
            for node_id, given in props["instances"].items()
        },
        bundle=bundle,
        registries=dict(props["registries"]),
        namespace=props.get("namespace"),
        deadline=deadline,
    )


def _instance(node_id: str, given: Mapping[str, Any], operator_key: str) -> Instance:
    from ipaddress import IPv4Address, IPv6Address

    from mesh.facts import Placement
    from mesh.publish import Instance
    from mesh.trust.keys import join_token

    ipv6, inside = given.get("ipv6"), given.get("inside")
    return Instance(
        instance_id=given["id"],
        created=given["created"],
        token=join_token(operator_key, node_id),
        placement=Placement(
            ipv4=IPv4Address(given["ipv4"]),
            ipv6=IPv6Address(ipv6) if ipv6 else None,
            inside=IPv4Address(inside) if inside else None,
            routers=tuple(IPv4Address(router) for router in given.get("routers") or ()),
        ),
    )


@dataclass(frozen=True)
class PublishArgs:
    """What is published, and where.

    ``plan`` is a plan as text (:func:`mesh.infra.dynamic.documents.write_plan`), ``bundle`` the
    SHA-256 of the bundle, ``sources`` that of what a node's files are made of. ``passwords`` is
    keyed by provider, ``instances`` by node id with ``id``, ``created`` and where it is
    (:class:`mesh.facts.Placement`), ``registries`` maps node ids to URLs, ``namespace`` is the
    network namespace of every connection, ``deadline`` is seconds.
    """

    plan: str
    operator_key: Input[str]
    passwords: Input[Mapping[str, str]]
    instances: Mapping[str, Mapping[str, Any]]
    bundle: str
    sources: str
    registries: Mapping[str, Input[str]]
    namespace: str | None
    deadline: float


class Publish(Resource, module="mesh", name="Publish"):
    """The fleet on one signed generation. ``fleet`` holds the members' public facts as JSON."""

    generation: Output[int]
    manifest: Output[str]
    fleet: Output[str]

    def __init__(self, name: str, args: PublishArgs, opts: ResourceOptions | None = None) -> None:
        props: dict[str, Any] = {
            **vars(args),
            "operator_key": Output.secret(args.operator_key),
            "passwords": Output.secret(args.passwords),
            "generation": None,
            "manifest": None,
            "fleet": None,
        }
        super().__init__(PublishProvider(), name, props, opts)
