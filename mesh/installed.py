"""Where what lies beside the code is: in a checkout, or where a wheel was installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_PACKAGED = _PACKAGE / "templates"
TEMPLATES = _PACKAGED if _PACKAGED.is_dir() else _PACKAGE.with_name("templates")
"""In the package where a wheel was installed (``setup/wheel.py``), else beside it in a checkout."""
