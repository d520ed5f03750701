"""How a problem reads, whoever had a say in it."""

from __future__ import annotations

import pytest

from mesh.foreign import printable
from mesh.spec.problems import Problem

TEXTS = [
    ("plain words, and Zürich", "plain words, and Zürich"),
    ("two\nlines\r\nmore", "two lines more"),
    ("\x1b[2J\x1b]0;title\x07gone", "gone"),
    ("\x9b31m", "31m"),
    ("\u202egnp.exe\u2028next\ud800", "gnp.exe next"),
    ("::add-mask::no", ": :add-mask::no"),
    (" \n::error::no", ": :error::no"),
    ("a ##[add-path]/tmp", "a # #[add-path]/tmp"),
    ("a ###vso[task]", "a # # #vso[task]"),
    ("#1", "#1"),
]


@pytest.mark.parametrize(("text", "said"), TEXTS)
def test_a_text_of_others_commands_no_terminal_and_no_runner(text: str, said: str) -> None:
    assert printable(text) == said


@pytest.mark.parametrize("text", [text for text, _ in TEXTS])
def test_a_problem_is_one_line_whatever_the_other_side_has_said(text: str) -> None:
    said = str(Problem("mesh:key", text, text, "mend it"))
    assert said.isprintable()
    assert "##" not in said
    assert said.startswith("mesh:key = ")
