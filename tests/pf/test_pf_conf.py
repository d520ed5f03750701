"""pf.conf of OpenBSD nodes: what the strict reader takes, and what it refuses."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from mesh.operating_systems import OperatingSystem
from mesh.render import node_files, placeholder_facts, placeholder_placements
from mesh.render.templates import rendered
from tests.kit.stacks import (
    example,
    one_node_without_ipv6,
    plan_of,
    with_sessions,
    without_ipv4,
    without_ipv6,
)
from tests.kit.systems import on
from tests.pf.reader import UnreadableError, read
from tests.pf.world import files, pf_conf

LIMIT = re.compile(r"limit rate (\d+)/second burst (\d+) packets accept")


def test_tables_that_the_agent_keeps_outlive_a_new_ruleset() -> None:
    kept = [table.name for table in read(pf_conf()).tables if not table.constant]
    assert kept == ["mesh_discard4", "mesh_discard6", "mesh_served"]


def test_every_plan_has_rules_that_the_reader_takes() -> None:
    stacks = (
        ("ewr-buyvm-1", with_sessions()),
        ("mia-vultr-1", without_ipv4()),
        ("mia-vultr-1", without_ipv6()),
        ("mia-vultr-1", one_node_without_ipv6()),
    )
    for node_id, keys in stacks:
        plan = on(OperatingSystem.OPENBSD, plan_of(keys), node_id)
        facts = placeholder_facts(plan)
        made = node_files(plan, facts, placeholder_placements(plan))[node_id].files
        (conf,) = (file for file in made if file.path == "/etc/pf.conf")
        assert read(conf.content).rules
        assert conf.mode == 0o600


def test_the_rules_before_the_first_generation_let_in_what_joining_needs() -> None:
    plan = plan_of(example("openbsd"))
    conf = rendered("openbsd/network/pf-base.conf.j2", plan=plan, node=plan.nodes[0])
    ports = [rule.ports for rule in read(conf).rules if rule.direction == "in" and rule.ports]
    assert ports == [(68, 68), (546, 546), (22, 22)]


def test_a_forged_datagram_takes_no_state() -> None:
    udp = [r for r in read(pf_conf()).rules if r.direction == "in" and r.protocol == "udp"]
    from_outside = {rule.label: rule for rule in udp if rule.interface and rule.interface.negated}
    assert "wireguard" in from_outside
    assert not any(rule.keeps_state for rule in from_outside.values())


def test_pings_have_the_limits_that_they_have_with_nftables() -> None:
    (nft,) = (f for f in files(OperatingSystem.DEBIAN) if f.path == "/etc/nftables.conf")
    wanted = {(Fraction(rate), int(burst)) for rate, burst in LIMIT.findall(nft.content)}
    found = {rule.rate for rule in read(pf_conf()).rules if rule.rate}
    assert {(Fraction(*rate), rate[0]) for rate in found} == wanted


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("match out all scrub (max-mss 1340)", "max-mss where none decides"),
        ("pass in quick proto tcp from any to any port 22 user 0", "user of what comes in"),
        ("pass out quick all rtable 1", "rtable after routing"),
        ("pass in quick from <mesh_gone> to any", "a table that is not there"),
        ("pass in quick from any to { !192.0.2.1, !192.0.2.2 }", "a negation in a list"),
        ("pass in quick from any to any port 22", "ports need tcp or udp"),
        ("pass in quick inet6 proto icmp from any to any", "ICMP over IPv6"),
        ("pass in quick inet from any to 2001:db8::1", "an address of another family"),
        ("pass in quick from any to 192.0.2.1/24", "has host bits set"),
        ("pass in quick from any to any synproxy state", "unknown option synproxy"),
        ("block in quick all", "drop or return-rst"),
        ("set skip on vio0", "unknown option"),
        ('anchor "relayd/*"', "what is"),
    ],
)
def test_what_is_none_of_our_forms_is_refused(line: str, why: str) -> None:
    with pytest.raises(UnreadableError, match=re.escape(why)):
        read(f"{line}\n")
