"""Reads ``versions.toml``, the one place where versions are pinned."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent


@dataclass(frozen=True, slots=True)
class Layer:
    """Packages of one Debian release that are unpacked over the node image.

    ``version`` is the first one's, without Debian's revision.
    """

    name: str
    version: str
    suite: str
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Versions:
    """What ``versions.toml`` says. Versions are strings as their projects write them."""

    python_minimum: str
    pulumi: str
    pulumi_below: str
    debian_suite: str
    layers: tuple[Layer, ...]


def load(path: Path = HERE / "versions.toml") -> Versions:
    """Return the pinned versions."""
    table = tomllib.loads(path.read_text())
    return Versions(
        python_minimum=table["python"]["minimum"],
        pulumi=table["pulumi"]["version"],
        pulumi_below=table["pulumi"]["below"],
        debian_suite=table["debian"]["suite"],
        layers=tuple(
            Layer(name, layer["version"], layer["suite"], tuple(layer["packages"]))
            for name, layer in table["layers"].items()
        ),
    )


def numbers(version: str) -> tuple[int, ...]:
    """Return ``v3.258.0-alpha+dirty`` as (3, 258, 0), for comparing.

    Raises ValueError when there is no number to compare.
    """
    plain = version.strip().removeprefix("v").split("+")[0].split("-")[0]
    return tuple(int(part) for part in plain.split("."))
