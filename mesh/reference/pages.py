"""Which pages there are, and where they lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mesh.reference import cli, configuration, metrics, outputs

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"

PAGES: Mapping[str, Callable[[], str]] = {
    "configuration.md": configuration.text,
    "cli.md": cli.text,
    "outputs.md": outputs.text,
    "metrics.md": metrics.text,
}
"""Every page by its file's name: a new one is one line."""
