"""What the operator hears of uplinks that carry less than planned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.publish.uplinks import narrow_uplinks
from tests.kit.registry import shared_fleet

FLEET = shared_fleet()
NODE = "mia-vultr-1"
NARROW = f"{NODE}: its uplink's MTU is 1400, so its tunnels carry 1320 instead of 1420"


@pytest.mark.parametrize(
    ("mtu", "before", "said"),
    [
        (1500, None, []),
        (9001, None, []),
        (1400, None, [NARROW]),
        (1400, 1500, [NARROW]),
        (1400, 1400, []),
        (1500, 1400, []),
        (
            1300, None,
            [f"{NODE}: its uplink's MTU is 1300, so its tunnels carry 1280 instead of 1420, the "
             "minimum of IPv6, and full packets are fragmented; give the uplink an MTU of "
             "1360 or more"],
        ),
    ],
)  # fmt: skip
def test_an_uplink_that_carries_less_is_said_when_it_is_news(
    mtu: int, before: int | None, said: list[str]
) -> None:
    members = FLEET.members()
    one = members[NODE]
    members[NODE] = replace(one, facts=replace(one.facts, mtu=mtu))
    known = {} if before is None else {NODE: replace(one, facts=replace(one.facts, mtu=before))}
    assert list(narrow_uplinks(FLEET.plan, members, known)) == said
