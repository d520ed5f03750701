"""The bundle: agent and registry as one deterministic zip application.

The same sources give the same bytes on every machine, so that the SHA-256 in the user data and in
the manifest depends on the checkout alone.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from mesh.trust.encoding import sha256

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mesh/trust", "mesh/bird", "mesh/services", "mesh/registry", "mesh/glass", "mesh/agent")
SINGLE = (
    "mesh/__init__.py",
    "mesh/facts.py",
    "mesh/foreign.py",
    "mesh/limits.py",
    "mesh/netns.py",
    "mesh/operating_systems.py",
    "mesh/rates.py",
)
SUFFIXES = (".py", ".html", ".css", ".svg")
"""What of the packages is in the bundle."""
# The earliest time stamp of a zip.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = b'''"""Entry of the bundle."""

import os
import sys

# What is imported later comes from this file as well, whichever one the link names by then.
sys.path[0] = os.path.realpath(sys.path[0])

from mesh.agent.entry import main

main()
'''


def build() -> bytes:
    """The bundle of this checkout: sorted names, fixed times and modes."""
    names = [*SINGLE]
    for package in PACKAGES:
        names += [
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / package).rglob("*")
            if path.suffix in SUFFIXES
        ]
    sources = {name: _source(ROOT / name) for name in names}
    sources["__main__.py"] = _MAIN
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(sources):
            entry = zipfile.ZipInfo(name, date_time=_EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            # Stored, not deflated: zlib's output may differ between its versions.
            entry.compress_type = zipfile.ZIP_STORED
            archive.writestr(entry, sources[name])
    return buffer.getvalue()


def _source(path: Path) -> bytes:
    """A source with the repository's line ends, whatever a clone has."""
    return path.read_bytes().replace(b"\r\n", b"\n")


def digest(bundle: bytes) -> str:
    """SHA-256 in hex: the name of a bundle."""
    return sha256(bundle)
