"""promtool, as Debian's releases have it: it reads rules and metrics, and opens no socket."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.kit.machine import layer
from tests.kit.wait import patience

RELEASES = ("bookworm", "trixie")
"""Debian's releases, of which each has another Prometheus."""


def promtool(
    release: str, *words: str, cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """What a release's promtool says."""
    program = layer(f"{release}-promtool") / "usr/bin/promtool"
    return subprocess.run(
        [program, *words], cwd=cwd, input=stdin, capture_output=True, text=True, check=False,
        timeout=patience(60),
    )  # fmt: skip
