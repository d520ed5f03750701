"""The publication of a generation: what `pulumi up` waits for last."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
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
from pulumi.output import contains_unknowns

from mesh.infra.dynamic.base import Properties, Stub, changed, progress
from mesh.infra.dynamic.candidate import CODE, Candidate, digests, is_known_since, is_unfinished

if TYPE_CHECKING:
    from mesh.facts import Placement
    from mesh.plan import Plan
    from mesh.publish import Fleet, Instance, Order, SealedBefore

UPDATES = (
    "plan",
    "operator_key",
    "passwords",
    "instances",
    "bundle",
    "registries",
    "namespace",
    "contents",
    "receivers",
)
"""A change of any of these is a new generation; nothing ever replaces the publication."""

READ_SECONDS, RETIRE_SECONDS = 10.0, 60.0
"""Seconds for a refresh to reach the registries, and for a fleet to report that it is retired: the
fleet may be dead, so neither waits as long as a publication."""


class PublishProvider(Stub):
    """Pushes the bundle, waits for joins, signs, and waits for the fleet's signed reports."""

    def check(self, olds: Properties, news: Properties) -> CheckResult:
        """Find out from the inputs in the state whether a publication was begun and not finished,
        and which code's files are those that nodes have: the engine updates them whenever it gets
        past this resource."""
        seen = {
            "unfinished": is_unfinished(olds.get("candidate"), news.get("candidate")),
            "compared": _code(olds),
        }
        failures = [] if _is_candidate(news) else [CheckFailure("candidate", NOT_CANDIDATE)]
        failures += [CheckFailure("", why) for why in _serials(olds, news)]
        return CheckResult({**news, **seen}, failures)

    def create(self, props: Properties) -> CreateResult:
        """The first generation of this state; its number is above what the registries hold."""
        return CreateResult("generation", _published({}, props, None))

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        """The next generation."""
        return UpdateResult(_published(olds, news, _fleet(olds)))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """A change of what is published, an unfinished publication, registries without it at the
        last refresh, or files that this checkout renders differently."""
        # A refresh compares with the inputs of the last update, which may have finished it.
        left = news.get("unfinished") and news.get("candidate") != olds.get("candidate")
        changes = bool(
            left
            or not olds.get("held", True)
            or changed(UPDATES, olds, news)
            or _renders_otherwise(olds, news)
        )
        return DiffResult(changes=changes, replaces=[])

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether the registries hold this generation and none above it; if not, `up` publishes
        again."""
        from mesh.publish import published

        try:
            fleet = _fleet(props)
            held = fleet is not None and published(_order(props, READ_SECONDS), fleet, progress)
        except ValueError:
            held = False  # what another version of this code published
        return ReadResult(id_, {**props, "held": held})

    def delete(self, _id: str, props: Properties) -> None:
        """Retire the fleet, so that the last announcer withdraws too."""
        from mesh.publish import retire

        try:
            fleet = _fleet(props)
            if fleet is not None:
                retire(_order(props, RETIRE_SECONDS), fleet, progress)
        except ValueError as error:
            # Another version of this code published it; the servers can be deleted all the same.
            progress(f"warning: the fleet is not retired: {error}")


def _published(olds: Properties, props: Properties, fleet: Fleet | None) -> Properties:
    from mesh.publish import PublishError, dump_fleet, publish
    from mesh.publish.choices import Choices

    order = _order(props, float(props["deadline"]), _bundle(props))
    try:
        choices = Choices.of(os.environ)
    except ValueError as error:
        raise PublishError(f"{error}; set it with mesh rollout") from None
    known = _sealed_before(olds, props, fleet)
    order = replace(order, choices=choices, sealed_before=known)
    done, digests_of_files = publish(order, fleet, progress, _plan_before(olds))
    return {
        **{key: props.get(key) for key in (*UPDATES, "deadline", "candidate", "wanted", "folders")},
        "held": True,
        "unfinished": False,
        "generation": done.generation,
        "manifest": done.manifest_sha256,
        "fleet": dump_fleet(done),
        "rendered": digests_of_files,
    }


def _sealed_before(olds: Properties, props: Properties, fleet: Fleet | None) -> SealedBefore | None:
    """Which secrets nodes have. Updates that did not finish may have published others than those
    of the state."""
    from mesh.publish import SealedBefore
    from mesh.spec import PASSWORD_PREFIX, RECEIVER_PREFIX

    if fleet is None:
        return None
    changed: set[str] = set()
    for key, prefix in (("passwords", PASSWORD_PREFIX), ("receivers", RECEIVER_PREFIX)):
        before, now = olds.get(key) or {}, props.get(key) or {}
        names = (n for n in {*before, *now} if before.get(n) != now.get(n))
        changed |= {prefix + name for name in names}
    known = is_known_since(olds.get("candidate"), props.get("candidate"), props.get("sealed"))
    return SealedBefore(
        fleet.generation, frozenset(changed), fleet.generation + 1 if known else None
    )


def _plan_before(olds: Properties) -> Plan | None:
    """The plan of the last publication; None if another version of this code wrote it in a form
    that cannot be read."""
    from mesh.plan.document import read_plan

    try:
        return read_plan(olds["plan"])
    except (ValueError, KeyError):
        return None


NOT_CANDIDATE = (
    "what is to be published is not what mesh-candidate holds, because that was left out of this "
    "run; name both: --target '**mesh-candidate' --target '**mesh-generation'"
)


def _is_candidate(news: Properties) -> bool:
    """Whether these inputs match the candidate's digests; true where some are not known yet."""
    shown = news.get("wanted")
    if shown is None or contains_unknowns([news.get(key) for key in (*UPDATES, "wanted")]):
        return True
    own = digests(news["operator_key"], _parts(news), news["passwords"], news.get("receivers"))
    return all(shown.get(part) == digest for part, digest in own.items())


