"""Figures that are compared with those of the run before."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.history import KEPT, Figure, Run, last, read, slips, write


def figures(**values: float) -> dict[str, Figure]:
    """Figures in seconds."""
    return {name: Figure(value, "s") for name, value in values.items()}


def a_run(machine: str = "here", **values: float) -> Run:
    """A run with figures in seconds."""
    return Run("2026-01-01T00:00:00+00:00", "abc", machine, figures(**values))


class TestSlip:
    """What is worse by more than a third."""

    @pytest.mark.parametrize(
        ("before", "now", "slipped"),
        [(3.0, 4.1, True), (3.0, 4.0, False), (3.0, 1.0, False), (0.0, 1.0, False)],
    )
    def test_begins_above_a_third(self, before: float, now: float, slipped: bool) -> None:
        assert bool(slips(figures(one=before), figures(one=now))) == slipped

    @pytest.mark.parametrize(
        ("unit", "slipped"),
        [("s", True), ("ms", True), ("MB", True), ("MiB", True), ("x", True), ("files", False)],
    )
    def test_is_of_a_cost(self, unit: str, slipped: bool) -> None:
        assert bool(slips({"one": Figure(1, unit)}, {"one": Figure(2, unit)})) == slipped

    def test_is_not_of_another_unit_than_before(self) -> None:
        assert slips({"one": Figure(1, "s")}, {"one": Figure(1000, "ms")}) == []

    def test_is_not_of_a_figure_that_is_new_or_gone(self) -> None:
        assert slips(figures(gone=1), figures(new=9)) == []

    def test_is_told_with_both_numbers(self) -> None:
        (slip,) = slips(figures(same=1, one=2), figures(same=1, one=5))
        assert str(slip) == "one: 2.00 s before, 5.00 s now (2.50 x)"


class TestLast:
    """What a run is compared with."""

    def test_is_the_last_run_that_had_the_figure(self) -> None:
        runs = [a_run(one=1, two=1), a_run(one=2), a_run(three=3)]
        assert last(runs, "here") == figures(one=2, two=1, three=3)

    def test_is_of_the_same_machine(self) -> None:
        assert last([a_run(one=1), a_run("there", one=2)], "here") == figures(one=1)


class TestFile:
    """What is kept."""

    def test_gives_back_what_was_written(self, tmp_path: Path) -> None:
        runs = [a_run(one=1), a_run("there", two=2.5)]
        write(tmp_path / ".mesh" / "bench.json", runs)
        assert read(tmp_path / ".mesh" / "bench.json") == runs

    def test_that_is_not_there_has_no_runs(self, tmp_path: Path) -> None:
        assert read(tmp_path / "none.json") == []

    def test_keeps_the_newest(self, tmp_path: Path) -> None:
        write(tmp_path / "bench.json", [a_run(one=n) for n in range(KEPT + 1)])
        kept = read(tmp_path / "bench.json")
        assert (len(kept), kept[0], kept[-1]) == (KEPT, a_run(one=1), a_run(one=KEPT))

    @pytest.mark.parametrize("text", ["", "{}}", '["a"]', "[{}]", '[{"figures": []}]'])
    def test_that_is_broken_is_named_with_the_cure(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "bench.json").write_text(text)
        with pytest.raises(SystemExit, match=r"bench\.json .* move it away"):
            read(tmp_path / "bench.json")
