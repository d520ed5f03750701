"""Which files a stack's configuration lies in, and what they set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mesh.spec.engine import NAMESPACE, Handed, Project, from_engine, nearest, read, stack_name
from mesh.spec.engine.project import path_above
from mesh.spec.problems import Problem, SpecError

EXAMPLES = "examples"
"""Folder beside the stack files in which a twin's original may lie as well."""


def project_folder() -> Path:
    """The folder of the project that the working directory is part of, as the engine finds it;
    SpecError outside of any."""
    path = path_above(Path())
    if path is None:
        raise SpecError([
            Problem("Pulumi.yaml", "missing", f"neither {Path.cwd()} nor a folder above it has one",
                    "run this in the project, or name the folder of the stack files with --root")
        ])  # fmt: skip
    return path.parent


def stack_file(stack: str, root: Path) -> tuple[Project | None, Path]:
    """The project that a folder is part of, and where the file of a stack lies.

    That is beside the project file, or where that says; but in ``root`` itself where that is
    another folder. SpecError where no stack can be called so, or where it is of another project.
    """
    name, project = stack_name(stack), nearest(root)
    if project is not None and project.path.parent == root:
        return project, project.file_of(name)
    if project is not None:
        project.file_of(name)
    suffix = ".yaml" if project is None else project.path.suffix
    return project, root / f"Pulumi.{name.name}{suffix}"


def read_stack_file(path: Path) -> dict[str, Any]:
    """The ``mesh:`` keys of a stack file, without namespace; SpecError where it is not one."""
    return from_engine(handed(nearest(path.parent), path).config)


def handed(project: Project | None, path: Path) -> Handed:
    """What the engine hands over for a stack file; SpecError where that is not one, or sets no
    ``mesh:`` key."""
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


def _where_others_are(path: Path) -> str:
    """What to do about a stack file that is not there."""
    if (path.parent / EXAMPLES / path.name).exists():
        examples = path.parent / EXAMPLES
        return f"copy {examples / path.name} beside Pulumi.yaml, or read it with --root {examples}"
    names = sorted(each.name for each in path.parent.glob("Pulumi.*.yaml"))
    if not names:
        return "run this in the project, or name its folder with --root"
    return f"name one of {', '.join(names)} with --stack"
