"""An `up` that is killed at a call to Vultr's API leaves nothing that the next one does not take.

Three calls of one stack's first `up`; every single call: ``python -m tests.vultr_api.killed``.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from tests.kit.vultr_api import Knobs, Vultr, answering
from tests.kit.vultr_api.account import How
from tests.kit.vultr_api.stack import UP, stack
from tests.vultr_api.killed import judged, outcomes, up_killed

pytestmark = pytest.mark.engine

POINTS: tuple[tuple[str, How], ...] = (
    ("POST /reserved-ips", "after"),
    ("POST /firewalls/[^/]+/rules", "before"),
    ("POST /instances", "after"),
)


def test_what_killed_runs_have_left_is_taken_on_and_nothing_is_made_twice(tmp_path: Path) -> None:
    vultr = Vultr(knobs=Knobs(page=2, boot=0.3))
    with (
        answering(vultr, tmp_path / "tls") as served,
        stack(tmp_path / "stack", served, servers_only=True) as engine,
    ):
        for what, how in POINTS:
            assert up_killed(engine, vultr, what, how) is not None, f"{what} never came"
        assert vultr.servers, "one is running, and billed"
        engine.run(*UP)
        assert list(judged(engine, vultr)) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", get_args(How))
def test_killed_at_every_single_call(how: How) -> None:
    for found in outcomes(how, range(1, 1000)):
        assert not found.wrong, found
