"""The engine's preview (``pulumi preview --json``) as frozen values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from mesh.foreign import lines, printable
from mesh.infra.urns import owner
from mesh.plan import Plan
from mesh.plan.document import read_plan
from mesh.preview.kinds import (
    CANDIDATE,
    GENERATION,
    ResourceKind,
    kind_of,
    may_restart,
)
from mesh.spec.problems import NOTE

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What the engine writes for a value that is not known yet (sdk: plugin.UnknownStringValue)."""
SECRET = "[secret]"  # noqa: S105  (no secret)
"""What it writes for every secret, with ``--show-secrets`` or without: two always look equal."""

Verb = Literal["create", "update", "replace", "delete", "same", "noted", "other"]
"""``noted`` is what changes the state alone, ``other`` what this package does not know."""

VERBS: dict[str, Verb] = {
    "same": "same",
    "create": "create",
    "update": "update",
    "delete": "delete",
    "replace": "replace",
    # In place of `replace` with --show-replacement-steps.
    "create-replacement": "replace",
    "delete-replaced": "replace",
    # An existing object is adopted, new or in place of another one.
    "import": "create",
    "import-replacement": "replace",
    # An object that others manage is read; a managed one in its place is deleted.
    "read": "noted",
    "read-replacement": "replace",
    # What was only looked at is forgotten.
    "discard": "noted",
    "discard-replaced": "noted",
    # A refresh that finds a difference comes as an update or a deletion.
    "refresh": "noted",
    # It was deleted by an update that ended half-way.
    "remove-pending-replace": "noted",
    # Of imports, and of a provider's own parameters.
    "diff": "noted",
    "extend-parameterize": "noted",
}
"""The engine's operations (pkg/resource/deploy: StepOps; sdk: apitype.OpType) as verbs of this
package. One that is not here is ``other``."""

WORST: tuple[Verb, ...] = ("same", "noted", "create", "update", "replace", "delete", "other")
"""The verbs by their effect: of several steps of one resource the worst is shown."""


class Unreadable(ValueError):
    """The text is no preview of the engine's."""


@dataclass(frozen=True)
class Step:
    """What happens to one resource.

    ``op`` is the engine's operation. ``node`` is the id of the node that it belongs to, at any
    depth, None for what several share. ``old`` and ``new`` are its inputs, empty where it did not
    or will not exist; ``was_protected`` and ``protected`` are whether it is protected from deletion
    before and afterwards. ``reasons`` names the inputs that make the provider replace or update it,
    as far as the engine knows them. ``custom`` is a resource that a provider makes, and one whose
    state is not in the preview. ``was`` are its outputs in the state.
    """

    verb: Verb
    urn: str
    type: str
    node: str | None
    custom: bool
    old: Mapping[str, Any] = field(repr=False)
    new: Mapping[str, Any] = field(repr=False)
    reasons: tuple[str, ...] = ()
    op: str = ""
    was_protected: bool = False
    protected: bool = False
    was: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The resource's name: the last part of its URN."""
        return self.urn.rpartition("::")[2]

    @property
    def kind(self) -> ResourceKind:
        """What it is to the network."""
        return kind_of(self.type)

    @property
    def ends(self) -> bool:
        """Whether the deployed resource is lost, with or without a successor."""
        return self.verb in ("replace", "delete", "other")

    @property
    def restarts(self) -> bool:
        """Whether a server is updated in place and may restart by it."""
        if self.verb != "update" or self.kind is not ResourceKind.SERVER:
            return False
        inputs = {re.split(r"[.\[]", reason)[0] for reason in self.reasons}
        return may_restart(self.type, {*self.differing, *inputs}, self.drift)

    @property
    def drift(self) -> tuple[str, ...]:
        """The differences that a refresh found and the update repairs, as texts; only our own
        resources at a provider report them."""
        found = self.was.get("drift")
        return tuple(printable(str(each)) for each in found) if isinstance(found, list) else ()

    @property
    def differing(self) -> tuple[str, ...]:
        """The inputs whose change can be seen: secrets always look the same."""
        keys = sorted({*self.old, *self.new} - {"__provider"})
        return tuple(printable(key) for key in keys if self.old.get(key) != self.new.get(key))


