"""The package versions that something was built from: recorded beside it as JSON, and printed.

Debian's mirrors have one version of each package and replace it by the next one, so no version is
demanded here; the record contains it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Found:
    """Packages of one release, with Debian's own versions of them.

    ``missing`` are those that the release does not have (any more), all of them where the mirror
    does not have the release.
    """

    suite: str
    packages: dict[str, str]
    missing: tuple[str, ...] = ()
    release: bool = True

    def text(self, package: str) -> str:
        """One package for display: ``bird3 3.1.8-0+deb13u1 (trixie)``."""
        return f"{package} {self.packages[package]} ({self.suite})"

    def lack(self) -> str:
        """A sentence on what is missing; empty where nothing is."""
        if not self.missing:
            return ""
        if not self.release:
            return f"this machine's mirror does not have the release {self.suite}"
        names = " and ".join(self.missing)
        return f"{self.suite} has no package {names} at this machine's mirror"


def moved_on(suite: str, package: str, version: str, series: str) -> str:
    """The message that a release has another minor series of a package than was measured."""
    return (
        f"{suite} has moved on to {package} {version}; templates and tests were measured on "
        f"{series}: tests that fail with it name it"
    )


def write(path: Path, found: Mapping[str, Found]) -> None:
    """Write a record: what was found, by the name of what was built from it."""
    table = {name: asdict(each) for name, each in found.items()}
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps(table, indent=2) + "\n")
    beside.replace(path)  # it is there in full, or not at all


def read(path: Path) -> dict[str, Found]:
    """Return a record."""
    table = json.loads(path.read_text())
    return {
        name: Found(each["suite"], each["packages"], tuple(each["missing"]), each["release"])
        for name, each in table.items()
    }


def upstream(version: str) -> str:
    """Return the project's own part of a Debian version: ``1:3.1.7-0+deb13u1`` is 3.1.7."""
    return re.sub(r"^\d+:|-[^-]*$", "", version)


def of_series(version: str, series: str) -> bool:
    """Whether a Debian version belongs to a minor series: ``3.1.8-0+deb13u1`` to ``3.1``."""
    plain = upstream(version)
    return plain == series or re.match(re.escape(series) + r"[.~+]", plain) is not None
