"""The files of a stack's configuration, and the values that they set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mesh.spec.engine import (
    NAMESPACE,
    EngineConfig,
    Project,
    from_engine,
    meant_by_file,
    nearest,
    read,
    stack_name,
    stack_of,
)
from mesh.spec.engine.project import path_above, read_document
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


def engine_config(
    project: Project | None, path: Path, *, original_in: Path | None = None
) -> EngineConfig:
    """The configuration that the engine passes for a stack file; SpecError where it is no stack
    file, or sets no ``mesh:`` key. ``original_in`` is the folder of the twin that names it, where
    it is an original."""
    try:
        found = read(project, path)
    except FileNotFoundError:
        problem = _missing(path) if original_in is None else _no_original(path, original_in)
        raise SpecError([problem]) from None
    if not any(key.startswith(NAMESPACE) for key in found.config) and found.environment is None:
        raise SpecError([
            Problem(str(path), "empty", "there is no `mesh:` key under `config:` in it",
                    "write the keys under `config:`, for example config: {mesh:asn: 27218}")
        ])  # fmt: skip
    return found


def _missing(path: Path) -> Problem:
    """The problem of a stack file that is not there; its name comes from --stack."""
    name = meant_by_file(stack_of(path)) or stack_of(path)
    meant, examples = path.with_name(f"Pulumi.{name}{path.suffix}"), path.parent / EXAMPLES
    names = [stack_of(each) for each in _stack_files(path.parent, path.suffix)]
    if meant.exists():
        cure = f"give the stack's name in place of its file's: --stack {name}"
    elif (examples / meant.name).exists():
        cure = f"copy {examples / meant.name} beside Pulumi.yaml, or read it with "
        cure += f"--root {examples}" if meant == path else f"--stack {name} --root {examples}"
    elif names:
        cure = f"name one of {', '.join(names)} with --stack"
    else:
        cure = "run this in the project, or name its folder with --root"
    return Problem(str(path), "missing", "there is no such stack file", cure)


def _no_original(path: Path, folder: Path) -> Problem:
    """The problem of a twin whose original is not there."""
    name = stack_of(path)
    files = [*_stack_files(folder, path.suffix), *_stack_files(folder / EXAMPLES, path.suffix)]
    originals = dict.fromkeys(stack_of(each) for each in files if not _is_twin(each))
    cure = (
        f"write one of {', '.join(originals)}" if originals else f"write the file of {name} first"
    )
    if (meant := meant_by_file(name)) in originals:
        cure = f"write the stack's name in place of its file's: {meant}"
    reason = f"a twin names the stack that it copies, and there is no {path}"
    return Problem("mesh:twin", name, reason, cure)


def _stack_files(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.glob(f"Pulumi.*{suffix}"))


def _is_twin(path: Path) -> bool:
    """Whether a stack file is that of a twin, which has no twin itself."""
    try:
        document = read_document(path)
    except (OSError, SpecError):
        return False
    config = document.get("config") if isinstance(document, dict) else None
    return isinstance(config, dict) and f"{NAMESPACE}twin" in config
