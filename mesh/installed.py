"""The folder of the templates, in a checkout or in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_PACKAGED = _PACKAGE / "templates"
TEMPLATES = _PACKAGED if _PACKAGED.is_dir() else _PACKAGE.with_name("templates")
"""In the package of an installed wheel (``setup/wheel.py``), beside it in a checkout."""
