"""When a node's hold ends, by its own word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.publish.hold import held_until
from tests.publish.test_status import LAX, report

NOW = 1_700_000_000


@pytest.mark.parametrize(
    ("held", "until"),
    [
        (None, ""),
        (0, ""),
        (NOW - 1, ""),
        (NOW + 600, "2023-11-14T22:23:20Z"),
        # Four hours at most, whatever a node says.
        (2**53 - 1, "2023-11-15T02:13:20Z"),
    ],
)
def test_the_end_of_a_hold(held: int | None, until: str) -> None:
    one = report(LAX)
    one = replace(one, health=replace(one.health, held=held))
    assert held_until(one, NOW) == until
