"""The files of a stack's configuration, and the values that they set."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mesh.spec.engine import (
    NAMESPACE,
    EngineConfig,
    Project,
    from_engine,
    nearest,
    read,
    stack_name,
    without_namespace,
)
from mesh.spec.engine.project import path_above
from mesh.spec.problems import Problem, SpecError

EXAMPLES = "examples"
"""Folder beside the stack files that may hold a twin's original as well."""


def project_folder() -> Path:
    """The folder of the working directory's project, as the engine finds it; SpecError where there
    is none."""
    path = path_above(Path())
    if path is None:
        raise SpecError([
            Problem("Pulumi.yaml", "missing", f"neither {Path.cwd()} nor a folder above it has one",
                    "run this in the project, or name the folder of the stack files with --root")
        ])  # fmt: skip
    return path.parent


def stack_file(stack: str, root: Path) -> tuple[Project | None, Path]:
    """The project of a folder, and the path of a stack's file.

    That is the folder that the project file names, by default its own; but ``root`` where that is
    another folder. SpecError for an invalid name, or a stack of another project.
    """
    name, project = stack_name(stack), nearest(root)
    if project is not None and project.path.parent == root:
        return project, project.file_of(name)
    if project is not None:
        project.file_of(name)
    suffix = ".yaml" if project is None else project.path.suffix
    return project, root / f"Pulumi.{name.name}{suffix}"


def read_stack_file(path: Path) -> dict[str, Any]:
    """The ``mesh:`` keys of a stack file, without namespace; SpecError where it is no stack
    file."""
    return from_engine(engine_config(nearest(path.parent), path).config)


def engine_config(project: Project | None, path: Path) -> EngineConfig:
    """The configuration that the engine passes for a stack file; SpecError where it is no stack
    file, or sets no ``mesh:`` key."""
    try:
        found = read(project, path)
    except FileNotFoundError:
        raise SpecError([
            Problem(str(path), "missing", "there is no such stack file", _where_others_are(path))
        ]) from None  # fmt: skip
    if not any(key.startswith(NAMESPACE) for key in found.config) and found.environment is None:
        raise SpecError([
            Problem(str(path), "empty", "there is no `mesh:` key under `config:` in it",
                    "write the keys under `config:`, for example config: {mesh:asn: 27218}")
        ])  # fmt: skip
    return found


def refuse_unread(keys: Iterable[str], name: str, root: Path) -> None:
    """SpecError where the engine passes a key that means one of ours and is in another namespace.
    ``name`` is the project's, ``root`` the folder of its stack files."""
    found = [*without_namespace(keys, None, "config", name)]
    if found:  # in most projects there is none, and the project file need not be read
        found = [*without_namespace(keys, nearest(root), "config")]
    if found:
        raise SpecError(found)


def _where_others_are(path: Path) -> str:
    """The cure for a missing stack file."""
    if (path.parent / EXAMPLES / path.name).exists():
        examples = path.parent / EXAMPLES
        return f"copy {examples / path.name} beside Pulumi.yaml, or read it with --root {examples}"
    names = sorted(each.name for each in path.parent.glob("Pulumi.*.yaml"))
    if not names:
        return "run this in the project, or name its folder with --root"
    return f"name one of {', '.join(names)} with --stack"
