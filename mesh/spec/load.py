"""From a stack file, or from the engine's configuration, to a :class:`Spec`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mesh.spec import parser, unreadable, wording
from mesh.spec.checks import CHECKS, OF_VALUES_ALONE, check_provider
from mesh.spec.engine import Environment, Sealed, from_engine, sealed_paths, stack_name
from mesh.spec.examples import for_example
from mesh.spec.files import handed, stack_file
from mesh.spec.model import DEFAULTS, SECTIONS, Spec
from mesh.spec.problems import Problem, SpecError, shown
from mesh.spec.secrets import PREFIXES, check_secrets
from mesh.spec.twin import twin_of


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    """What checks the value of a key."""
    return TypeAdapter(SECTIONS[key])


@dataclass(frozen=True, slots=True)
class Loaded:
    """A spec, with what does not stop it: warnings, and problems that only a preview refuses."""

    spec: Spec
    problems: tuple[Problem, ...]


class Incomplete(SpecError):
    """Nothing is wrong with what can be read here, and some of it only the engine can read:
    ``unread``, as warnings; ``problems`` are those and all others that were found."""

    def __init__(self, unread: list[Problem], others: list[Problem]) -> None:
        self.unread = tuple(unread)
        super().__init__([*unread, *others])


def load(
    stack: str, values: Mapping[str, Any], root: Path, environment: Environment | None = None
) -> Loaded:
    """Check every key, alone and together.

    ``values`` are the stack's keys without namespace; ``root`` is where the stack files lie, for
    a twin. ``environment`` is what Pulumi ESC would add that is not part of them yet. Raises
    SpecError with every error at once, and :class:`Incomplete` where there is none, but not all
    that is needed can be read.
    """
    merged, problems = dict(values), list[Problem]()
    twin = merged.pop("twin", None)
    if twin is not None:
        merged, overruled = twin_of(twin, merged, root)
        problems.extend(overruled)
    secrets = {key: merged.pop(key) for key in list(merged) if key.startswith(PREFIXES)}
    sections, found, unread = _sections(merged, environment)
    problems.extend(found)
    for check in CHECKS:
        told = check(sections)
        if environment is not None and check not in OF_VALUES_ALONE:
            told = (unreadable.may_be_cured(problem, environment) for problem in told)
        problems.extend(told)
    _stop_at_errors(problems)
    if unread:
        raise Incomplete(unread, problems)
    spec = Spec(stack=stack, twin=twin, **sections)
    problems.extend(check_secrets(spec, {k: _clear(v) for k, v in secrets.items()}))
    _stop_at_errors(problems)
    if environment is not None:
        problems.insert(0, unreadable.unopened(environment))
    return Loaded(spec, tuple(problems))


def _stop_at_errors(problems: list[Problem]) -> None:
    if errors := [problem for problem in problems if problem.severity == "error"]:
        raise SpecError(errors)


def load_file(stack: str, root: Path, path: Path | None = None) -> Loaded:
    """The spec of a stack as its file in ``root`` (or ``path``) has it: no engine, no secret."""
    project, beside = stack_file(stack, root)
    found = handed(project, path or beside)
    return load(stack_name(stack).name, from_engine(found.config), root, found.environment)


def for_preview(loaded: Loaded) -> Spec:
    """The spec, if nothing is missing that a preview needs; else SpecError."""
    stopping = [problem for problem in loaded.problems if problem.severity == "preview"]
    if stopping:
        raise SpecError(stopping)
    return loaded.spec


def _clear(value: Any) -> str | None:
    """A secret's value, or None where it is encrypted and this reader has no key."""
    return None if isinstance(value, Sealed | dict) else str(value)


def _sections(
    values: Mapping[str, Any], environment: Environment | None
) -> tuple[dict[str, Any], list[Problem], list[Problem]]:
    """Each known key parsed by its own type; what is wrong with those that cannot be; and what
    of them cannot be read here."""
    sections: dict[str, Any] = dict(DEFAULTS)
    problems: list[Problem] = []
    unread: list[Problem] = []
    for key in sorted(set(values) - set(SECTIONS)):
        problems.append(
            Problem(f"mesh:{key}", shown(values[key]), "the key is unknown",
                    f"use one of {', '.join(SECTIONS)}")
        )  # fmt: skip
    for key in SECTIONS:
        if key not in values:
            if environment is not None and unreadable.is_left_to(environment, key):
                sections.pop(key, None)
                unread.append(unreadable.left_to(environment, f"mesh:{key}"))
            elif key not in DEFAULTS:
                problems.append(
                    Problem(f"mesh:{key}", "unset", "the key is missing",
                            for_example("add it", key))
                )  # fmt: skip
            continue
        hidden = [unreadable.sealed(path) for path in sealed_paths(values[key], f"mesh:{key}")]
        if hidden:
            sections.pop(key, None)
            unread.extend(hidden)
        try:
            parsed = _adapter(key).validate_python(values[key])
        except ValidationError as error:
            sections.pop(key, None)
            for problem, absent in _shape_problems(key, error):
                if absent and environment is not None and environment.may_set(key):
                    unread.append(unreadable.left_to(environment, problem.key))
                else:
                    problems.append(problem)
        else:
            if not hidden:
                sections[key] = parsed
    return sections, problems, unread


def _shape_problems(key: str, error: ValidationError) -> Iterator[tuple[Problem, bool]]:
    """What is wrong, and whether it is only that something is missing. What is encrypted is passed
    over."""
    for path, item in parser.errors(error):
        if item["type"] == "too_short" and item["input"]:
            continue  # what it holds is of the wrong shape, and has been named
        if isinstance(item["input"], Sealed):
            continue
        problem = wording.problem(key, path, item)
        yield problem, item["type"] in ("missing", "too_short")
        if item["type"] == wording.LONG and wording.is_node_id(key, path):
            for further in check_provider(problem.key, item["input"]):
                yield further, False
