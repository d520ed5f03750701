"""From a stack file, or from the engine's configuration, to a :class:`Spec`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from mesh.spec import wording
from mesh.spec.meaning import CHECKS, check_provider
from mesh.spec.model import DEFAULTS, SECTIONS, Spec
from mesh.spec.problems import Problem, SpecError, shown
from mesh.spec.secrets import PREFIXES, check_secrets

NAMESPACE = "mesh:"
EXAMPLES = "examples"
"""Folder beside the stack files in which a twin's original may lie as well."""
OUT_OF_THE_WORLD = ("demand", "local")
"""Keys of ``mesh:rpki`` that ask the Internet, where a twin asks only what it names itself."""
OF_THE_PARSER = ("function-", "IPv4N", "IPv6N")
"""Beginnings of steps in an error's path that stand in no stack file."""

_ADAPTERS = {key: TypeAdapter[Any](kind) for key, kind in SECTIONS.items()}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A spec, with what does not stop it: warnings, and problems that only a preview refuses."""

    spec: Spec
    problems: tuple[Problem, ...]


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key that stands twice: the second would silently win."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.MarkedYAMLError(
                problem=f"the key {key} stands twice", problem_mark=key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_stack_file(path: Path) -> dict[str, Any]:
    """The ``mesh:`` keys of a stack file, without namespace; SpecError where it is not one."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError([
            Problem(str(path), "missing", "there is no such stack file", _where_others_are(path))
        ]) from None  # fmt: skip
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([
            Problem(str(path), "unreadable", str(error), "give a readable UTF-8 file")
        ]) from None  # fmt: skip
    return _parse(path, text)


def _where_others_are(path: Path) -> str:
    """What to do about a stack file that is not there."""
    if (path.parent / EXAMPLES / path.name).exists():
        return f"copy {EXAMPLES}/{path.name} here, or read it there with --root {EXAMPLES}"
    names = sorted(each.name for each in path.parent.glob("Pulumi.*.yaml"))
    if not names:
        return "run this where Pulumi.yaml lies, or name that folder with --root"
    return f"name one of {', '.join(names)} with --stack"


def _where(error: yaml.YAMLError) -> str:
    """Line, column and what is wrong there: the parser's own words begin with neither."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return shown(str(error))
    what = getattr(error, "problem", None) or "cannot be read"
    return f"line {mark.line + 1}, column {mark.column + 1}: {shown(what)}"


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        document = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a SafeLoader of our own)
    except yaml.YAMLError as error:
        raise SpecError([
            Problem(str(path), _where(error), "this is not YAML", "mend that line")
        ]) from None  # fmt: skip
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise SpecError([
            Problem(str(path), "empty" if document is None else shown(document),
                    "there is no `config:` map in it",
                    "write the keys under `config:` as Pulumi.prod.yaml does")
        ])  # fmt: skip
    return {
        str(key).removeprefix(NAMESPACE): value
        for key, value in config.items()
        if str(key).startswith(NAMESPACE)
    }


def from_engine(config: Mapping[str, str]) -> dict[str, Any]:
    """The ``mesh:`` keys of the engine's configuration, whose values are strings or JSON."""
    return {
        key.removeprefix(NAMESPACE): _decoded(key, value)
        for key, value in config.items()
        if key.startswith(NAMESPACE)
    }


def _decoded(key: str, value: str) -> Any:
    if key.removeprefix(NAMESPACE).startswith(PREFIXES):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def load(stack: str, values: Mapping[str, Any], root: Path) -> Loaded:
    """Check every key, alone and together.

    ``values`` are the stack's keys without namespace; ``root`` is where the stack files lie, for
    a twin. Raises SpecError with every error at once.
    """
    merged = dict(values)
    twin = merged.pop("twin", None)
    if twin is not None:
        merged = _twin_of(twin, merged, root)
    secrets = {key: merged.pop(key) for key in list(merged) if key.startswith(PREFIXES)}
    sections, problems = _sections(merged)
    for check in CHECKS:
        problems.extend(check(sections))
    if any(problem.severity == "error" for problem in problems):
        raise SpecError([p for p in problems if p.severity == "error"])
    spec = Spec(stack=stack, twin=twin, **sections)
    problems.extend(check_secrets(spec, {k: _clear(v) for k, v in secrets.items()}))
    if any(problem.severity == "error" for problem in problems):
        raise SpecError([p for p in problems if p.severity == "error"])
    return Loaded(spec, tuple(problems))


