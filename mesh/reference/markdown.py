"""Pieces of Markdown that GitHub and MkDocs show alike."""

from __future__ import annotations

import re
from collections.abc import Iterable

COMMAND = "python -m mesh.reference"

_CODE = re.compile(r"(`[^`]+`)")
_ROLE = re.compile(r":[a-z]+:(?=`)")
"""The role before a name in a docstring."""
_OPTION = re.compile(r"(?<![\w`-])(--[a-z][a-z-]*)")


def begun(title: str, source: str) -> list[str]:
    """The beginning of a page: its title, and how it is generated."""
    note = f"This page is written by `{COMMAND}` from {source}. Change it there, not here."
    return [f"# {title}", note]


def page(blocks: Iterable[str]) -> str:
    """Blocks with an empty line between them."""
    return "\n\n".join(blocks) + "\n"


def prose(text: str) -> str:
    """The text of a docstring on one line: code is marked, all else is escaped."""
    line = " ".join(_ROLE.sub("", text).replace("``", "`").split())
    parts = _CODE.split(line)
    return "".join(part if part.startswith("`") else _plain(part) for part in parts)


def _plain(text: str) -> str:
    escaped = text.replace("<", "&lt;").replace("*", r"\*").replace("[", r"\[")
    return _OPTION.sub(r"`\1`", escaped)


def anchor(heading: str) -> str:
    """The anchor that a heading gets: small letters, and a hyphen for each space."""
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


def link(heading: str, text: str | None = None) -> str:
    """A link to a heading of the same page."""
    return f"[{text or heading}](#{anchor(heading)})"


def bullets(lines: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {line}" for line in lines)


def fenced(text: str, language: str = "") -> str:
    """A block of code."""
    return f"```{language}\n{text.strip()}\n```"
