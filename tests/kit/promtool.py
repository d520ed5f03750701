"""promtool, as Debian's releases have it: it reads rules and metrics, and opens no socket."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.kit.machine import layer
from tests.kit.wait import patience

RELEASES = ("bookworm", "trixie")
"""Debian's releases, of which each has another Prometheus."""


def promtool(
    release: str, *words: str, cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """What a release's promtool says. It collects garbage less often than Go programs do by
    themselves: that is a fifth of what it does with rules."""
    program = layer(f"{release}-promtool") / "usr/bin/promtool"
    return subprocess.run(
        [program, *words], cwd=cwd, input=stdin, capture_output=True, text=True, check=False,
        env=os.environ | {"GOGC": "400"}, timeout=patience(60),
    )  # fmt: skip