def load_file(stack: str, root: Path, path: Path | None = None) -> Loaded:
    """The spec of ``Pulumi.<stack>.yaml`` in ``root`` (or of ``path``): no engine, no secret."""
    return load(stack, read_stack_file(path or root / f"Pulumi.{stack}.yaml"), root)


def for_preview(loaded: Loaded) -> Spec:
    """The spec, if nothing is missing that a preview needs; else SpecError."""
    stopping = [problem for problem in loaded.problems if problem.severity == "preview"]
    if stopping:
        raise SpecError(stopping)
    return loaded.spec


def _clear(value: Any) -> str | None:
    """A secret's value, or None where it is encrypted and this reader has no key."""
    return None if isinstance(value, dict) else str(value)


def _sections(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Each known key parsed by its own type, and what is wrong with those that cannot be."""
    sections: dict[str, Any] = dict(DEFAULTS)
    problems: list[Problem] = []
    for key in sorted(set(values) - set(SECTIONS)):
        problems.append(
            Problem(f"mesh:{key}", shown(values[key]), "the key is unknown",
                    f"use one of {', '.join(SECTIONS)}")
        )  # fmt: skip
    for key, adapter in _ADAPTERS.items():
        if key not in values:
            if key not in DEFAULTS:
                problems.append(
                    Problem(f"mesh:{key}", "unset", "the key is missing",
                            "write it as Pulumi.prod.yaml does")
                )  # fmt: skip
            continue
        try:
            sections[key] = adapter.validate_python(values[key])
        except ValidationError as error:
            sections.pop(key, None)
            problems.extend(_shape_problems(key, error))
    return sections, problems


def _shape_problems(key: str, error: ValidationError) -> Iterator[Problem]:
    for item in error.errors(include_url=False):
        parts = [str(part) for part in item["loc"] if part != "[key]"]
        path = tuple(part for part in parts if not part.startswith(OF_THE_PARSER))
        if item["type"] == "too_short" and item["input"]:
            continue  # what it holds is of the wrong shape, and has been named
        problem = wording.problem(key, path, item)
        yield problem
        if item["type"] == wording.LONG and wording.is_node_id(key, path):
            yield from check_provider(problem.key, item["input"])


def _twin_of(original: Any, overrides: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The original's keys with the twin's own laid over them; the original's secrets stay there."""
    if not isinstance(original, str) or not original.isidentifier():
        raise SpecError([
            Problem("mesh:twin", shown(original), "a twin names the stack that it copies",
                    "write the name of a stack, for example prod")
        ])  # fmt: skip
    file = f"Pulumi.{original}.yaml"
    beside = (root / file, root / EXAMPLES / file)
    values = read_stack_file(next((path for path in beside if path.exists()), beside[0]))
    if "twin" in values:
        raise SpecError(
            [Problem("mesh:twin", original, "that stack is a twin itself", "name its original")]
        )
    own = {key: value for key, value in values.items() if not key.startswith(PREFIXES)}
    if isinstance(own.get("rpki"), Mapping):
        own["rpki"] = {k: v for k, v in own["rpki"].items() if k not in OUT_OF_THE_WORLD}
    merged: dict[str, Any] = _over(own, overrides)
    return merged


def _over(below: Any, above: Any) -> Any:
    """``above`` laid over ``below``: maps are merged key by key, all else is replaced."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    return {
        key: _over(below[key], above[key]) if key in below and key in above
        else above.get(key, below.get(key))
        for key in [*below, *(key for key in above if key not in below)]
    }  # fmt: skip
