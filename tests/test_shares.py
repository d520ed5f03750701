"""Workers that collect shares of the files leave none out, and none twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shares import Share

FILES = [Path(f"test_{number}.py") for number in range(11)]


@pytest.mark.parametrize("workers", [1, 4, 12])
def test_each_file_is_in_one_share(workers: int) -> None:
    shares = [Share(number, workers) for number in range(workers)]
    held = [[file for file in FILES if share.holds(file)] for share in shares]
    assert sorted(file for each in held for file in each) == sorted(FILES)
    assert max(map(len, held)) - min(map(len, held)) <= 1


def test_a_file_that_is_asked_for_again_stays_where_it_is() -> None:
    share = Share(1, 4)
    assert [share.holds(file) for file in FILES] == [share.holds(file) for file in FILES]
