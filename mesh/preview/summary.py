"""What a preview means for the network: the servers, sessions and prefixes that it touches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from mesh.infra.providers import DESCRIPTIONS
from mesh.infra.providers.description import FormerResources
from mesh.plan import Plan
from mesh.plan.transition import obstacles
from mesh.preview import access
from mesh.preview.forecast import Forecast, forecast
from mesh.preview.kinds import CANDIDATE, GENERATION, ResourceKind
from mesh.preview.protection import LOST, MISSING, protection
from mesh.preview.reach import (
    Change,
    PrefixChange,
    address_changes,
    firewall_changes,
    node_changes,
    prefix_changes,
    service_changes,
)
from mesh.preview.reasons import PASSWORDS, password_changes, reasons, visible
from mesh.preview.sessions import SessionChange, anew, session_changes
from mesh.preview.steps import Preview, Step, Verb

DONE: dict[Verb, str] = {
    "create": "created",
    "update": "updated",
    "replace": "replaced",
    "delete": "deleted",
    "other": "unknown",
}
"""What happens to a resource, as it is shown."""
FORMER = tuple(each.former for each in DESCRIPTIONS.values() if each.former is not None)
"""The providers' former resources."""
OTHERS = (ResourceKind.NETWORK, ResourceKind.ROOT, ResourceKind.OTHER, ResourceKind.UNKNOWN)
"""The kinds that are shown together, after those that a node has of its own."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A resource that the change touches. ``restarts`` is whether a server that is updated in place
    may be restarted by it."""

    kind: ResourceKind
    fate: str
    node: str | None
    type: str
    name: str
    reasons: tuple[str, ...]
    restarts: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """What a change touches. Empty where it touches nothing.

    ``generation`` is what is published (``first``, ``next``, None for nothing) and ``because`` of
    what; ``forecast`` is how it will go out, None where the plans cannot be compared.
    ``protection`` names what is not protected from deletion, or is again. ``notes`` are the
    providers' (the monthly cost), and what cannot be seen in this preview.
    """

    stack: str
    counts: dict[str, int]
    servers: tuple[Touched, ...]
    addresses: tuple[Touched, ...]
    firewalls: tuple[Touched, ...]
    others: tuple[Touched, ...]
    generation: str | None
    because: tuple[str, ...]
    nodes: tuple[Change, ...]
    sessions: tuple[SessionChange, ...]
    prefixes: tuple[PrefixChange, ...]
    announced: tuple[Change, ...]
    services: tuple[Change, ...]
    ports: tuple[Change, ...]
    protection: tuple[Change, ...]
    notes: tuple[str, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    forecast: Forecast | None = None


def summarise(preview: Preview) -> Summary:
    """What this preview's change touches."""
    changed = [step for step in preview.steps if step.verb in DONE]
    counted = [step for step in changed if step.custom and step.type != CANDIDATE]
    touched = {kind: tuple(_touched(counted, kind)) for kind in ResourceKind}
    generation = preview.generation
    published = generation is not None and generation.verb in ("create", "update")
    before, after = preview.before, preview.after
    comparable = after is not None and (before is not None or is_first(preview))
    sessions = session_fates(preview) if comparable else ()
    in_place = sessions_in_place(preview, sessions)
    begun = anew(in_place, after) if after else {}
    return Summary(
        stack=preview.stack,
        counts=_counts(counted, preview),
        servers=touched[ResourceKind.SERVER],
        addresses=touched[ResourceKind.ADDRESS],
        firewalls=touched[ResourceKind.FIREWALL],
        others=tuple(each for kind in OTHERS for each in touched[kind]),
        generation=("first" if is_first(preview) else "next") if published else None,
        because=reasons(preview),
        nodes=tuple(node_changes(before, after)) if comparable and after else (),
        sessions=sessions,
        prefixes=tuple(
            prefix_changes(before, after, disturbed(preview), begun, in_turn(before, after))
        )
        if comparable and after
        else (),
        announced=tuple(address_changes(before, after)) if comparable and after else (),
        services=tuple(service_changes(before, after)) if comparable and after else (),
        ports=tuple(firewall_changes(before, after)) if comparable and after else (),
        protection=tuple(protection(preview)),
        notes=(
            *preview.notes,
            *_former_notes(preview),
            *_protected(preview),
            *_off(preview),
            *_restarted(preview, begun),
            *_obstacles(preview),
            *(access.notes(before, after) if after else ()),
            *_unknown_changes(preview),
        ),
        errors=preview.errors,
        warnings=preview.warnings,
        forecast=forecast(before, after, _standing(preview), in_place)
        if comparable and after and published
        else None,
    )


def _standing(preview: Preview) -> set[str]:
    """The nodes that have a generation in force and keep their servers."""
    known = set() if preview.before is None else {node.id for node in preview.before.nodes}
    return known - servers(preview, "create", "replace", "delete").keys()


def is_first(preview: Preview) -> bool:
    """Whether nothing has been published from this stack yet."""
    return preview.generation is not None and preview.generation.verb == "create"


def servers(preview: Preview, *verbs: Verb) -> dict[str, Step]:
    """The nodes whose server sees one of these."""
    return {
        step.node: step
        for step in preview.steps
        if step.kind is ResourceKind.SERVER and step.verb in verbs and step.node is not None
    }


def disturbed(preview: Preview) -> tuple[str, ...]:
    """The nodes that lose their server, for a while or for good: it goes, or may be restarted. What
    a node has of an unknown type may be its server."""
    return tuple(
        sorted(
            {
                step.node
                for step in preview.steps
                if step.node is not None
                and step.custom
                and (
                    (step.kind in (ResourceKind.SERVER, ResourceKind.UNKNOWN) and step.ends)
                    or step.restarts
                )
            }
        )
    )


def changed_passwords(preview: Preview, plan: Plan) -> Collection[str]:
    """The names of the BGP passwords that change, or all names where it is unknown which.

    The engine shows every secret alike, but the candidate has a digest of each. A resource of an
    earlier version that holds passwords, is updated, and whose visible inputs are all the same, is
    updated for a secret.
    """
    generation = preview.generation
    known = None if generation is None else password_changes(generation)
    if known is not None:
        return set(known) & passwords(plan)
    secret = [
        step
        for step in preview.steps
        if step.verb == "update" and PASSWORDS in step.old and not _differing(step)
    ]
    return passwords(plan) if secret else ()


def _differing(step: Step) -> tuple[str, ...]:
    return visible(step) if step.type == GENERATION else step.differing


def passwords(plan: Plan) -> set[str]:
    """The names of the BGP passwords that a plan's sessions use."""
    used = {up.password for node in plan.nodes for up in node.upstreams}
    used |= {inside.password for node in plan.nodes for inside in node.vpc}
    return {name for name in used if name is not None}


def session_fates(preview: Preview) -> tuple[SessionChange, ...]:
    """What becomes of the sessions; empty where the preview does not contain the new plan."""
    if preview.after is None:
        return ()
    servers = _server_fates(preview)
    changed = changed_passwords(preview, preview.after)
    return session_changes(preview.before, preview.after, servers, changed)


def sessions_in_place(
    preview: Preview, changes: Iterable[SessionChange]
) -> tuple[SessionChange, ...]:
    """Those of the changes that come by the new generation, and not with a server."""
    servers = _server_fates(preview)
    return tuple(each for each in changes if not servers.keys() & set(each.session.nodes))


def _server_fates(preview: Preview) -> dict[str, str]:
    fates = dict.fromkeys(disturbed(preview), "updated, and may be restarted")
    for node, step in servers(preview, "create", "replace", "delete").items():
        fates[node] = "made again" if step.verb == "create" else DONE[step.verb]
    return fates


def _counts(counted: Iterable[Step], preview: Preview) -> dict[str, int]:
    """How many resources have which fate; changes of their protection are counted beside."""
    found = Counter(DONE[step.verb] for step in counted)
    found += Counter(each.fate for each in protection(preview) if each.fate != MISSING)
    return dict(sorted(found.items()))


def _touched(steps: Iterable[Step], kind: ResourceKind) -> Iterable[Touched]:
    # The engine's own order differs from run to run.
    for step in sorted(steps, key=lambda each: (each.node or "", each.name)):
        # The publication is shown apart.
        if step.kind is kind and not _is_publication(step):
            seen = (*step.differing, *step.drift) if step.verb == "update" else ()
            reasons = step.reasons or seen
            yield Touched(
                kind, DONE[step.verb], step.node, step.type, step.name, reasons, step.restarts
            )


def _is_publication(step: Step) -> bool:
    return step.type.endswith(":Publish")


def _off(preview: Preview) -> Iterator[str]:
    """What to do where protection is off, or goes away."""
    if any(each.fate in (LOST, MISSING) for each in protection(preview)):
        yield (
            "mesh:protect is false, so addresses and the operator's key can be deleted by mistake: "
            f"`pulumi config rm mesh:protect --stack {preview.stack}`; a network is ended by "
            f"`mesh destroy --stack {preview.stack}`"
        )


def _restarted(preview: Preview, begun: Mapping[str, Collection[str]]) -> Iterator[str]:
    """The prefixes that the new generation withdraws for a while: every session starts anew, and
    all at once, or at the only node that announces them."""
    before, after = preview.before, preview.after
    for each in before.aggregates if before else ():
        prefix, planned = each.prefix, each.nodes
        if not planned or not set(planned) <= set(begun.get(f"ipv{prefix.version}", ())):
            continue
        where = "everywhere at once"
        if after is not None and in_turn(before, after):
            if len(planned) > 1:
                continue
            where = f"at {planned[0]}, which alone is to announce it"
        yield (
            f"{prefix}: its upstream sessions start anew {where}, so no node announces it "
            "meanwhile; --gate refuses that without --restart-sessions"
        )


def _obstacles(preview: Preview) -> Iterator[str]:
    """What waves cannot keep working, since no node can have both ends of the change."""
    if preview.before is not None and preview.after is not None and preview.after.waves:
        yield from obstacles(preview.before, preview.after)


def in_turn(before: Plan | None, after: Plan) -> bool:
    """Whether sessions start anew at one node after the other. Another ASN restarts those of a
    node's neighbors as well."""
    return after.waves and (before is None or before.asn == after.asn)


def _former_notes(preview: Preview) -> Iterator[str]:
    """Where a stack has a provider's former resources and its file asks for the present, or the
    reverse."""
    for former in FORMER:
        if any(former.command in error for error in preview.errors):
            yield f"{former.hint}, by `{former.command} --stack {preview.stack}`"
        if _goes_back(preview, former):
            yield f"{former.irreversible} --stack {preview.stack}`"


def _goes_back(preview: Preview, former: FormerResources) -> bool:
    """Whether present resources are to be replaced by former ones."""
    going = any(step.type.startswith(former.present_types) and step.ends for step in preview.steps)
    return going and any(step.type.startswith(former.types) for step in preview.steps)


def _protected(preview: Preview) -> Iterator[str]:
    """What to do where a node cannot go because its addresses are protected."""
    if any(_goes_back(preview, former) for former in FORMER):
        return  # they are meant to stay
    nodes = {step.node for step in preview.steps if step.verb == "delete" and step.node}
    if any("is protected" in error for error in preview.errors):
        for node in sorted(nodes):
            release = f"mesh release {node} --stack {preview.stack}"
            yield f"what {node} has is protected from deletion: `{release}` lifts that"


def _unknown_changes(preview: Preview) -> tuple[str, ...]:
    generation = preview.generation
    if generation is None:
        done = any(step.verb in DONE and step.custom for step in preview.steps)
        if preview.errors or not done:
            return ()
        return (
            "the publication is not in this preview, so the changes of sessions and prefixes are "
            "unknown: preview with --show-sames",
        )
    if preview.after is None:
        return ("the plan is not known yet, so the changes of sessions and prefixes are unknown",)
    if preview.before is None and not is_first(preview):
        return (
            "the plan in force was written by another version of this code, so sessions and "
            "prefixes cannot be compared: every node gets a new generation",
        )
    hidden = generation.verb == "update" and password_changes(generation) is None
    if hidden and visible(generation) and passwords(preview.after):
        return ("whether a BGP password changes too does not show: the engine hides secrets",)
    return ()
