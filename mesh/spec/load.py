"""Read a :class:`Spec` from a stack file or from the engine's configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mesh.spec import engine_only, messages, parser
from mesh.spec.checks import CHECKS, OF_VALUES_ALONE, check_documentation, check_provider
from mesh.spec.engine import Environment, Sealed, from_engine, sealed_paths, stack_name
from mesh.spec.examples import for_example
from mesh.spec.files import engine_config, stack_file
from mesh.spec.model import DEFAULTS, SECTIONS, Spec
from mesh.spec.problems import Problem, SpecError
from mesh.spec.secrets import PREFIXES, check_secrets
from mesh.spec.twin import twin_of


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    """The parser of a key's value."""
    return TypeAdapter(SECTIONS[key])


@dataclass(frozen=True, slots=True)
class Loaded:
    """A spec with its warnings, and with problems that stop only a preview."""

    spec: Spec
    problems: tuple[Problem, ...]


class Incomplete(SpecError):
    """There is no error, but some required keys only the engine can read: ``unread``, as warnings.
    ``problems`` are those and all others."""

    def __init__(self, unread: list[Problem], others: list[Problem]) -> None:
        self.unread = tuple(unread)
        super().__init__([*unread, *others])


def load(
    stack: str,
    values: Mapping[str, Any],
    root: Path,
    environment: Environment | None = None,
    warnings: Iterable[Problem] = (),
) -> Loaded:
    """Check every key, alone and together.

    ``values`` are the stack's keys without namespace; ``root`` is the folder of the stack files,
    for a twin. ``environment`` is what Pulumi ESC would add to them, and ``warnings`` are those of
    the stack file's form. Raises SpecError with every error at once, and :class:`Incomplete` where
    there is no error but keys only the engine can read.
    """
    merged, problems = dict(values), list(warnings)
    twin = merged.pop("twin", None)
    if twin is not None:
        merged, found = twin_of(twin, merged, root)
        problems.extend(found)
    secrets = {key: merged.pop(key) for key in list(merged) if key.startswith(PREFIXES)}
    sections, found, unread = _sections(merged, environment)
    problems.extend(found)
    for check in CHECKS:
        for problem in check(sections):
            if environment is None or check in OF_VALUES_ALONE or problem.severity != "error":
                problems.append(problem)
            else:
                unread.append(engine_only.may_be_cured(problem, environment))
    _stop_at_errors(problems)
    if unread:
        raise Incomplete(unread, problems)
    spec = Spec(stack=stack, twin=twin, **sections)
    problems.extend(check_documentation(spec))
    problems.extend(check_secrets(spec, {k: _clear(v) for k, v in secrets.items()}))
    _stop_at_errors(problems)
    if environment is not None:
        problems.insert(0, engine_only.not_opened(environment))
    return Loaded(spec, tuple(problems))


def _stop_at_errors(problems: list[Problem]) -> None:
    if errors := [problem for problem in problems if problem.severity == "error"]:
        raise SpecError(errors)


def load_file(stack: str, root: Path, path: Path | None = None) -> Loaded:
    """The spec of a stack from its file in ``root`` (or ``path``), without engine and secrets."""
    project, beside = stack_file(stack, root)
    found = engine_config(project, path or beside)
    name, values = stack_name(stack).name, from_engine(found.config)
    return load(name, values, root, found.environment, found.warnings)


def for_preview(loaded: Loaded) -> Spec:
    """The spec; SpecError where something is missing that a preview needs."""
    stopping = [problem for problem in loaded.problems if problem.severity == "preview"]
    if stopping:
        raise SpecError(stopping)
    return loaded.spec


def _clear(value: Any) -> str | None:
    """A secret's value, or None where it is encrypted."""
    return None if isinstance(value, Sealed | dict) else str(value)


def _sections(
    values: Mapping[str, Any], environment: Environment | None
) -> tuple[dict[str, Any], list[Problem], list[Problem]]:
    """Each known key parsed by its type; the problems; and warnings of keys that only the engine
    can read."""
    sections: dict[str, Any] = dict(DEFAULTS)
    problems: list[Problem] = []
    unread: list[Problem] = []
    for key in sorted(set(values) - set(SECTIONS)):
        problems.append(messages.unknown(key, values[key]))
    for key in SECTIONS:
        if key not in values:
            if environment is not None and engine_only.is_left_to_environment(environment, key):
                sections.pop(key, None)
                unread.append(engine_only.from_environment(environment, f"mesh:{key}"))
            elif key not in DEFAULTS:
                problems.append(
                    Problem(f"mesh:{key}", "unset", "the key is missing",
                            for_example("add it", key))
                )  # fmt: skip
            continue
        hidden = [engine_only.encrypted(path) for path in sealed_paths(values[key], f"mesh:{key}")]
        if hidden:
            sections.pop(key, None)
            unread.extend(hidden)
        try:
            parsed = _adapter(key).validate_python(values[key])
        except ValidationError as error:
            sections.pop(key, None)
            for problem, absent in _shape_problems(key, values[key], error):
                if absent and environment is not None and environment.may_set(key):
                    unread.append(engine_only.from_environment(environment, problem.key))
                else:
                    problems.append(problem)
        else:
            if not hidden:
                sections[key] = parsed
    return sections, problems, unread


def _shape_problems(key: str, value: Any, error: ValidationError) -> Iterator[tuple[Problem, bool]]:
    """Each problem, and whether a value is just missing. Encrypted values are skipped."""
    for path, item in parser.errors(error):
        if item["type"] == "too_short" and item["input"]:
            continue  # its entries have problems of their own
        if isinstance(item["input"], Sealed):
            continue
        problem = messages.problem(key, path, item)
        yield problem, item["type"] in ("missing", "too_short")
        if item["type"] == messages.LONG and messages.is_node_id(key, path):
            if isinstance(value, dict) and "host" in (value.get(path[0]) or {}):
                continue  # of a provider that needs not be known
            for further in check_provider(problem.key, item["input"]):
                yield further, False
