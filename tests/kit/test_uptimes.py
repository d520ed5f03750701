"""A session that was restarted is told apart from one whose time BIRD prints differently."""

from __future__ import annotations

import pytest

from tests.kit.uptimes import restarted, since, up_since

LIST = """\
Name       Proto      Table      State  Since         Info
kernel4    Kernel     master4    up     17:26:30.000
vultr4     BGP        ---        up     {0}  Established
vultr6     BGP        ---        start  17:26:31.004  Active        Socket: Connection refused
gone4      BGP        ---        down   17:26:31.004
"""


def test_sessions_and_their_times_are_found() -> None:
    shown = LIST.format("17:26:34.841")
    assert since(shown) == {"vultr4": 62794.841, "vultr6": 62791.004, "gone4": 62791.004}
    assert up_since(shown) == {"vultr4": 62794.841}


@pytest.mark.parametrize(
    ("now", "ended"),
    [("17:26:34.842", []), ("17:26:34.999", ["vultr4"]), ("17:27:34.841", ["vultr4"])],
)
def test_another_last_digit_is_no_restart(now: str, ended: list[str]) -> None:
    assert restarted(since(LIST.format("17:26:34.841")), since(LIST.format(now))) == ended


def test_a_session_that_is_gone_or_new_is_one() -> None:
    assert restarted({"a": 1.0, "b": 1.0}, {"b": 1.0, "c": 1.0}) == ["a", "c"]


def test_nothing_to_compare_with_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="a session before"):
        restarted({}, {})
