"""The engine's preview (``pulumi preview --json``) as frozen values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from mesh.infra.dynamic.documents import read_plan
from mesh.plan import Plan
from mesh.preview.foreign import lines, plain
from mesh.preview.kinds import GENERATION, NODE, PREFIX, Kind, kind_of

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What the engine writes for a value that is not known yet (sdk: plugin.UnknownStringValue)."""
SECRET = "[secret]"  # noqa: S105  (the engine's word for one)
"""What it writes for every secret, ``--show-secrets`` or not: only their changes can be told."""

Verb = Literal["create", "update", "replace", "delete", "same", "other"]

VERBS: dict[str, Verb] = {
    "same": "same",
    "create": "create",
    "import": "create",
    "update": "update",
    "delete": "delete",
    "replace": "replace",
    # In place of `replace` with --show-replacement-steps.
    "create-replacement": "replace",
    "import-replacement": "replace",
    "delete-replaced": "replace",
}
"""The engine's operations (sdk: apitype.OpType) in the words of this package."""


class Unreadable(ValueError):
    """The text is no preview of the engine's."""


@dataclass(frozen=True)
class Step:
    """What happens to one resource.

    ``node`` is the id of the node that it belongs to, None for what several share. ``old`` and
    ``new`` are its inputs, empty where it did not or will not exist. ``reasons`` names the inputs
    that make the provider replace or update it, as far as the engine knows them.
    """

    verb: Verb
    urn: str
    type: str
    node: str | None
    custom: bool
    old: Mapping[str, Any] = field(repr=False)
    new: Mapping[str, Any] = field(repr=False)
    reasons: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The resource's name: the last part of its URN."""
        return self.urn.rpartition("::")[2]

    @property
    def kind(self) -> Kind:
        """What it is to the network."""
        return kind_of(self.type)

    @property
    def differing(self) -> tuple[str, ...]:
        """The inputs whose change can be seen: secrets always look the same."""
        keys = sorted({*self.old, *self.new} - {"__provider"})
        return tuple(plain(key) for key in keys if self.old.get(key) != self.new.get(key))


@dataclass(frozen=True)
class Preview:
    """One preview: its steps, and what the engine and the program said (errors, warnings), line by
    line. What others wrote is plain (:mod:`mesh.preview.foreign`), but for the inputs of steps."""

    stack: str
    steps: tuple[Step, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    @cached_property
    def generation(self) -> Step | None:
        """The step of the publication; None where the preview leaves it out, being unchanged."""
        return next((step for step in self.steps if step.type == GENERATION), None)

    @cached_property
    def before(self) -> Plan | None:
        """The plan in force; None where there is none, or another version of this code wrote it."""
        return None if self.generation is None else _plan(self.generation.old)

    @cached_property
    def after(self) -> Plan | None:
        """The plan to be; None where the preview does not hold it."""
        return None if self.generation is None else _plan(self.generation.new)


def read(text: str) -> Preview:
    """The preview that ``pulumi preview --json`` printed; :class:`Unreadable` where it is none."""
    try:
        document = json.loads(text)
        said = document.get("diagnostics") or []
        errors = tuple(_said(said, "error"))
        # An engine that gets nowhere, for want of a plugin, says why and tells of no steps.
        told = [] if errors and "steps" not in document else document["steps"]
        steps = tuple(_merged(_step(each) for each in told))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"this is not what `pulumi preview --json` prints: {error}") from None
    return Preview(
        stack=next((step.urn.split(":")[2] for step in steps), ""),
        steps=steps,
        errors=errors,
        warnings=tuple(_said(said, "warning")),
    )


def node_of(urn: str | None) -> str | None:
    """The node whose component that URN is; None where it is another resource's."""
    if not urn:
        return None
    chain, _, name = urn.rpartition("::")
    kind = chain.rpartition("::")[2].rpartition("$")[2]
    return name.removeprefix(PREFIX) if kind == NODE and name.startswith(PREFIX) else None


def _step(document: Mapping[str, Any]) -> Step:
    old, new = document.get("oldState") or {}, document.get("newState") or {}
    state = new or old
    parent = state.get("parent")
    detailed = document.get("detailedDiff") or {}
    reasons = document.get("replaceReasons") or document.get("diffReasons") or list(detailed)
    return Step(
        verb=VERBS.get(document["op"], "other"),
        urn=plain(document["urn"]),
        type=plain(state.get("type") or _type(document["urn"])),
        node=node_of(document["urn"]) or node_of(parent),
        custom=bool(state.get("custom")),
        old=old.get("inputs") or {},
        new=new.get("inputs") or {},
        reasons=tuple(sorted(map(plain, reasons))),
    )


def _type(urn: str) -> str:
    return urn.rpartition("::")[0].rpartition("::")[2].rpartition("$")[2]


def _merged(steps: Iterator[Step]) -> Iterator[Step]:
    """One step for each resource: a replacement may come in several parts."""
    known: dict[str, Step] = {}
    for step in steps:
        first = known.get(step.urn)
        if first is None or first.verb == "other":
            known[step.urn] = step
        elif step.verb == "replace":
            known[step.urn] = Step(
                "replace", step.urn, step.type, step.node, step.custom,
                first.old or step.old, first.new or step.new,
                tuple(sorted({*first.reasons, *step.reasons})),
            )  # fmt: skip
    yield from known.values()


def _said(diagnostics: list[Mapping[str, Any]], severity: str) -> Iterator[str]:
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
