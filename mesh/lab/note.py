"""The record, on this machine, of the lab's world that was raised last.

A module of its own, since every preview asks: :mod:`mesh.lab.world` takes several times as long to
import as all that a preview does with the resources of a lab.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from mesh.lab.lab_files import LabFiles


def digest(plan: str, passwords: Mapping[str, str]) -> str:
    """A digest of a world's inputs: the plan as text, and the passwords."""
    return sha256(json.dumps([plan, sorted(passwords.items())]).encode()).hexdigest()


def write(files: LabFiles, raised: str, inputs: str = "") -> None:
    """Record the world that is ``raised``, and the digest of its ``inputs``."""
    path = _path(files)
    path.touch(mode=0o600)
    path.write_text(f"{raised}\n{inputs}" if inputs else raised)


def raised(files: LabFiles) -> str | None:
    """The recorded world; None where there is none."""
    lines = _lines(files)
    return None if lines is None else "".join(lines[:1])


def has_inputs(files: LabFiles, inputs: str) -> bool:
    """Whether the world that was raised last has these inputs, by their digest."""
    return (_lines(files) or [])[1:] == [inputs]


def _lines(files: LabFiles) -> list[str] | None:
    try:
        return _path(files).read_text().splitlines()
    except FileNotFoundError:
        return None


def _path(files: LabFiles) -> Path:
    return files.runtime / "raised"