@dataclass(frozen=True)
class Preview:
    """One preview: its steps, and the messages of engine and program (errors, warnings, and the
    program's own notes), line by line. Foreign text is made printable (:mod:`mesh.foreign`), except
    the inputs of steps."""

    stack: str
    steps: tuple[Step, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def generation(self) -> Step | None:
        """The step of the publication; None where the preview leaves it out, being unchanged."""
        return next((step for step in self.steps if step.type == GENERATION), None)

    @cached_property
    def candidate(self) -> Step | None:
        """The step of what is to be published; None where this preview has none."""
        return next((step for step in self.steps if step.type == CANDIDATE), None)

    @cached_property
    def before(self) -> Plan | None:
        """The plan in force; None where there is none, or another version of this code wrote it."""
        return None if self.generation is None else _plan(self.generation.old)

    @cached_property
    def after(self) -> Plan | None:
        """The new plan; None where the preview does not contain it."""
        return None if self.generation is None else _plan(self.generation.new)


def read(text: str) -> Preview:
    """The preview that ``pulumi preview --json`` printed; :class:`Unreadable` where it is none."""
    try:
        document = json.loads(text)
        diagnostics = document.get("diagnostics") or []
        errors = tuple(_messages(diagnostics, "error"))
        # An engine that fails early, for want of a plugin, prints errors and no steps.
        found = [] if errors and "steps" not in document else document["steps"]
        parents = {each["urn"]: _state(each).get("parent") for each in found}
        steps = tuple(_merged(_step(each, parents) for each in found))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"this is not what `pulumi preview --json` prints: {error}") from None
    return Preview(
        stack=next((step.urn.split(":")[2] for step in steps), ""),
        steps=steps,
        errors=errors,
        warnings=tuple(_messages(diagnostics, "warning")),
        notes=tuple(
            line.removeprefix(NOTE)
            for line in _messages(diagnostics, "info")
            if line.startswith(NOTE)
        ),
    )


def _state(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = document.get("newState") or document.get("oldState") or {}
    return found


def _step(document: Mapping[str, Any], parents: Mapping[str, str | None]) -> Step:
    old, new = document.get("oldState") or {}, document.get("newState") or {}
    state = _state(document)
    detailed = document.get("detailedDiff") or {}
    reasons = document.get("replaceReasons") or document.get("diffReasons") or list(detailed)
    return Step(
        verb=VERBS.get(document["op"], "other"),
        urn=printable(document["urn"]),
        type=printable(state.get("type") or _type(document["urn"])),
        node=owner(document["urn"], parents),
        custom=bool(state.get("custom", not state)),
        old=old.get("inputs") or {},
        new=new.get("inputs") or {},
        reasons=tuple(sorted(map(printable, reasons))),
        op=printable(str(document["op"])),
        was_protected=bool(old.get("protect")),
        protected=bool(new.get("protect")),
        was=old.get("outputs") or {},
    )


def _type(urn: str) -> str:
    return urn.rpartition("::")[0].rpartition("::")[2].rpartition("$")[2]


def _merged(steps: Iterator[Step]) -> Iterator[Step]:
    """One step for each resource: a replacement may come in several parts."""
    known: dict[str, Step] = {}
    for step in steps:
        first = known.get(step.urn)
        known[step.urn] = step if first is None else _together(first, step)
    yield from known.values()


def _together(first: Step, second: Step) -> Step:
    """Both steps of a resource as one, with the worse verb."""
    worse = max(first, second, key=lambda step: WORST.index(step.verb))
    return replace(
        worse,
        old=first.old or second.old,
        new=first.new or second.new,
        was=first.was or second.was,
        custom=first.custom or second.custom,
        reasons=tuple(sorted({*first.reasons, *second.reasons})),
        was_protected=first.was_protected or second.was_protected,
        protected=first.protected or second.protected,
    )


def _messages(diagnostics: list[Mapping[str, Any]], severity: str) -> Iterator[str]:
    for each in diagnostics:
        if each.get("severity") == severity:
            yield from lines(str(each.get("message", "")).strip().removeprefix(f"{severity}: "))


def _plan(inputs: Mapping[str, Any]) -> Plan | None:
    text = inputs.get("plan")
    if not isinstance(text, str) or text == UNKNOWN:
        return None
    try:
        return read_plan(text)
    except ValueError:
        return None  # the plan of another version of this code
