"""What a service serves from the operator's repository, as the plan knows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone of DNS, and the serial of its SOA record."""

    name: str
    serial: int


@dataclass(frozen=True, slots=True)
class Content:
    """An artefact: the SHA-256 of its bytes, how many these are, and the files in it; ``zones`` are
    those of its zone files."""

    sha256: str
    size: int
    files: int
    zones: tuple[Zone, ...] = ()