def _parts(props: Mapping[str, Any]) -> dict[str, Any]:
    """The published parts by name, without the secrets, which have digests of their own."""
    hidden = ("operator_key", "passwords", "receivers")
    parts = {key: props.get(key) for key in UPDATES if key not in hidden}
    if parts["contents"] is None:
        del parts["contents"]  # as in states of earlier versions, which had none
    return parts


def _serials(olds: Properties, news: Properties) -> list[str]:
    """The zones that would change without a higher serial."""
    before, after = olds.get("contents"), news.get("contents")
    # Nearly always the same, and what reads them takes long to import.
    if before is None or after is None or before == after:
        return []
    from mesh.content import serials

    return list(serials.problems(before, after))


def _renders_otherwise(olds: Properties, news: Properties) -> bool:
    """Whether this checkout renders other bytes for some node from the same inputs and the facts
    of the last publication. With the code that published them, or that was compared in the last
    update, nothing is rendered, which takes seconds for hundreds of nodes."""
    before = olds.get("rendered")
    if before is None:
        progress("published by an earlier version of this code: it is not known what was rendered")
        return True
    code = _code(news)
    if code is not None and code in (_code(olds), news.get("compared")):
        return False
    try:
        fleet = _fleet(olds)
        now = {} if fleet is None else rendered(news, fleet)
    except Exception as error:
        progress(f"what nodes get cannot be rendered: {type(error).__name__}: {error}")
        return True
    from mesh.publish.rendered import differing

    names = differing(before, now)
    if names:
        progress(f"this checkout renders other files: {names}")
    return bool(names)


def _code(props: Properties) -> object:
    """The digest of the rendering code."""
    wanted = props.get("wanted")
    return wanted.get(CODE) if isinstance(wanted, Mapping) else None


def rendered(props: Mapping[str, Any], fleet: Fleet) -> dict[str, str]:
    """Digests of what this checkout renders for the members of a fleet from these inputs."""
    from mesh.plan.document import read_plan
    from mesh.publish.rendered import digests as rendered_digests

    facts = {node: member.facts for node, member in fleet.members.items()}
    places = {node: _placement(given) for node, given in props["instances"].items()}
    return rendered_digests(read_plan(props["plan"]), facts, places, dict(props["registries"]))


