"""The messages that the page for trouble explains are such as the program says."""

from __future__ import annotations

import re

import pytest

from tests.docs.said import texts
from tests.kit.stacks import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ROW = re.compile(r"^\| (`+)(.+?) ?\1 \|", re.MULTILINE)
"""A message stands in the first column of a table, with ``…`` for what is filled in."""
MESSAGES = [message for _, message in ROW.findall(PAGE)]


@pytest.fixture(scope="module")
def said() -> list[str]:
    return [*texts(ROOT / "mesh"), *texts(ROOT / "setup")]


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 30


@pytest.mark.parametrize("message", MESSAGES)
def test_the_program_says_it(message: str, said: list[str]) -> None:
    assert any(message in text for text in said)
