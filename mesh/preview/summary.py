"""One preview in the network's words: which servers, sessions and prefixes the change touches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from mesh.plan import Plan
from mesh.preview.kinds import Kind
from mesh.preview.reach import (
    Change,
    PrefixChange,
    address_changes,
    firewall_changes,
    node_changes,
    prefix_changes,
    service_changes,
)
from mesh.preview.sessions import SessionChange, session_changes
from mesh.preview.steps import Preview, Step, Verb

PASSWORDS = "passwords"
DONE: dict[Verb, str] = {
    "create": "created",
    "update": "updated",
    "replace": "replaced",
    "delete": "deleted",
}
"""What happens to a resource, as it is told."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A resource that the change touches."""

    kind: Kind
    fate: str
    node: str | None
    type: str
    name: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a change touches. Empty where it touches nothing.

    ``generation`` says what is published (``first``, ``next``) and ``because`` of what;
    it is None where nothing is. ``notes`` says what cannot be told from this preview.
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
    notes: tuple[str, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def summarise(preview: Preview) -> Summary:
    """What this preview's change touches."""
    changed = [step for step in preview.steps if step.verb in DONE]
    touched = {kind: tuple(_touched(changed, kind)) for kind in Kind}
    generation = preview.generation
    published = generation is not None and generation.verb in ("create", "update")
    before, after = preview.before, preview.after
    told = after is not None and (before is not None or is_first(preview))
    return Summary(
        stack=preview.stack,
        counts=dict(sorted(Counter(DONE[step.verb] for step in changed if step.custom).items())),
        servers=touched[Kind.SERVER],
        addresses=touched[Kind.ADDRESS],
        firewalls=touched[Kind.FIREWALL],
        others=touched[Kind.OTHER],
        generation=("first" if is_first(preview) else "next") if published else None,
        because=_because(generation) if published and generation is not None else (),
        nodes=tuple(node_changes(before, after)) if told and after else (),
        sessions=_sessions(preview, after) if told and after else (),
        prefixes=tuple(prefix_changes(before, after, disturbed(preview))) if told and after else (),
        announced=tuple(address_changes(before, after)) if told and after else (),
        services=tuple(service_changes(before, after)) if told and after else (),
        ports=tuple(firewall_changes(before, after)) if told and after else (),
        notes=_notes(preview),
        errors=preview.errors,
        warnings=preview.warnings,
    )


def is_first(preview: Preview) -> bool:
    """Whether nothing has been published from this stack yet."""
    return preview.generation is not None and preview.generation.verb == "create"


def servers(preview: Preview, *verbs: Verb) -> dict[str, Step]:
    """The nodes whose server sees one of these."""
    return {
        step.node: step
        for step in preview.steps
        if step.kind is Kind.SERVER and step.verb in verbs and step.node is not None
    }


def disturbed(preview: Preview) -> tuple[str, ...]:
    """The nodes that lose their server, for a while or for good."""
    return tuple(sorted(servers(preview, "replace", "delete")))


def changed_passwords(preview: Preview, plan: Plan) -> Collection[str]:
    """The BGP passwords that change, all of them where it cannot be told which.

    The engine shows every secret alike. But a resource that holds passwords, is updated, and
    whose visible inputs are all the same, is updated for a secret.
    """
    secret = [
        step
        for step in preview.steps
        if step.verb == "update" and PASSWORDS in step.old and not step.differing
    ]
    return passwords(plan) if secret else ()


def passwords(plan: Plan) -> set[str]:
    """The names of the BGP passwords that a plan's sessions use."""
    used = {up.password for node in plan.nodes for up in node.upstreams}
    used |= {inside.password for node in plan.nodes for inside in node.vpc}
    return {name for name in used if name is not None}


def _sessions(preview: Preview, after: Plan) -> tuple[SessionChange, ...]:
    fates = {
        node: "made again" if step.verb == "create" else DONE[step.verb]
        for node, step in servers(preview, "create", "replace", "delete").items()
    }
    return session_changes(preview.before, after, fates, changed_passwords(preview, after))


def _touched(steps: Iterable[Step], kind: Kind) -> Iterable[Touched]:
    # The engine's own order differs from run to run.
    for step in sorted(steps, key=lambda each: (each.node or "", each.name)):
        # A component is its children, and the publication is told apart.
        if step.custom and step.kind is kind and not _is_publication(step):
            reasons = step.reasons or (step.differing if step.verb == "update" else ())
            yield Touched(kind, DONE[step.verb], step.node, step.type, step.name, reasons)


def _is_publication(step: Step) -> bool:
    return step.type.endswith(":Publish")


def _because(generation: Step) -> tuple[str, ...]:
    if generation.verb == "create":
        return ()
    return generation.differing or (PASSWORDS,)


def _notes(preview: Preview) -> tuple[str, ...]:
    return (*_protected(preview), *_untold(preview))


def _protected(preview: Preview) -> Iterator[str]:
    """The cure where a node cannot go because its addresses are protected."""
    nodes = {step.node for step in preview.steps if step.verb == "delete" and step.node}
    if any("is protected" in error for error in preview.errors):
        for node in sorted(nodes):
            release = f"mesh release {node} --stack {preview.stack}"
            yield f"what {node} has is protected from deletion: `{release}` lifts that"


def _untold(preview: Preview) -> tuple[str, ...]:
    generation = preview.generation
    if generation is None:
        if not any(step.verb in DONE and step.custom for step in preview.steps):
            return ()
        return (
            "the publication is not in this preview, so sessions and prefixes cannot be told: "
            "preview with --show-sames",
        )
    if preview.after is None:
        return ("the plan is not known yet, so sessions and prefixes cannot be told",)
    if preview.before is None and not is_first(preview):
        return (
            "the plan in force was written by another version of this code, so sessions and "
            "prefixes cannot be compared: every node gets a new generation",
        )
    if generation.differing and generation.verb == "update" and passwords(preview.after):
        return ("whether a BGP password changes too does not show: the engine hides secrets",)
    return ()
