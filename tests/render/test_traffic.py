"""What a network engineer reads of ``mesh:traffic`` in a rendered bird.conf."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.agent.announce_state import AnnounceState
from mesh.plan import Plan
from mesh.render import (
    File,
    node_files,
    node_secrets,
    placeholder_facts,
    placeholder_placements,
)
from tests.kit.machine import BIRDS, Debian
from tests.kit.stacks import plan_of, with_members

NODE, HOST = "ewr-vultr-1", "ewr-buyvm-1"
EVERYTHING: list[dict[str, Any]] = [
    {
        "name": "less-in-new-york",
        "nodes": [NODE],
        "prepend": 3,
        "scope": "ixpOnly",
        "med": 4294967295,
        "zeroMed": True,
        "toAs": [
            {"asn": 174, "prepend": 1, "zeroMed": True},
            {"asn": 4199999999, "export": False},
            {"asn": 6939, "export": True},
        ],
        "communities": ["no-peer", "174:3001", "4199999999:4294967295:0"],
        "localPreference": 4294967295,
    },
    {"name": "longer-there", "nodes": [HOST], "prepend": 5, "med": 0, "localPreference": 1},
]


def steered() -> Plan:
    """The fleet with every option in use, and full tables taken."""
    return plan_of(with_members() | {"traffic": EVERYTHING, "routing": {"import": "full"}})


def bird_conf(plan: Plan, node: str) -> str:
    """A node's main file."""
    files = node_files(plan, placeholder_facts(plan), placeholder_placements(plan))[node].files
    return next(file.content for file in files if file.path == "/etc/bird/bird.conf")


@pytest.mark.image
@pytest.mark.parametrize("version", BIRDS)
@pytest.mark.parametrize("node", [NODE, HOST])
def test_every_bird_parses_every_option(tmp_path: Path, node: str, version: str) -> None:
    plan = steered()
    facts = placeholder_facts(plan)
    facts[node] = replace(facts[node], bird=version)
    machine = Debian(tmp_path, version)
    machine.put(node_files(plan, facts, placeholder_placements(plan))[node].files)
    machine.put(node_secrets(plan, node, {"vultr": "s3cret", "buyvm": "s3cret"}))
    machine.put([File("/run/anycast-mesh/bird/announce.conf", AnnounceState().file().decode())])
    answer = machine.run("bird", "-p")
    assert (answer.returncode, answer.stderr) == (0, "")


def test_each_community_stands_with_its_rule_and_its_meaning() -> None:
    lines = bird_conf(steered(), NODE).splitlines()
    for expected in (
        "\tbgp_community.add((20473, 6003));\t# less-in-new-york: AS20473 prepended 3x to all",
        "\tbgp_community.add((64699, 6939));\t# less-in-new-york: to AS6939 all the same",
        "\tbgp_large_community.add((20473, 6000, 4199999999));"
        "\t# less-in-new-york: not to AS4199999999",
    ):
        assert lines.count(expected) == 2, "once a family"


def test_only_an_announcement_is_steered() -> None:
    """What is decided first is whether the aggregate may go out at all."""
    text = bird_conf(steered(), NODE)
    for family in (4, 6):
        filter_ = text[text.index(f"protocol bgp vultr{family} ") :]
        filter_ = filter_[filter_.index("export filter") :]
        assert filter_.index(f"is_aggregate{family}()") < filter_.index(f"steer_vultr{family}();")


def test_who_is_not_steered_has_the_same_file_as_before() -> None:
    before = plan_of(with_members() | {"routing": {"import": "full"}})
    after = steered()
    for node in after.nodes:
        same = bird_conf(before, node.id) == bird_conf(after, node.id)
        assert same == (node.id not in (NODE, HOST))
