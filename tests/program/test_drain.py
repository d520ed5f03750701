"""Every server has the hook that drains its node, and the hook is registered at every run."""

from __future__ import annotations

import pytest

from tests.program.recording import run


@pytest.mark.parametrize("nothing_exists", [False, True], ids=["deployed", "never up"])
def test_no_server_goes_without_its_node_being_drained(nothing_exists: bool) -> None:
    done = run(nothing_exists=nothing_exists)
    servers = {one.name: one.before_delete for one in done.of("Instance")}
    assert set(servers) == {
        f"mesh-{city}-vultr-1-instance" for city in ("ewr", "lax", "mia", "ord")
    }
    assert set(map(tuple, servers.values())) == {("mesh-drain",)}
    assert done.hooks == ["mesh-drain"]


def test_nothing_but_servers_waits_for_a_drain() -> None:
    done = run()
    others = [one for one in done.resources.values() if not one.type.endswith("Instance")]
    assert others
    assert not [one.name for one in others if one.before_delete]
