"""Replies on BIRD's control socket (``doc/reply_codes`` in its sources)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

MOST = 8 << 20
"""Bytes of one reply that are read."""


class Lines(Protocol):
    """The source of a reply's lines."""

    def readline(self, limit: int, /) -> bytes:
        """The next line with its line end; without it if the source ends."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """BIRD's lines, each with its code."""

    lines: tuple[tuple[int, str], ...]

    @property
    def error(self) -> str | None:
        """BIRD's error text (codes 8xxx and 9xxx); None if it has not refused."""
        return next((text for code, text in self.lines if code >= 8000), None)

    @property
    def text(self) -> str:
        """The lines without their codes, as ``birdc`` prints them."""
        return "".join(f"{text}\n" for _, text in self.lines)


def read(file: Lines) -> Reply:
    """Reads lines ``NNNN-text`` until ``NNNN text``; a leading space repeats the code. Raises
    ValueError if the reply is cut off or too long."""
    lines: list[tuple[int, str]] = []
    code, size = 0, 0
    while True:
        raw = file.readline(65536)
        size += len(raw)
        if not raw.endswith(b"\n") or size > MOST:
            raise ValueError("its reply is cut off")
        if raw.startswith(b" "):
            # Nearly all lines of a long reply.
            lines.append((code, raw[1:-1].decode("utf-8", "replace")))
            continue
        text = raw.decode("utf-8", "replace").rstrip("\n")
        if text[:4].isdigit() and text[4:5] in ("-", " "):
            code = int(text[:4])
            lines.append((code, text[5:]))
            if text[4] == " ":
                return Reply(tuple(lines))
        else:
            lines.append((code, text[1:]))
