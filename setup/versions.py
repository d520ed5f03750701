"""Reads ``versions.toml``, the one place where releases, series and pinned versions are named."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent


@dataclass(frozen=True, slots=True)
class Layer:
    """Packages of one Debian release that are unpacked over the node image.

    ``series`` is the minor series (``3.1``) of the first one on which tests were measured; the
    release may have another by now.
    """

    name: str
    suite: str
    series: str
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Versions:
    """The content of ``versions.toml``. Versions are strings as their projects write them.

    ``series`` are minor series by package: those of the nodes' release that templates know.
    """

    pulumi: str
    pulumi_below: str
    debian_suite: str
    series: tuple[tuple[str, str], ...]
    layers: tuple[Layer, ...]


def load(path: Path = HERE / "versions.toml") -> Versions:
    """Read ``versions.toml``."""
    table = tomllib.loads(path.read_text())
    return Versions(
        pulumi=table["pulumi"]["version"],
        pulumi_below=table["pulumi"]["below"],
        debian_suite=table["debian"]["suite"],
        series=tuple(table["debian"]["series"].items()),
        layers=tuple(
            Layer(name, layer["suite"], layer["series"], tuple(layer["packages"]))
            for name, layer in table["layers"].items()
        ),
    )


def numbers(version: str) -> tuple[int, ...]:
    """Return ``v3.258.0-alpha+dirty`` as (3, 258, 0), for comparing.

    Raises ValueError when there is no number to compare.
    """
    plain = version.strip().removeprefix("v").split("+")[0].split("-")[0]
    return tuple(int(part) for part in plain.split("."))
