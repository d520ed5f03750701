"""A stack's whole configuration, merged from two files as the engine does (pkg/workspace/
config.go, sdk/go/common/resource/config), and the values of its texts."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.spec.engine import documents, paths
from mesh.spec.engine.project import Project, config_key, has_type, read_document
from mesh.spec.engine.sealed import Sealed, sealed_paths
from mesh.spec.engine.stack import stack_of
from mesh.spec.engine.unread import NAMESPACE, outside_config, without_namespace
from mesh.spec.problems import Problem, SpecError, shown
from mesh.spec.secrets import PREFIXES, SSH_PREFIX

TEXTS = ("twin", *PREFIXES)
"""Prefixes of keys whose values are always text."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The ``environment:`` of a stack file: what Pulumi ESC adds when the engine opens it.

    ``imports`` are the environments that it names. ``keys`` are the ``mesh:`` keys that it sets
    itself; None where only Pulumi ESC knows them.
    """

    imports: tuple[str, ...]
    keys: tuple[str, ...] | None

    def __str__(self) -> str:
        return f"the environment {', '.join(self.imports) or 'of the stack file'}"

    def may_set(self, key: str) -> bool:
        """Whether it may set a ``mesh:`` key."""
        return bool(self.imports) or self.keys is None or key in self.keys


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The configuration by key with namespace, as the engine passes it. A scalar is text; a map or
    list is itself, and :class:`Sealed` stands for an encrypted value. ``warnings`` are those of
    the stack file's form."""

    config: Mapping[str, Any]
    environment: Environment | None = None
    warnings: tuple[Problem, ...] = ()


