"""Announcing each prefix by itself: when a node is in service for it, and what BIRD reads."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest

from mesh.agent import file_paths
from mesh.agent.announce_state import (
    AnnounceState,
    DrainSequence,
    declare,
    write_state,
    written_state,
)
from mesh.agent.bird_state import BirdState
from mesh.agent.config import AnnouncedPrefix, Config
from mesh.agent.host import Host
from mesh.agent.reachability import Routes, withheld
from mesh.render import node_files, placeholder_facts
from mesh.trust.encoding import parse
from tests.agent.test_works import Runs
from tests.kit.bird_control import control
from tests.kit.stacks import plan_of, several_prefixes

ANYCAST, UNICAST = ip_network("192.30.120.0/23"), ip_network("2620:71:4001::/48")
EMPTY = ip_network("2620:71:4002::/48")
WEB, DNS, ONE = "192.30.120.100", "192.30.120.53", "2620:71:4001::100"
PEER = "10.10.10.2"


def addresses(*texts: str) -> tuple[IPv4Address | IPv6Address, ...]:
    return tuple(map(ip_address, texts))


CONFIG = Config(
    node="lax-vultr-1",
    region="lax",
    interface="dummy0",
    aggregates=(ANYCAST, UNICAST, EMPTY),
    mates=(IPv4Address(PEER),),
    services=(),
    whoami=True,
    announced=(
        AnnouncedPrefix(ANYCAST, {"web": addresses(WEB), "dns": addresses(DNS)}),
        AnnouncedPrefix(UNICAST, {"one": addresses(ONE)}),
        AnnouncedPrefix(EMPTY, {}),
    ),
)
ALL = {ANYCAST, UNICAST, EMPTY}

CASES = {
    "all is here": ({WEB, DNS, ONE}, set(), set(), False, ALL),
    "all is here, and cut off": ({WEB, DNS, ONE}, set(), ALL, False, ALL),
    "one service here, one elsewhere": ({WEB, ONE}, {DNS, PEER}, set(), False, ALL),
    "cut off, with one of two services": ({WEB, ONE}, set(), ALL, True, {UNICAST, EMPTY}),
    "freshly booted": (set(), set(), set(), False, {EMPTY}),
    "freshly booted, one service down everywhere": (
        {WEB, ONE}, {PEER}, set(), False, {UNICAST, EMPTY},
    ),
    "the same when it has settled": ({WEB, ONE}, {PEER}, set(), True, ALL),
    "settled, and nothing of it anywhere": ({ONE}, {PEER}, set(), True, {UNICAST, EMPTY}),
    "the floor, for what was announced": ({ONE}, {PEER}, {ANYCAST}, False, ALL),
    "the floor of one prefix is none of another": (
        set(), {PEER}, {UNICAST}, False, {UNICAST, EMPTY},
    ),
    "cut off, and nothing here": (set(), set(), ALL, True, {EMPTY}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("here", "reachable", "before", "settled", "announced"), CASES.values(), ids=CASES.keys()
)
def test_a_prefix_is_announced_while_every_service_in_it_is_served(
    here: set[str],
    reachable: set[str],
    before: set[object],
    settled: bool,
    announced: set[object],
) -> None:
    known = frozenset(each for each in ALL if each in before)
    found = withheld(CONFIG, frozenset(here), Routes(frozenset(reachable)), known, settled)
    assert ALL - found.keys() == announced
    assert all(why.startswith("service ") for why in found.values())


@pytest.mark.parametrize(
    ("here", "announced"),
    [(set(), {EMPTY}), ({WEB}, {ANYCAST, EMPTY}), ({ONE}, {UNICAST, EMPTY})],
    ids=["nothing here", "a part of one prefix", "all of another"],
)
def test_without_a_route_reflector_a_prefix_without_an_instance_is_withheld(
    here: set[str], announced: set[object]
) -> None:
    """What has an instance here, be it one service of several, is announced as before."""
    routes = Routes(frozenset({PEER}), lambda: False)
    found = withheld(CONFIG, frozenset(here), routes, ALL, True)
    assert ALL - found.keys() == announced


def test_the_rendered_configuration_names_each_prefix_with_its_services() -> None:
    plan = plan_of(several_prefixes())
    files = node_files(plan, placeholder_facts(plan))["mia-vultr-1"].files
    config = parse(Config, next(f.content for f in files if f.path == file_paths.CONFIG))
    assert config.announced is not None
    assert {str(each.prefix): sorted(each.services) for each in config.announced} == {
        "192.30.120.0/23": ["laxonly", "web"],
        "192.30.121.0/24": ["here"],
        "2620:71:4000::/48": ["here", "two", "web"],
    }
    assert {str(prefix) for prefix in config.aggregates} == set(map(str, plan.owned))


# --- BIRD's file ---------------------------------------------------------------------------------

STATE = AnnounceState(True, False, ((ANYCAST, True), (UNICAST, False)))


def test_what_is_written_of_each_prefix_is_read_back(tmp_path: Path) -> None:
    host = Host(tmp_path)
    write_state(host, STATE)
    assert written_state(host, (ANYCAST, UNICAST)) == STATE
    assert b"define IN_SERVICE_192_30_120_0_23 = true;" in (host.read(file_paths.ANNOUNCE) or b"")


def test_the_file_of_an_earlier_generation_announces_prefixes_with_the_node(tmp_path: Path) -> None:
    host = Host(tmp_path)
    write_state(host, AnnounceState(True))
    assert written_state(host, (ANYCAST,)).serving == {ANYCAST}


def test_a_generation_that_reads_more_finds_it_and_takes_nothing_off_the_internet(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path)
    write_state(host, AnnounceState(True))
    new = AnnounceState(prefixes=((ANYCAST, False), (UNICAST, False))).file()
    declare(host, new, (ANYCAST,))
    assert written_state(host, (ANYCAST, UNICAST)) == STATE


@pytest.mark.parametrize("before", [AnnounceState(), AnnounceState(False, draining=True)])
def test_what_is_out_of_service_stays_so(before: AnnounceState, tmp_path: Path) -> None:
    host = Host(tmp_path)
    write_state(host, before)
    declare(host, STATE.file(), (ANYCAST, UNICAST))
    found = written_state(host, (ANYCAST, UNICAST))
    assert (found.in_service, found.draining, found.serving) == (
        False,
        before.draining,
        frozenset(),
    )


def test_what_only_another_generation_reads_stays_until_the_node_withdraws(tmp_path: Path) -> None:
    host = Host(tmp_path)
    declare(host, STATE.file(), ())
    write_state(host, AnnounceState(True, prefixes=((ANYCAST, True),)))
    assert b"define IN_SERVICE_2620_71_4001___48 = false;" in (
        host.read(file_paths.ANNOUNCE) or b""
    )
    write_state(host, AnnounceState())
    assert b"true" not in (host.read(file_paths.ANNOUNCE) or b"")


def test_a_prefix_that_returns_to_the_node_is_announced_once_the_agent_says_so(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path)
    both = AnnounceState(True, prefixes=((ANYCAST, True), (UNICAST, True)))
    write_state(host, both)
    without = AnnounceState(prefixes=((ANYCAST, False),)).file()
    host.write(file_paths.OUT_OF_SERVICE, without, 0o644)
    write_state(host, AnnounceState(True, prefixes=((ANYCAST, True),)))
    declare(host, both.file(), ())
    assert written_state(host, (ANYCAST, UNICAST)).serving == {ANYCAST}


def test_a_drain_marks_what_is_announced_and_withdraws_it_all() -> None:
    sequence = DrainSequence()
    first = sequence.state(0.0, True, STATE.prefixes)
    assert first.draining
    assert first.serving == {ANYCAST}
    sequence.record(first, 0.0)
    last = sequence.state(100.0, True, STATE.prefixes)
    assert not last.in_service
    assert not last.serving


class RunsEach(Runs):
    """A BIRD that runs with the states of two prefixes as well."""

    def __call__(self, command: str) -> str:
        name = command.removeprefix("eval ")
        constants = written_state(Host(self.folder / "node"), (ANYCAST, UNICAST)).constants()
        if name in constants and "_" in name.removeprefix("IN_SERVICE"):
            return f"0023 {str(constants[name]).upper()}\n"
        return super().__call__(command)


def test_bird_is_configured_when_one_prefix_changes(tmp_path: Path) -> None:
    runs = RunsEach(tmp_path)
    with control(tmp_path, runs) as bird:
        state = BirdState(Host(tmp_path / "node"), bird, lambda: None)
        state.watch((ANYCAST, UNICAST))
        state.set(STATE, state.written(), 0.0)
        assert state.is_in_force(STATE)
        both = replace(STATE, prefixes=((ANYCAST, True), (UNICAST, True)))
        state.set(both, state.written(), 1.0)
        assert state.is_in_force(both)
        assert runs.configured == 2