def _fleet(props: Properties) -> Fleet | None:
    from mesh.publish import load_fleet, named

    # Earlier versions kept no name of the network; the plan beside the fleet has it.
    if not props.get("fleet"):
        return None
    return named(load_fleet(props["fleet"]), props.get("plan") or "")


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
    """The order of these properties. Reading and retiring need no bundle, and work from a newer
    checkout than the published one."""
    from mesh.plan.document import read_plan
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
        contents={name: Path(path) for name, path in (props.get("folders") or {}).items()},
        receivers=dict(props.get("receivers") or {}),
    )


def _instance(node_id: str, given: Mapping[str, Any], operator_key: str) -> Instance:
    from mesh.publish import Instance
    from mesh.trust.keys import join_token

    return Instance(
        instance_id=given["id"],
        created=given["created"],
        token=join_token(operator_key, node_id),
        placement=_placement(given),
    )


def _placement(given: Mapping[str, Any]) -> Placement:
    from ipaddress import IPv4Address, IPv6Address

    from mesh.facts import Placement

    ipv6, inside = given.get("ipv6"), given.get("inside")
    return Placement(
        ipv4=IPv4Address(given["ipv4"]),
        ipv6=IPv6Address(ipv6) if ipv6 else None,
        inside=IPv4Address(inside) if inside else None,
        routers=tuple(IPv4Address(router) for router in given.get("routers") or ()),
    )


@dataclass(frozen=True)
class PublishArgs:
    """What is published, and where.

    ``plan`` is a plan as text (:func:`mesh.plan.document.write_plan`), ``bundle`` the
    SHA-256 of the bundle. ``passwords`` is keyed by provider, ``instances`` by node id with
    ``id``, ``created`` and where it is (:class:`mesh.facts.Placement`), ``registries`` maps node
    ids to URLs, ``namespace`` is the network namespace of every connection, ``deadline`` is
    seconds. ``contents`` are those of the plan by service, as text
    (:func:`mesh.content.serials.write_contents`), ``folders`` their directories on this machine;
    None where there are none. ``receivers`` is what receivers of alerts keep to themselves, by
    their names; None without any.
    """

    plan: str
    operator_key: Input[str]
    passwords: Input[Mapping[str, str]]
    instances: Mapping[str, Mapping[str, Any]]
    bundle: str
    registries: Mapping[str, Input[str]]
    namespace: str | None
    deadline: float
    contents: str | None = None
    folders: Mapping[str, str] | None = None
    receivers: Input[Mapping[str, str]] | None = None

    def candidate(self) -> Output[dict[str, str]]:
        """What distinguishes this candidate (:func:`mesh.infra.dynamic.candidate.digests`)."""
        return Output.unsecret(
            Output.all(**vars(self)).apply(
                lambda given: digests(
                    given["operator_key"], _parts(given), given["passwords"], given["receivers"]
                )
            )
        )


class Publish(Resource, module="mesh", name="Publish"):
    """The fleet on one signed generation. ``fleet`` holds the members' public facts as JSON,
    ``rendered`` digests of their files (:func:`mesh.publish.rendered.digests`)."""

    generation: Output[int]
    manifest: Output[str]
    fleet: Output[str]

    def __init__(
        self,
        name: str,
        args: PublishArgs,
        candidate: Candidate,
        opts: ResourceOptions | None = None,
    ) -> None:
        props: dict[str, Any] = {
            **vars(args),
            "operator_key": Output.secret(args.operator_key),
            "passwords": Output.secret(args.passwords),
            "receivers": None if args.receivers is None else Output.secret(args.receivers),
            "candidate": candidate.serial,
            "sealed": candidate.sealed,
            "wanted": candidate.wanted,
            "generation": None,
            "manifest": None,
            "fleet": None,
            "rendered": None,
        }
        super().__init__(PublishProvider(), name, props, opts)
