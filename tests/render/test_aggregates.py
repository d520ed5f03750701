"""What nodes hold of several aggregates: exports, discards, reply rules."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from mesh.plan import Plan
from mesh.render import (
    File,
    node_files,
    node_secrets,
    placeholder_facts,
    placeholder_placements,
)
from tests.kit.machine import BIRDS, Debian
from tests.kit.stacks import plan_of, several_prefixes
from tests.render.test_daemons import PASSWORDS, several_with_members


@cache
def several() -> Plan:
    return plan_of(several_prefixes())


def content(plan: Plan, node: str, name: str) -> str:
    files = node_files(plan, placeholder_facts(plan), placeholder_placements(plan))[node].files
    return next((file.content for file in files if file.path.endswith(name)), "")


@pytest.mark.image
@pytest.mark.parametrize("version", BIRDS)
def test_every_bird_parses_several_aggregates(tmp_path: Path, version: str) -> None:
    plan = plan_of(several_with_members())
    for node in ("mia-vultr-1", "lax-aws-1"):
        facts = placeholder_facts(plan)
        facts[node] = replace(facts[node], bird=version)
        machine = Debian(tmp_path / node, version)
        each = node_files(plan, facts, placeholder_placements(plan))[node]
        machine.put(each.files)
        machine.put(node_secrets(plan, node, PASSWORDS))
        reset = next(file for file in each.files if file.path.endswith("out-of-service.conf"))
        machine.put([File("/run/anycast-mesh/bird/announce.conf", reset.content)])
        answer = machine.run("bird", "-p")
        assert (answer.returncode, answer.stderr) == (0, ""), node


@pytest.mark.parametrize("node", ["ewr-vultr-1", "lax-vultr-1", "mia-vultr-1", "ord-vultr-1"])
def test_a_node_announces_what_the_plan_lists_and_no_more(node: str) -> None:
    text = content(several(), node, "/bird.conf")
    for version in (4, 6):
        body = re.search(rf"is_announced_here{version}\(\)[^{{]*{{\n\treturn (.*);\n", text)
        assert body is not None
        named = re.findall(r"[0-9a-f.:]+/\d+", body[1])
        planned = several().announced_by(node)
        assert named == [str(prefix) for prefix in planned if prefix.version == version]
        assert f"export limit {len(named) + 80} action block;" in text


def test_a_more_specific_is_discarded_at_its_announcers_only() -> None:
    for node in several().nodes:
        text = content(several(), node.id, "/bird.conf")
        assert ("route 192.30.121.0/24 blackhole;" in text) == (node.id == "mia-vultr-1")
        assert "route 192.30.124.0/23 blackhole;" in text
        assert "route 2620:71:4001::/48 blackhole;" in text


def test_replies_from_a_prefix_leave_at_its_announcers() -> None:
    rules = content(several(), "mia-vultr-1", "anycast-mesh-replies.service")
    assert re.findall(
        r"ExecStart=\S+ -[46] rule add priority \d+ from (\S+) lookup (\d+)", rules
    ) == [
        ("192.30.124.0/23", "27219"),
        ("2620:71:4001::/48", "27220"),
        ("2620:71:4002::/48", "27221"),
    ]
    bird = content(several(), "mia-vultr-1", "/bird.conf")
    assert "route 0.0.0.0/0 recursive 10.10.10.253;" in bird
    firewall = content(several(), "lax-vultr-1", "nftables.conf")
    assert 'oifname "enp1s0" ip saddr { 192.30.124.100 } accept' in firewall
    assert 'oifname "enp1s0" ip6 saddr' not in firewall, "what nobody else serves"


def test_a_part_of_an_aggregate_of_others_leaves_by_its_own_uplink() -> None:
    values = several_prefixes()
    values["prefixes"]["moreSpecifics"] = [
        {"prefix": "192.30.125.0/24", "announcedBy": ["mia-vultr-1"]}
    ]
    values["services"].pop("here")
    rules = content(plan_of(values), "mia-vultr-1", "anycast-mesh-replies.service")
    assert rules.index("priority 1000 from 192.30.125.0/24 lookup main") < rules.index(
        "from 192.30.124.0/23 lookup main suppress_prefixlength 0"
    )
