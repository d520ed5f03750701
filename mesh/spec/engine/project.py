"""The project file: its path, the folder of its stack files, and the keys that it sets for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.spec.engine.documents import ParseError, read_json, read_yaml
from mesh.spec.engine.stack import SUFFIXES, StackName
from mesh.spec.problems import Problem, SpecError, shown

BASE = "Pulumi"
DECLARATION = {"type", "items", "description", "secret", "default", "value"}
WHOLE = 240
"""Characters of a parser's error that are shown: its sentence, also with a long key in it."""
OF_THE_PARSER = {
    r"'\t'": "write spaces in place of the tab",
    "is set twice": "write what both have under one of them",
    "<block end>": "give the line the indentation of those that it belongs to",
}
"""The cure of a parser's error, by a part of its text."""
KINDS = ("string", "integer", "boolean", "array", "object")


@dataclass(frozen=True, slots=True)
class Declared:
    """A project file's declaration of one key. ``value`` is its default, None for none. Every stack
    has to set a ``required`` key; ``kind`` and ``items`` are the key's type."""

    value: Any = None
    required: bool = False
    secret: bool = False
    kind: str | None = None
    items: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """A project file. ``stacks`` is the folder of its stack files, ``config`` its declarations by
    key with namespace (``mesh:asn``, or a path: ``mesh:regions.lax.name``)."""

    path: Path
    name: str
    stacks: Path
    config: Mapping[str, Declared] = field(default_factory=dict)

    def file(self, stack: str) -> Path:
        """The path of that stack's file, which may not exist."""
        return self.stacks / f"{BASE}.{stack}{self.path.suffix}"

    def file_of(self, stack: StackName) -> Path:
        """The same for a stack that may be named with its project; SpecError for another
        project's."""
        if stack.project not in (None, self.name):
            raise SpecError([
                Problem("--stack", str(stack), f"{self.path} is the project {self.name}, and the "
                        f"stack is of {stack.project}",
                        f"write {stack.organization}/{self.name}/{stack.name}, or run this in the "
                        f"folder of {stack.project}")
            ])  # fmt: skip
        return self.file(stack.name)


def nearest(folder: Path) -> Project | None:
    """The project of a folder: the project file in it or in the nearest folder above. SpecError
    where that file cannot be used."""
    path = path_above(folder)
    return None if path is None else _load(path)


def path_above(folder: Path) -> Path | None:
    """The project file in a folder or in the nearest one above it; relative to ``folder`` where it
    is in that."""
    for place in (folder, *folder.absolute().parents):
        for suffix in SUFFIXES:
            path = place / f"{BASE}{suffix}"
            if path.is_file():
                return path
    return None


def read_document(path: Path) -> Any:
    """A YAML or JSON file as the engine reads it; SpecError where it is not valid. The caller
    handles OSError."""
    try:
        text = path.read_bytes()
        return read_json(text) if path.suffix == ".json" else read_yaml(text)
    except ParseError as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise SpecError([
            Problem(str(path), shown(str(error), WHOLE), f"this is not {kind}", _cure(str(error)))
        ]) from None  # fmt: skip


def _cure(error: str) -> str:
    """What to do about a parser's error."""
    return next((cure for part, cure in OF_THE_PARSER.items() if part in error), "mend that line")


def config_key(key: str, project: str | None) -> str | None:
    """A key with its namespace, by default the project's; None where the engine takes no such
    key."""
    match key.split(":"):
        case [name] if project is not None:
            return f"{project}:{name}"
        case [namespace, name]:
            return f"{namespace}:{name}"
        case [namespace, "config", name]:  # the old form
            return f"{namespace}:{name}"
    return None


def has_type(value: Any, kind: str, items: Mapping[str, Any] | None) -> bool:
    """Whether a value is of the type that a project declares (sdk: ValidateConfigValue)."""
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            if isinstance(value, str):
                digits = value[1:] if value[:1] in ("+", "-") else value
                return digits.isascii() and digits.isdigit()
            return isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool) or value in ("true", "false")
        case "object":
            return isinstance(value, dict)
    return (
        isinstance(value, list)
        and items is not None
        and all(has_type(each, str(items.get("type")), items.get("items")) for each in value)
    )


def _load(path: Path) -> Project:
    try:
        document = read_document(path)
    except OSError as error:
        raise _unusable(path, shown(str(error)), "it cannot be read", "give a readable file") from (
            None
        )
    name = document.get("name") if isinstance(document, dict) else None
    if not isinstance(name, str) or not name:
        raise _unusable(path, shown(document), "there is no `name:` in it",
                        "add one, as name: anycast-mesh")  # fmt: skip
    config, folder = document.get("config"), document.get("stackConfigDir")
    if isinstance(config, str):  # in old project files this is the folder
        if folder is not None:
            raise _unusable(path, shown(config), "config and stackConfigDir both name a folder",
                            "remove the line config:")  # fmt: skip
        config, folder = None, config
    if not isinstance(config, dict | None):
        raise _unusable(path, shown(config), "`config:` is no map", "write a key per line")
    if not isinstance(folder, str | None):
        raise _unusable(path, shown(folder), "`stackConfigDir:` is no text", "name a folder")
    stacks = path.parent / folder if folder else path.parent
    declared: dict[str, Declared] = {}
    problems: list[Problem] = []
    for key, value in (config or {}).items():
        try:
            full = config_key(key, name)
            if full is None:
                raise ValueError("this is no configuration key; write it as mesh:asn")
            declared[full] = _declared(value, own=full.startswith(f"{name}:"))
        except ValueError as error:
            reason, _, cure = str(error).partition("; ")
            problems.append(Problem(f"{path}: config", key, reason, cure))
    if problems:
        raise SpecError(problems)
    return Project(path, name, stacks, declared)


def _declared(value: Any, *, own: bool) -> Declared:
    """A project file's declaration of one key; only keys of the project's ``own`` namespace have
    types and defaults. ValueError with reason and cure where the engine refuses it."""
    if isinstance(value, str | bool | int | list):
        return Declared(value)
    if not isinstance(value, dict):
        raise ValueError(
            "a key of the project is text, a whole number, true, false or a list; "
            "write anything else below it as value: …"
        )
    for name in sorted(set(value) - DECLARATION):
        raise ValueError(f"a key of the project has no {name}; write a map below it as value: …")
    kind, items = value.get("type"), value.get("items")
    if kind is not None and kind not in KINDS:
        raise ValueError(f"there is no type {kind}; use one of {', '.join(KINDS)}")
    found, default = value.get("value"), value.get("default")
    if not own:
        for name in ("type", "default"):
            if value.get(name) is not None:
                raise ValueError(
                    f"only keys of the project's own namespace have a {name}; "
                    "write value: … for what all stacks have"
                )
        if found is None:
            raise ValueError("it sets nothing; write value: …, or remove it")
        return Declared(found)
    if found is not None and default is not None:
        raise ValueError("it has both a value and a default; remove one of the two")
    if kind == "array" and not isinstance(items, dict):
        raise ValueError("the type of what the array holds is missing; add items: {type: …}")
    if kind is not None and default is not None and not has_type(default, kind, items):
        raise ValueError(f"the default is not of the type {kind}; write one that is")
    either = found if found is not None else default
    return Declared(either, either is None, bool(value.get("secret")), kind, items)


def _unusable(path: Path, value: str, reason: str, cure: str) -> SpecError:
    return SpecError([Problem(str(path), value, reason, cure)])
