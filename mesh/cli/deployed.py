"""What was published from a deployed stack, as the stack's state has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from mesh.cli.stacks import readable
from mesh.cli.working_copy import EngineFailed
from mesh.plan import Plan
from mesh.plan.document import read_plan
from mesh.publish.identity import named
from mesh.publish.order import Fleet, load_fleet
from mesh.spec import SpecError
from mesh.trust.encoding import Malformed

# The key under which the engine keeps a secret in an exported state (sdk: resource.SigKey).
_SIGNATURE = "4dabf18193072939515e22adb298388d"


@dataclass(frozen=True, slots=True)
class Published:
    """The publication in a stack's state; ``plan`` is a plan as text."""

    operator_key: str = field(repr=False)
    registries: dict[str, str]
    namespace: str | None
    fleet: Fleet
    plan: str = field(repr=False, default="")

    def known_plan(self) -> Plan | None:
        """The plan in force; None where another version has written it."""
        try:
            return read_plan(self.plan)
        except ValidationError:
            return None


class NoState(Exception):
    """The stack cannot be read, or has published nothing."""


class NothingPublished(NoState):
    """The stack can be read, and its program has never come to publish anything."""


def published(stack: str) -> Published:
    """The publication of a deployed stack; :class:`NoState` where there is none."""
    return of_state(exported(stack))


def exported(stack: str) -> dict[str, Any]:
    """The stack's state in clear. It holds the operator's key, so it goes through a pipe, and
    nowhere else."""
    try:
        return readable(stack).state(in_clear=True)
    except (SpecError, EngineFailed) as error:
        raise NoState(str(error)) from None


def of_state(state: Mapping[str, Any]) -> Published:
    """The publication in an exported state; :class:`NoState` where there is none."""
    nothing = (
        "nothing has been published from this stack yet: `pulumi up`, or `make up` for the lab"
    )
    resources = state.get("deployment", {}).get("resources") or []
    found = next((one for one in resources if one["type"].endswith(":Publish")), None)
    if found is None:
        raise NothingPublished(nothing)
    outputs = found.get("outputs", {})
    if not outputs.get("fleet"):
        raise NoState(nothing)
    plain = {key: _plain(value) for key, value in outputs.items()}
    try:
        fleet = named(load_fleet(plain["fleet"]), plain.get("plan") or "")
    except Malformed as error:
        raise NoState(f"the stack's state: {error}") from None
    return Published(
        operator_key=plain["operator_key"],
        registries=dict(plain["registries"]),
        namespace=plain.get("namespace"),
        fleet=fleet,
        plan=plain.get("plan") or "",
    )


def _plain(value: Any) -> Any:
    """A value out of the engine's wrapping of secrets."""
    if isinstance(value, dict) and _SIGNATURE in value and "plaintext" in value:
        return json.loads(value["plaintext"])
    return value
