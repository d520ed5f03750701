"""Whom a ruleset lets in, tried with connections of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mesh.agent.admission import NotTried, shut_out
from mesh.agent.host import Host
from mesh.agent.network import Uplink
from mesh.agent.registry_port import _PASSERS
from mesh.agent.ruleset_id import ruleset_id

pytestmark = pytest.mark.root
UPLINK = Uplink("enp9s0", "203.0.113.1", "203.0.113.254")
NEAR, FAR = "203.0.113.2", "198.51.100.7"
RULES = """
table inet mesh {
	chain input {
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		ct state established accept
		iifname "enp9s0" ip saddr 203.0.113.0/24 tcp dport 8443 accept
		%s
	}
}
"""


@pytest.mark.parametrize(
    ("more", "shut"),
    [("", (FAR,)), (f"ip saddr {FAR} tcp dport 8443 accept", ()), ("reject", (FAR,))],
)
def test_who_is_shut_out_is_named(more: str, shut: tuple[str, ...]) -> None:
    assert shut_out(Host(), RULES % more, UPLINK, (NEAR, FAR), 8443) == shut


def test_another_port_is_shut() -> None:
    assert shut_out(Host(), RULES % "", UPLINK, (NEAR,), 8444) == (NEAR,)


def test_nothing_of_the_machines_own_is_touched() -> None:
    before = ruleset_id(), links()
    shut_out(Host(), RULES % "", UPLINK, (NEAR,), 8443)
    assert (ruleset_id(), links()) == before


@pytest.mark.parametrize("host", [Host(), Host(prefix=("false",))])
def test_where_it_cannot_be_tried_nobody_is_said_to_be_shut_out(host: Host) -> None:
    with pytest.raises(NotTried):
        shut_out(host, "no ruleset", UPLINK, (NEAR,), 8443)


def test_a_change_of_rules_has_another_ruleset_id() -> None:
    changed = """
import subprocess
from mesh.agent.ruleset_id import ruleset_id
before = ruleset_id()
assert before == ruleset_id() != None
subprocess.run(["nft", "add", "table", "inet", "one"], check=True)
assert ruleset_id() not in (None, before)
"""
    subprocess.run(["unshare", "--net", sys.executable, "-c", changed], check=True)


def test_elements_that_packets_have_made_are_left_out() -> None:
    sets = """table inet mesh {
	set fleet4 {
		type ipv4_addr
		flags interval
		elements = { 203.0.113.1-203.0.113.4 }
	}

	set registry_seen4 {
		type ipv4_addr
		size 32768
		flags dynamic,timeout
		timeout 1m
		elements = { 10.0.0.1 expires 59s, 10.0.0.7 expires 59s,
\t\t\t     10.0.0.8 expires 59s }
	}

	set registry_rate48 {
		type ipv6_addr
		flags dynamic,timeout
	}

	set admin4 {
		type ipv4_addr
		elements = { 192.0.2.1 }
	}
}
"""
    left = _PASSERS.sub(r"\1", sets)
    assert "10.0.0" not in left
    assert "203.0.113.1-203.0.113.4" in left and "192.0.2.1" in left
    assert left.count("{") == left.count("}")


def links() -> str:
    return subprocess.run(["ip", "-br", "link"], check=True, capture_output=True, text=True).stdout
