"""What this machine notes of the world of a lab that was raised last.

A module of its own, since every preview asks: :mod:`mesh.lab.world` takes several times as long to
import as all that a preview does with the resources of a lab.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from mesh.lab.lab_files import LabFiles


def told(plan: str, passwords: Mapping[str, str]) -> str:
    """A digest of what a world is raised by: the plan as text, and the passwords."""
    return sha256(json.dumps([plan, sorted(passwords.items())]).encode()).hexdigest()


def write(here: LabFiles, raised: str, by: str = "") -> None:
    """Note that a world is ``raised``, and ``by`` what it was told."""
    path = _path(here)
    path.touch(mode=0o600)
    path.write_text(f"{raised}\n{by}" if by else raised)


def raised(here: LabFiles) -> str | None:
    """What was raised; None where nothing is known."""
    lines = _lines(here)
    return None if lines is None else "".join(lines[:1])


def is_told(here: LabFiles, by: str) -> bool:
    """Whether the world that was raised last was told just that."""
    return (_lines(here) or [])[1:] == [by]


def _lines(here: LabFiles) -> list[str] | None:
    try:
        return _path(here).read_text().splitlines()
    except FileNotFoundError:
        return None


def _path(here: LabFiles) -> Path:
    return here.runtime / "raised"
