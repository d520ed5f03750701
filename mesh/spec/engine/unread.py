"""Keys that nothing reads because of where they stand, or of how they are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from mesh.spec.engine.project import Project, config_key
from mesh.spec.model import SECTIONS
from mesh.spec.problems import Problem
from mesh.spec.secrets import PREFIXES

NAMESPACE = "mesh:"
BESIDE_CONFIG = ("config", "environment", "secretsprovider", "encryptedkey", "encryptionsalt")
"""The keys of a stack file that Pulumi knows (pulumi.com/docs: Stack settings file reference)."""


def outside_config(keys: Iterable[str], path: Path) -> Iterator[Problem]:
    """Problems of what a stack file has beside ``config:``. A key that Pulumi does not know is a
    warning, since a later Pulumi may."""
    for key in keys:
        ours = _ours(key)
        if ours is not None and key.lower().startswith(NAMESPACE):
            yield Problem(
                str(path), key, "it stands outside config:, where nothing reads it",
                f"indent it by two spaces under config:, as {ours}",
            )  # fmt: skip
        elif key not in BESIDE_CONFIG:
            cure = "remove it, unless it holds what an alias stands for"
            if ours is not None:
                cure = f"write it under config:, as {ours}"
            reason = "it stands outside config:, and Pulumi's stack files have no such key"
            yield Problem(str(path), key, reason, cure, "warning")


def without_namespace(
    keys: Iterable[str], project: Project | None, where: str
) -> Iterator[Problem]:
    """Problems of keys of the configuration that mean ours and are in another namespace. One in the
    project's own is a warning, and none where the project file declares it: a program that the
    mesh is a part of may read it."""
    name = "" if project is None else project.name
    for key in keys:
        full = config_key(key, name)
        if full is None or full.startswith(NAMESPACE):
            continue
        if project is not None and full in project.config:
            continue
        own = full.removeprefix(f"{name}:")
        ours = _ours(own)
        if ours is None:
            continue
        if own == full:
            reason = f"only {NAMESPACE} in small letters is the mesh's, and nothing reads this"
            yield Problem(where, key, reason, f"write {ours}")
        else:
            reason = (
                f"without {NAMESPACE} it is a key of the project itself, which the mesh ignores"
            )
            cure = f"write {ours}, or declare it in Pulumi.yaml if a program of yours reads it"
            yield Problem(where, key, reason, cure, "warning")


def _ours(key: str) -> str | None:
    """The key that is meant, with namespace: that of a section, a secret or a twin's original, or
    whatever is in the namespace ``mesh:`` in some letters; None for another one's."""
    in_namespace = key.lower().startswith(NAMESPACE)
    name = key[len(NAMESPACE) :] if in_namespace else key
    known = {each.lower(): each for each in (*SECTIONS, "twin")}
    if name.lower() in known:
        return NAMESPACE + known[name.lower()]
    return NAMESPACE + name if in_namespace or name.startswith(PREFIXES) else None