def from_engine(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of ``mesh:`` by key without namespace, from :attr:`EngineConfig.config` or from
    the engine itself. SpecError where a text has a duplicate key."""
    found: dict[str, Any] = {}
    problems = []
    for key, value in config.items():
        if key.startswith(NAMESPACE):
            name = key.removeprefix(NAMESPACE)
            try:
                found[name] = _value(name, value)
            except documents.DuplicateKey as error:
                problems.append(
                    Problem(key, "JSON", f"in this text {error}", "remove one of the two")
                )
    if problems:
        raise SpecError(problems)
    return found


def _value(name: str, value: Any) -> Any:
    if name.startswith(TEXTS):
        if not isinstance(value, dict | list):
            return value
        return Sealed() if any(sealed_paths(value, name)) else json.dumps(value)
    if not isinstance(value, str):
        return value
    try:
        return _numbers(_unsealed(documents.read_json(value)))
    except documents.DuplicateKey:
        raise
    except ValueError:
        return value


def read(project: Project | None, path: Path) -> EngineConfig:
    """The configuration that the engine passes for the stack file ``path`` of a project.

    A missing file sets nothing, as for the engine: FileNotFoundError where the project sets nothing
    either. Without a project only keys with a namespace are known.
    """
    document = _document(project, path)
    own, problems = _stack_config(document.get("config"), project, path)
    config = own
    problems += outside_config(document, path)
    if project is not None:
        for key in sorted(project.config):
            config, problem = _with_declared(config, project, key)
            problems.extend(problem)
    problems.extend(_in_clear(config, own, project, path))
    if any(problem.severity == "error" for problem in problems):
        raise SpecError(problems)
    environment = _environment(document.get("environment"), path)
    return EngineConfig(config, environment, tuple(problems))


def _in_clear(
    config: Mapping[str, Any], own: Container[str], project: Project | None, path: Path
) -> Iterator[Problem]:
    """Problems of our secrets that are not encrypted; of an empty one other checks tell. ``own``
    are the keys of the stack file itself."""
    for key, value in config.items():
        name = key.removeprefix(NAMESPACE)
        if name == key or not name.startswith(PREFIXES) or value == "":
            continue
        if any(sealed_paths(value, key)):
            continue
        file = " < KEYFILE" if name.startswith(SSH_PREFIX) else ""
        command = f"`pulumi config set --secret {key} --stack {stack_of(path)}{file}`"
        cure, where = f"{command} encrypts it", path
        if project is not None and key not in own:
            cure, where = f"remove it there, and {command} sets it encrypted", project.path
        reason = f"it is a secret, and {where} has it as text that everybody can read"
        yield Problem(key, "plain text", reason, f"{cure}; where others have seen it, change it")


def _with_declared(
    config: dict[str, Any], project: Project, key: str
) -> tuple[dict[str, Any], list[Problem]]:
    """The configuration with a project's declaration of a key applied, and its problems."""
    declared, (namespace, _, name) = project.config[key], key.partition(":")
    try:
        head, *rest = paths.parse(name)
        full = f"{namespace}:{head}"
        there, value = paths.find(config[full], tuple(rest)) if full in config else (False, None)
        if not there and declared.value is not None:
            value = _given(declared.value, inside=bool(rest))
            config = {**config, full: paths.put(config.get(full), tuple(rest), value)}
            there = True
    except paths.InvalidPath as error:
        return config, [Problem(str(project.path), key, str(error), "mend the key")]
    if not there:
        if not declared.required:
            return config, []
        reason = f"{project.path} requires it of every stack"
        return config, [Problem(key, "unset", reason, f"pulumi config set {key}")]
    if declared.kind is None or isinstance(value, Sealed):
        return config, []
    if declared.secret:
        reason = f"{project.path} declares it a secret"
        return config, [Problem(key, "plain text", reason, f"pulumi config set --secret {key}")]
    if not has_type(_text(value), declared.kind, declared.items):
        reason = f"{project.path} declares it of the type {declared.kind}"
        return config, [Problem(key, type(value).__name__, reason, "give a value of that type")]
    return config, []


def defaults(project: Project) -> Iterator[tuple[paths.Path, Any]]:
    """The ``mesh:`` values that a project sets for all stacks: path without namespace, value."""
    for key, declared in sorted(project.config.items()):
        if key.startswith(NAMESPACE) and declared.value is not None:
            path = paths.parse(key.removeprefix(NAMESPACE))
            given = _given(declared.value, inside=len(path) > 1)
            yield path, given if len(path) > 1 else _value(str(path[0]), given)


def _document(project: Project | None, path: Path) -> dict[str, Any]:
    try:
        document = read_document(path)
    except FileNotFoundError:
        if project is None or not any(key.startswith(NAMESPACE) for key in project.config):
            raise
        return {}
    except OSError as error:
        raise SpecError([
            Problem(str(path), "unreadable", str(error), "give a file that can be read")
        ]) from None  # fmt: skip
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SpecError([_no_map(path, document)])
    return document


def _no_map(path: Path, value: Any) -> Problem:
    return Problem(str(path), "empty" if not value else shown(value),
                   "there is no `config:` map in it",
                   "write the keys under `config:`, for example config: {mesh:asn: 27218}"
                   )  # fmt: skip


def _stack_config(
    config: Any, project: Project | None, path: Path
) -> tuple[dict[str, Any], list[Problem]]:
    """The keys that a stack file sets, with namespace, and their problems."""
    if config is None:
        return {}, []
    if not isinstance(config, dict):
        raise SpecError([_no_map(path, config)])
    found: dict[str, Any] = {}
    problems = list(without_namespace(config, project, f"{path}: config"))
    for key, value in config.items():
        full = config_key(key, None if project is None else project.name)
        if full is None:
            if project is None and ":" not in key:
                continue  # in the project's own namespace, which is not known here
            reason = "this is no configuration key"
            cure = "write a namespace, a colon and a name, as mesh:asn"
            problems.append(Problem(f"{path}: config", key, reason, cure))
        elif full in found:
            reason = f"it is set twice, as {full} and in its old or short form"
            problems.append(Problem(f"{path}: config", key, reason, "remove one of the two"))
        else:
            found[full] = _top(value)
    return found, problems


def _top(value: Any) -> Any:
    """A value as the engine keeps it: a scalar as text, an empty one as an empty text."""
    return _text(_numbers(_unsealed(value)) if isinstance(value, dict | list) else value)


def _text(value: Any) -> Any:
    if isinstance(value, dict | list | Sealed):
        return value
    return "" if value is None else documents.text(value)


def _given(value: Any, *, inside: bool) -> Any:
    """A value of the project's as the engine puts it into a stack's configuration."""
    kept = _top(value)
    return paths.coerced(kept) if inside and isinstance(kept, str) else kept


def _unsealed(value: Any) -> Any:
    """The value with :class:`Sealed` in place of every secret."""
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(value.get("secure"), str):
            return Sealed()
        return {key: _unsealed(inner) for key, inner in value.items()}
    return [_unsealed(inner) for inner in value] if isinstance(value, list) else value


def _numbers(value: Any) -> Any:
    """The value with its numbers as the engine's JSON has them: 64 bits, signed."""
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return documents.number(float(value)) if abs(value) < 10**300 else value
    return documents.number(value) if isinstance(value, float) else value


def _environment(written: Any, path: Path) -> Environment | None:
    """The ``environment:`` of a stack file: a list of environments, or a definition in place."""
    if not written:
        return None
    if isinstance(written, list):
        return Environment(tuple(map(str, written)), ())
    if not isinstance(written, dict):
        raise SpecError([
            Problem(f"{path}: environment", shown(written), "this is neither a list nor a map",
                    "list the environments: environment: [acme/prod]")
        ])  # fmt: skip
    imports, given = written.get("imports"), written.get("values")
    given = given.get("pulumiConfig") if isinstance(given, dict) else given
    if given is None:
        keys: tuple[str, ...] | None = ()
    elif isinstance(given, dict) and not any(key.startswith("fn::") for key in given):
        keys = tuple(k.removeprefix(NAMESPACE) for k in given if k.startswith(NAMESPACE))
    else:
        keys = None
    names = tuple(map(_import, imports if isinstance(imports, list) else ()))
    return Environment(names, keys) if names or keys != () else None


def _import(written: Any) -> str:
    """The environment that one import names; it may have options below it."""
    return str(next(iter(written), "")) if isinstance(written, dict) else str(written)
