"""What a change touches, from the engine's own preview: servers, sessions and prefixes.

Pure: text in, values and text out. Who asks the engine is :mod:`mesh.cli.preview`.
"""

from __future__ import annotations

from mesh.preview.gate import Asked, Heard, Limit, gate, wants_announcers
from mesh.preview.state import Deployed, read_state
from mesh.preview.steps import Preview, Unreadable, read
from mesh.preview.summary import Summary, summarise
from mesh.preview.words import markdown, terminal

__all__ = [
    "Asked",
    "Deployed",
    "Heard",
    "Limit",
    "Preview",
    "Summary",
    "Unreadable",
    "gate",
    "markdown",
    "read",
    "read_state",
    "summarise",
    "terminal",
    "wants_announcers",
]
