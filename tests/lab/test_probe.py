"""A probe's arithmetic, and its words."""

from __future__ import annotations

import pytest

from mesh.lab.errors import LabError
from mesh.lab.probe import Question, checksum, duration, report


def asked(answers: str, interval: float = 0.01) -> list[Question]:
    """One question per letter: who answered, or a dot for nobody."""
    return [
        Question(number * interval, None if letter == "." else letter)
        for number, letter in enumerate(answers)
    ]


@pytest.mark.parametrize(
    ("answers", "answered", "gap"),
    [
        ("aaaa", 4, 0.0),
        ("a..a", 2, 30.0),  # last answered at 0 ms, first answered again at 30 ms
        ("a.a..a", 3, 30.0),
        ("..aa", 2, 20.0),  # from the first question
        ("aa..", 2, 20.0),  # to the last question
        ("....", 0, 30.0),
        ("", 0, 0.0),
    ],
)
def test_the_longest_gap_is_between_questions_that_were_answered(
    answers: str, answered: int, gap: float
) -> None:
    result = report(asked(answers))
    assert (result.sent, result.answered) == (len(answers), answered)
    assert result.longest_gap_ms == pytest.approx(gap)


def test_who_answered_and_from_when_on() -> None:
    result = report(asked("aa.bba"))
    assert result.by == {"a": 3, "b": 2}
    assert result.turns == ((0.0, "a"), (30.0, "b"), (50.0, "a"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("10ms", 0.01), ("10s", 10), ("1.5s", 1.5), ("2m", 120), ("3", 3)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0s", "ms", "-1s", "1h", "ten"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="write a positive number"):
        duration(text)


def test_the_checksum_is_that_of_rfc_1071() -> None:
    # Section 3's example: the sum of these words is ddf2.
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF
