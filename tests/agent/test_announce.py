"""When a service is up, and when a node announces."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent.announce_state import (
    LINGER,
    SHUTDOWN,
    AnnounceState,
    DrainSequence,
    written_state,
)
from mesh.agent.bird_state import BirdState
from mesh.agent.config import Config, NodeService
from mesh.agent.host import Host
from mesh.agent.iproute import by_tunnel
from mesh.agent.reachability import Routes, in_service
from mesh.agent.service_state import CheckState
from mesh.bird.client import Bird
from mesh.bird.protocols import IBGP
from mesh.render import node_files, placeholder_facts
from mesh.services.checks.check import Target
from mesh.services.checks.http import HttpCheck
from mesh.services.service import Ports
from mesh.trust.encoding import parse
from tests.kit.bird_control import control
from tests.kit.stacks import plan_of, prod

TARGET = Target(IPv4Address("192.30.120.100"), "lax-vultr-1")


def check(rise: int = 2, fall: int = 3) -> HttpCheck:
    return HttpCheck(port=80, path="/whoami", rise=rise, fall=fall)


@pytest.mark.parametrize(
    ("answers", "states"),
    [
        ("++", "-+"),
        ("+-+-+-", "------"),
        ("++--+--", "-++++++"),
        ("++---", "-+++-"),
        ("++---++", "-+++--+"),
        ("---", "---"),
    ],
)
def test_up_after_two_good_answers_in_a_row_and_down_after_three_bad_ones(
    answers: str, states: str
) -> None:
    watch = CheckState(check(), TARGET, (4,))
    seen = "".join("+" if watch.record(answer == "+") else "-" for answer in answers)
    assert seen == states


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_a_change_takes_exactly_as_many_equal_answers_as_it_says(
    rise: int, fall: int, answers: list[bool]
) -> None:
    watch = CheckState(check(rise, fall), TARGET, (4,))
    for at, answer in enumerate(answers):
        before = watch.up
        after = watch.record(answer)
        if after != before:
            needed = rise if after else fall
            assert answers[at + 1 - needed : at + 1] == [after] * needed


def config(services: bool = True, *more: IPv6Address) -> Config:
    web = NodeService(
        name="web",
        addresses=(IPv4Address("192.30.120.100"), *more),
        ports=Ports((80,)),
        checks=(check(),),
        local=True,
    )
    mates = (IPv4Address("10.10.10.2"), IPv4Address("10.10.10.3"))
    return Config("lax-vultr-1", "lax", "dummy0", (), mates, (web,) if services else (), True)


MATE, SERVED, SERVED6 = "10.10.10.3", "192.30.120.100", "2620:71:4000::100"


@pytest.mark.parametrize(
    ("up", "reachable", "before", "announces", "why"),
    [
        ({SERVED}, set(), False, True, "served here"),
        ({SERVED}, set(), True, True, "served here, and cut off"),
        (set(), {SERVED, MATE}, False, True, "served by a mate"),
        (set(), {SERVED, MATE}, True, True, "served by a mate"),
        (set(), set(), False, False, "freshly booted"),
        (set(), {MATE}, False, False, "mates, but no instance: nothing to announce yet"),
        (set(), set(), True, False, "cut off from every mate, and nothing here"),
        (set(), {MATE}, True, True, "the floor: down everywhere, so withdrawing helps nobody"),
    ],
)
def test_a_node_announces_while_an_instance_can_be_reached(
    up: set[str], reachable: set[str], before: bool, announces: bool, why: str
) -> None:
    found = in_service(config(), frozenset(up), Routes(frozenset(reachable)), before, False)
    assert found is announces, why


@pytest.mark.parametrize(
    ("up", "reachable", "before", "settled", "announces", "why"),
    [
        ({SERVED, SERVED6}, set(), False, False, True, "both here"),
        ({SERVED}, {SERVED6}, False, False, True, "one here, one at a peer"),
        ({SERVED}, {MATE}, False, False, False, "freshly booted, and the other may come up yet"),
        ({SERVED}, {MATE}, False, True, True, "the other is down everywhere"),
        ({SERVED}, {MATE}, True, False, True, "the other is down everywhere"),
        (set(), {SERVED6, MATE}, True, False, True, "served by a peer, and the other by nobody"),
        ({SERVED}, set(), True, True, False, "cut off, and nothing here of the other"),
    ],
)
def test_a_family_without_an_instance_takes_the_other_one_away_only_from_who_is_cut_off(
    up: set[str], reachable: set[str], before: bool, settled: bool, announces: bool, why: str
) -> None:
    both = config(True, IPv6Address(SERVED6))
    found = in_service(both, frozenset(up), Routes(frozenset(reachable)), before, settled)
    assert found is announces, why


def test_without_a_route_reflector_a_node_without_an_instance_withdraws() -> None:
    """In a network too large for sessions between all nodes: others have an instance, perhaps."""
    mates = frozenset({MATE})
    cut = Routes(mates, lambda: False)
    assert in_service(config(), frozenset(), Routes(mates), True, True), "the floor"
    assert not in_service(config(), frozenset(), cut, True, True)
    assert in_service(config(), frozenset({SERVED}), cut, False, False), "served here"


UP, DOWN = "up     02:34:38.896  Established   ", "start  02:34:38.896  Active        "


@pytest.mark.parametrize(
    ("sessions", "hears"),
    [
        ((f"mate4_a BGP --- {DOWN}", f"mate6_a BGP --- {UP}"), True),
        ((f"mate4_a BGP --- {DOWN}", f"u_a BGP --- {UP}", f"vultr4 BGP --- {UP}"), False),
        ((), False),
        (None, True),
    ],
    ids=["one is up", "only those of tunnels and upstreams are", "none", "BIRD does not run"],
)
def test_a_node_hears_of_others_over_ibgp(
    tmp_path: Path, sessions: tuple[str, ...] | None, hears: bool
) -> None:
    if sessions is None:
        bird = BirdState(Host(tmp_path), Bird(tmp_path / "bird.ctl"), lambda: None)
        assert bird.hears_others() is hears
        return
    rows = "".join(f"1002-{row}\n" for row in sessions)
    with control(tmp_path, {"show protocols": f"{rows}0000 \n"}) as there:
        assert BirdState(Host(tmp_path), there, lambda: None).hears_others() is hears


def test_ibgp_sessions_are_known_by_their_names() -> None:
    named = {session.name for node in plan_of(prod()).nodes for session in node.ibgp}
    assert named and all(name.startswith(IBGP) for name in named)


def test_a_node_alone_announces_what_works_once_the_rest_has_had_its_time() -> None:
    alone = replace(config(True, IPv6Address(SERVED6)), mates=())
    here, nothing = frozenset({SERVED}), Routes(frozenset())
    assert not in_service(alone, here, nothing, False, False)
    assert in_service(alone, here, nothing, False, True)


@pytest.mark.parametrize(
    ("reachable", "before", "announces"),
    [({MATE}, False, True), (set(), False, False), (set(), True, False), ({MATE}, True, True)],
)
def test_without_services_a_node_announces_once_it_has_mates(
    reachable: set[str], before: bool, announces: bool
) -> None:
    found = in_service(config(False), frozenset(), Routes(frozenset(reachable)), before, False)
    assert found is announces


@pytest.mark.parametrize("before", [False, True])
def test_a_node_alone_without_services_announces(before: bool) -> None:
    alone = replace(config(False), mates=())
    assert in_service(alone, frozenset(), Routes(frozenset()), before, False)


def test_a_node_alone_announces_while_its_service_is_healthy() -> None:
    alone = replace(config(), mates=())
    assert in_service(alone, frozenset({SERVED}), Routes(frozenset()), False, False)
    assert not in_service(alone, frozenset(), Routes(frozenset()), True, False)


def route(dst: str, **more: Any) -> dict[str, Any]:
    return {"dst": dst, **more}


@pytest.mark.parametrize(
    ("routes", "addresses"),
    [
        ([], set()),
        ([route("192.30.120.100", dev="wg-ord-vultr-1")], {"192.30.120.100"}),
        ([route("192.30.120.100/32", dev="wg-ord-vultr-1")], {"192.30.120.100"}),
        ([route("192.30.120.100", dev="enp1s0")], set()),
        ([route("default", dev="enp1s0", gateway="203.0.113.1")], set()),
        ([route("192.30.120.0/23", type="blackhole")], set()),
        ([route("10.10.10.2", nexthops=[{"dev": "wg-a"}, {"dev": "wg-b"}])], {"10.10.10.2"}),
    ],
)
def test_only_what_leaves_by_a_tunnel_counts_as_reachable(
    routes: list[dict[str, Any]], addresses: set[str]
) -> None:
    assert by_tunnel(json.dumps(routes)) == addresses


def test_the_rendered_configuration_of_every_node_is_the_agents() -> None:
    plan = plan_of(prod())
    for node, files in node_files(plan, placeholder_facts(plan)).items():
        text = next(f.content for f in files.files if f.path.endswith("agent.json"))
        parsed = parse(Config, text)
        assert parsed.node == node
        assert len(parsed.mates) == len(plan.nodes) - 1
        assert [service.name for service in parsed.services] == [s.name for s in plan.services]


# --- draining ------------------------------------------------------------------------------------

LEAVING, GONE = AnnounceState(True, draining=True), AnnounceState(False, draining=True)


def farewell(announcing: bool, until: float) -> list[tuple[float, AnnounceState, bool]]:
    """When a node that drains says what, and from when on nothing is on its way to it, with a
    look each quarter of a second."""
    steps: list[tuple[float, AnnounceState, bool]] = []
    leave, now = DrainSequence(), 0.0
    while now <= until:
        word = leave.state(now, announcing)
        leave.record(word, now)
        announcing = word.in_service
        step = (word, leave.is_over(now))
        if not steps or steps[-1][1:] != step:
            steps.append((now, *step))
        now += 0.25
    return steps


def test_a_node_that_drains_warns_first_withdraws_then_and_lets_go_last() -> None:
    assert farewell(True, 20) == [
        (0.0, LEAVING, False),
        (SHUTDOWN, GONE, False),
        (SHUTDOWN + LINGER, GONE, True),
    ]


def test_a_node_that_announces_nothing_has_nobody_to_warn() -> None:
    assert farewell(False, 20) == [(0.0, GONE, False), (LINGER, GONE, True)]


@pytest.mark.parametrize("word", [AnnounceState(), AnnounceState(True), LEAVING, GONE])
def test_what_bird_is_told_is_read_back(word: AnnounceState, tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.write("/run/anycast-mesh/bird/announce.conf", word.file(), 0o644)
    assert written_state(host) == word


def test_without_a_file_nothing_is_said_and_an_earlier_versions_counts(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert written_state(host) == AnnounceState()
    host.write("/run/anycast-mesh/bird/announce.conf", b"define IN_SERVICE = true;\n", 0o644)
    assert written_state(host) == AnnounceState(in_service=True)
