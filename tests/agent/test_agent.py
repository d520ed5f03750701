"""The agent as its watchdog sees it."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path

import pytest

from mesh.agent import systems
from mesh.agent.agent import Agent
from mesh.agent.host import Host
from mesh.agent.routing_monitor import RoutingMonitor
from mesh.agent.seed import Seed
from mesh.trust import keys
from tests.kit.wait import until


def test_a_thread_that_has_ended_on_its_own_ends_the_agents_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd starts it again then: a node that looks after half of its work would look well."""
    fatal = threading.Event()

    def wait_for_the_end(_: RoutingMonitor, __: threading.Event) -> None:
        fatal.wait()

    monkeypatch.setattr(RoutingMonitor, "run", wait_for_the_end)
    key, operator = keys.new_operator_key()
    host = Host(tmp_path)
    seed = Seed("lax-vultr-1", (), operator, "0" * 64, keys.join_token(key, "lax"), False, 8443)
    one = Agent(host, seed, systems.of(host))
    one._rejected_routes._port = 0
    threading.Thread(target=one.run, daemon=True).start()
    try:
        begun = {"presence", "lookout", "log-ins", "repair"}
        until(lambda: begun <= {each.name for each in one._workers._lasting}, 30, "it works")
        until(lambda: time.monotonic() - one.beat < 5, 5, "it beats")
        fatal.set()
        until(lambda: one.beat == -math.inf, 5, "it counts as dead")
    finally:
        one.stop.set()
