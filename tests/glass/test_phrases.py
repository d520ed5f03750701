"""Numbers and times are said in the unit that a reader would take."""

from __future__ import annotations

import pytest

from mesh.glass import phrases


@pytest.mark.parametrize(("seconds", "said"), [
    (0, "0 s"), (0.4, "0 s"), (59.6, "1 min"), (95, "1 min 35 s"), (3600, "1 h"),
    (3661, "1 h 1 min"), (86400, "1 d"), (90061, "1 d 1 h"), (-61, "1 min 1 s"),
    (86400 * 3650, "3,650 d"), (86401, "1 d"),
])  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds: float, said: str) -> None:
    assert phrases.duration(seconds) == said


@pytest.mark.parametrize(("moment", "said"), [
    (0, "unknown"), (940, "1 min"), (1000, "0 s"), (1060, "0 s"),
])  # fmt: skip
def test_what_is_unknown_and_what_is_to_come_has_no_age(moment: float, said: str) -> None:
    assert phrases.ago(moment, 1000) == said


@pytest.mark.parametrize(("moment", "said", "machine"), [
    (0, "unknown", ""),
    (1_790_000_000, "2026-09-21 14:13:20 UTC", "2026-09-21T14:13:20Z"),
    (2.0**53, "unknown", ""),
    (-1e30, "unknown", ""),
    (float("nan"), "unknown", ""),
])  # fmt: skip
def test_a_moment_is_a_date_where_it_is_one(moment: float, said: str, machine: str) -> None:
    assert (phrases.instant(moment), phrases.machine(moment)) == (said, machine)


@pytest.mark.parametrize(("number", "said"), [
    (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (812_345_678, "812 MB"),
    (91_234_567, "91.2 MB"), (2**63 - 1, "9,223 PB"),
])  # fmt: skip
def test_bytes_have_a_unit(number: int, said: str) -> None:
    assert phrases.size(number) == said


@pytest.mark.parametrize(("number", "said"), [(0, "0 nodes"), (1, "1 node"), (1200, "1,200 nodes")])
def test_a_noun_follows_its_number(number: int, said: str) -> None:
    assert phrases.few(number, "node") == said


@pytest.mark.parametrize(("seconds", "said"), [(0.0012, "1.2 ms"), (0.9996, "999.6 ms"),
                                               (2, "2.0 s")])  # fmt: skip
def test_how_long_an_answer_took(seconds: float, said: str) -> None:
    assert phrases.milliseconds(seconds) == said
