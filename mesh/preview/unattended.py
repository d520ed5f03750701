"""What no unattended update may do to single resources unless it was asked for.

What is not known is refused: a type, an operation, or whose resource it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from mesh.preview.kinds import GENERATION, OPERATOR, ResourceKind, described
from mesh.preview.protection import LOST, MISSING, protection
from mesh.preview.steps import Preview, Step
from mesh.spec.problems import KEEPS, Problem

LOOK = "look at it, and run `pulumi up` yourself where it is right"
TABLE = f"{LOOK}; a type that your drivers make belongs into its driver's DESCRIPTION"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: the nodes to replace and to remove; with ``restart_sessions`` more
    upstream sessions may start anew at once than the limit allows, with ``by_plan`` the plan is
    used where no registry can be asked who announces."""

    replace: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()
    restart_sessions: bool = False
    by_plan: bool = False


def unattended(preview: Preview, asked: Asked) -> Iterator[Problem]:
    """Every step that must not run, and protection that is off."""
    yield from _unprotected(preview)
    yield from _of_another_system(preview)
    going = _packages_that_lose_a_server(preview, asked)
    for step in preview.steps:
        yield from _refused(step, asked, going)
        if step.kind is ResourceKind.SERVER and step.verb == "replace" and step.node is not None:
            yield from _without_another(preview, step, step.node)


def _of_another_system(preview: Preview) -> Iterator[Problem]:
    """Servers that stay, with another operating system than the new plan has."""
    if preview.before is None or preview.after is None:
        return
    was = {node.id: node.os for node in preview.before.nodes}
    made = {
        step.node
        for step in preview.steps
        if step.kind is ResourceKind.SERVER and step.verb in ("create", "replace")
    }
    for node in preview.after.nodes:
        system = was.get(node.id, node.os)
        if system is not node.os and node.id not in made:
            yield Problem(
                f"mesh:nodes.{node.id}.os", node.os,
                f"its server runs {system.own_name} and stays, so that nothing could be published",
                f"ask for a new server: --replace {node.id}; or take the change back",
            )  # fmt: skip


def _refused(step: Step, asked: Asked, going: Collection[str]) -> Iterator[Problem]:
    if step.verb == "other":
        yield Problem(
            step.name, step.op, "the gate does not know this operation of the engine's", LOOK
        )
    elif step.kind is ResourceKind.ROOT:
        if step.ends:
            cure = "take the change back; a new fleet is a new stack"
            yield Problem(step.name, step.verb, ROOTS[step.type], cure)
    elif not step.custom:
        return  # a component is its children
    elif step.kind is ResourceKind.UNKNOWN:
        yield from _of_unknown_type(step)
    elif step.kind is ResourceKind.NETWORK:
        if step.ends and _package(step) not in going:
            yield Problem(
                step.name, step.verb, "nodes that stay reach others by it",
                "take the change back; with the last node there it goes by --remove NODE",
            )  # fmt: skip
    elif step.kind in (ResourceKind.SERVER, ResourceKind.ADDRESS):
        yield from _unasked(step, asked)


ROOTS = {
    OPERATOR: "with another operator's key no node takes a generation from this stack any more",
    GENERATION: "the publication knows what is in force, and without it nothing is judged",
}
"""What a stack has exactly one of, and why it must stay."""


def _of_unknown_type(step: Step) -> Iterator[Problem]:
    """A resource of an unknown type: it may be the server."""
    whose = f"{step.node} has it" if step.node else "it belongs to no node"
    if step.ends:
        yield Problem(
            step.name, step.verb,
            f"the gate does not know {step.type}, and {whose}: it is unknown what goes with it",
            TABLE,
        )  # fmt: skip
    elif step.verb == "update" and step.node is not None:
        yield Problem(
            step.name, step.verb,
            f"the gate does not know {step.type}, and {whose}: to update it may restart the node",
            TABLE,
        )  # fmt: skip


def _unasked(step: Step, asked: Asked) -> Iterator[Problem]:
    """A server or address that goes unasked."""
    if step.node is None:
        # What a cloud's routers have is inside its VPC, and goes with the last node there.
        is_inside = described(step.type).is_inside
        if step.ends and not (is_inside(step.old) or is_inside(step.new)):
            why = "it belongs to no node, so it cannot have been asked for"
            yield Problem(step.name, step.verb, why, LOOK)
        return
    # The engine names the id where `--replace` alone makes it so.
    reasons = [reason for reason in step.reasons if reason != "id"]
    why = f" (because of: {', '.join(reasons)})" if reasons else ""
    if step.verb == "replace" and step.node not in asked.replace:
        yield Problem(
            step.name, "replace", f"nobody asked for {step.node} to be replaced{why}",
            f"take the change back, or ask for it: --replace {step.node}",
        )  # fmt: skip
    if step.verb == "delete" and step.node not in asked.remove:
        yield Problem(
            step.name, "delete", f"nobody asked for {step.node} to be removed",
            f"put it back into the stack file, or ask for it: --remove {step.node}",
        )  # fmt: skip


def _without_another(preview: Preview, step: Step, node: str) -> Iterator[Problem]:
    """A server that the provider does not sell now, asked for or not."""
    if any(f"{node} {KEEPS}" in warning for warning in preview.warnings):
        yield Problem(
            step.name, "replace",
            "its provider does not sell such a server there now: the old one would go without a "
            "successor",
            f"give {node} another plan, or wait until it is sold again",
        )  # fmt: skip


def _packages_that_lose_a_server(preview: Preview, asked: Asked) -> frozenset[str]:
    """The providers (``aws``) of the servers that go because somebody asked."""
    gone = {"replace": asked.replace, "delete": asked.remove}
    return frozenset(
        _package(step)
        for step in preview.steps
        if step.kind is ResourceKind.SERVER and step.node in gone.get(step.verb, ())
    )


def _package(step: Step) -> str:
    return step.type.partition(":")[0]


def _unprotected(preview: Preview) -> Iterator[Problem]:
    """Protection that goes away with this update, or is off and stays so."""
    found = list(protection(preview))
    for fate, why in (
        (LOST, "this update takes away what keeps them from being deleted"),
        (MISSING, "nothing keeps them from being deleted"),
    ):
        names = [each.what for each in found if each.fate == fate]
        if names:
            yield Problem(
                "mesh:protect", "false", f"{', '.join(names)}: {why}",
                f"remove it: pulumi config rm mesh:protect --stack {preview.stack} "
                "(a network is ended by `mesh destroy`, which leaves nothing in the stack file)",
            )  # fmt: skip
