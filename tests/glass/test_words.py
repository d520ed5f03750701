"""Words for numbers and names, held against the configuration that has them."""

from __future__ import annotations

import re

import pytest

from mesh.glass import words
from mesh.glass.answers import Community
from mesh.plan import Plan
from tests.glass.networks import network_of
from tests.kit.stacks import ROOT, plan_of, prod, with_members

REASONS = ROOT / "templates/bird/reasons.conf.j2"


def test_each_reason_of_the_configuration_has_words_and_no_other() -> None:
    text = REASONS.read_text()
    defined = {int(n) for n in re.findall(r"^define [A-Z_]+ = (\d+);[ \t]+#", text, re.MULTILINE)}
    assert set(words.REASONS) == defined
    assert int(re.findall(r"^define REJECTED = (\d+);", text, re.MULTILINE)[0]) == words.REJECTED


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("20473:300", "Vultr: private peer"),
        ("65535:666", "blackhole"),
        ("27218:65666:4", "refused: a bogon prefix"),
        ("27218:65666:99", "refused: reason 99, which this version does not know"),
        ("27218:65666:x", ""),
        ("64500:65666:4", ""),
        ("1:2", ""),
    ],
)
def test_a_community_has_its_name(value: str, name: str) -> None:
    network = network_of(plan_of(prod()))
    assert words.community(value, network) == Community(value, name)


@pytest.fixture(scope="module", params=[prod, with_members], ids=["edges", "members"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return plan_of(request.param())


def test_every_session_of_the_plan_has_a_kind_and_a_peer(plan: Plan) -> None:
    network = network_of(plan)
    for node in plan.nodes:
        here = network.by_id[node.id]
        planned = {f"u_{words.symbol(link.peer)}": ("tunnel", link.peer) for link in node.links}
        planned |= {each.name: ("ibgp", each.peer) for each in node.ibgp}
        planned |= {each.name: ("upstream", each.label or "vultr") for each in node.upstreams
                    if node.provider == "vultr"}  # fmt: skip
        planned |= {each.name: ("vpc", node.provider) for each in node.vpc}
        assert {name: words.source(name, here, network) for name in planned} == planned
        known = words.sessions(here, network)
        assert set(planned) <= set(known)
        assert all(known.values())


@pytest.mark.parametrize(
    ("name", "kind"),
    [("bound", "device"), ("discard4", "static"), ("orders6", "static"), ("exit4_1", "static"),
     ("kernel4", "other"), ("u_nobody", "tunnel"), ("", "other")],
)  # fmt: skip
def test_other_sources_have_a_kind(name: str, kind: str) -> None:
    network = network_of(plan_of(prod()))
    assert words.source(name, network.nodes[0], network) == (kind, "")
