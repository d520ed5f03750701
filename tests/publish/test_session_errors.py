"""What `mesh status` says of an upstream session that does not come up."""

from __future__ import annotations

import pytest

from mesh.plan import UpstreamSession
from mesh.publish.session_errors import explained
from tests.kit.stacks import plan_of, with_sessions

SESSIONS = {each.name: each for each in plan_of(with_sessions()).node("ewr-buyvm-1").upstreams}
SAID: list[tuple[str, str, str, str]] = [
    (
        "up4_transit_b", "Active", "Received: Unacceptable hold time",
        "Received: Unacceptable hold time: the neighbor does not take 60 s; write holdTime, with "
        "the seconds that it asks for",
    ),
    (
        "buyvm4", "Connect", "Received: Unacceptable hold time",
        "Received: Unacceptable hold time: the neighbor does not take 9 s; write an entry of "
        "upstreams with holdTime, with the seconds that it asks for",
    ),
    (
        "up4_rs1", "Idle", "",
        "ix0 is missing or down on the node, or has no address with 192.0.2.253 in its subnet",
    ),
    (
        "up4_rs1", "Idle", "Error: Neighbor lost",
        "ix0 is missing or down on the node, or has no address with 192.0.2.253 in its subnet",
    ),
    ("up4_rs1", "Active", "Socket: Connection refused", "Socket: Connection refused"),
    ("buyvm4", "Idle", "", ""),
    ("u_lax_vultr_1", "Idle", "Error: Neighbor lost", "Error: Neighbor lost"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "state", "error", "said"), SAID)
def test_an_error_has_its_cure(name: str, state: str, error: str, said: str) -> None:
    session: UpstreamSession | None = SESSIONS.get(name)
    assert explained(session, state, error) == said
