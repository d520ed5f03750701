"""Sessions in BIRD's own lines, as its versions print them."""

from __future__ import annotations

import pytest

from mesh.bird.protocols import Session, sessions
from mesh.bird.reply import Reply


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "vultr4     BGP        ---        up     02:34:38.896  Established   ",
            Session("Established", "02:34:38.896", ""),
        ),
        (
            "vultr4     BGP        ---        start  02:34:40.102  Active        "
            "Socket: Connection closed",
            Session("Active", "02:34:40.102", "Socket: Connection closed"),
        ),
        (
            "vultr4     BGP        ---        start  2026-11-26    Idle          Received: "
            "Administrative shutdown",
            Session("Idle", "2026-11-26", "Received: Administrative shutdown"),
        ),
        (
            "vultr4     BGP        ---        start  02:34:40.102  Idle          BGP Error: Hold "
            "timer expired",
            Session("Idle", "02:34:40.102", "BGP Error: Hold timer expired"),
        ),
        (
            "vultr4     BGP        ---        down   02:34:40.605  Automatic shutdown: Route limit "
            "exceeded",
            Session("down", "02:34:40.605", "Automatic shutdown: Route limit exceeded"),
        ),
        (
            "vultr4     BGP        ---        down   02:34:40.605  ",
            Session("down", "02:34:40.605", ""),
        ),
        ("kernel4    Kernel     master4    up     02:34:38.882  ", None),
    ],
)  # fmt: skip
def test_a_sessions_state_time_and_error_are_read_from_birds_line(
    line: str, found: Session | None
) -> None:
    lines = ((2002, "Name       Proto      Table      State  Since         Info"), (1002, line))
    assert sessions(Reply((*lines, (0, "")))) == ({} if found is None else {"vultr4": found})
