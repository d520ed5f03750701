"""What a service serves from the operator's repository: as the plan knows it, and what an artefact
may contain.

An artefact is a tar archive of regular files, named by the SHA-256 of its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

WELL_KNOWN = ".well-known"
"""The one name with a leading dot that travels (RFC 8615)."""
MAX_PATH, MAX_STEP = 1000, 255
"""Bytes of a file's name with its folders, and of one step of it."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone of DNS, the serial of its SOA record, and the SHA-256 of its file."""

    name: str
    serial: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """An artefact: the SHA-256 of its bytes, how many these are, and the files in it; ``zones`` are
    those of its zone files."""

    sha256: str
    size: int
    files: int
    zones: tuple[Zone, ...] = ()


def is_hidden(step: str) -> bool:
    """Whether a file or folder of this name stays out of artefacts."""
    return step.startswith(".") and step != WELL_KNOWN


def name_problem(name: str) -> str:
    """Why an artefact may not contain a file of this name, with ``/`` between its steps; empty if
    it may."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    if any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in name):
        return "contains a control character"
    steps = name.split("/")
    if any(step in ("", ".", "..") or is_hidden(step) for step in steps):
        return "is no plain relative path"
    if size > MAX_PATH or any(len(step.encode()) > MAX_STEP for step in steps):
        return f"is longer than {MAX_PATH} bytes, or {MAX_STEP} in one step"
    return ""
