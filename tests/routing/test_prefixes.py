"""What an upstream ever hears of a node with several prefixes: all UPDATEs, of each prefix."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest

from mesh.agent.announce_state import declare, written_state
from mesh.agent.file_paths import OUT_OF_SERVICE
from mesh.agent.host import Host
from mesh.plan import Family, Network
from mesh.render import node_files, placeholder_facts
from tests.kit.bgp.log import Log
from tests.kit.machine import BIRDS
from tests.kit.stacks import plan_of, prod, several_prefixes
from tests.routing.listener import Edge, edge

pytestmark = [pytest.mark.image, pytest.mark.root]
NODE = "mia-vultr-1"
WHOLE, PART, ANYCAST6 = map(ip_network, ("192.30.120.0/23", "192.30.121.0/24", "2620:71:4000::/48"))
ALL: dict[Network, bool] = dict.fromkeys((WHOLE, PART, ANYCAST6), True)
OTHERS = {"192.30.124.0/23", "2620:71:4001::/48", "2620:71:4002::/48"}


@pytest.fixture(scope="module", params=BIRDS)
def miami(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Edge]:
    """A node that announces three prefixes of six; when all is over, its upstream has heard of no
    other."""
    plan = plan_of(several_prefixes())
    folder, name = tmp_path_factory.mktemp("node"), f"prefixes-{os.getpid()}"
    with edge(plan, NODE, folder, name, request.param) as made:
        for family in made.upstreams:
            waits(made, family, ALL)
        yield made
        for speaker in made.upstreams.values():
            ever = {route.prefix for each in speaker.log.updates() for route in each.announced}
            assert not ever & OTHERS
            assert ever <= {*map(str, ALL), "192.30.121.7/32"}
            assert len(speaker.log.opens()) == 1, "the session stood all the time"


def waits(made: Edge, family: Family, states: Mapping[Network, bool]) -> None:
    """Until the upstream of a family has exactly the prefixes that are in service."""
    expected = {str(p) for p, yes in states.items() if yes and f"ipv{p.version}" == family}

    def holds(log: Log) -> bool:
        return log.routes().keys() == expected

    made.upstreams[family].log.wait(holds, 10, f"{family} has {expected}")


def heard(made: Edge, begin: float) -> list[tuple[str, str]]:
    """All that was announced and withdrawn since."""
    found: list[tuple[str, str]] = []
    for family in ("ipv4", "ipv6"):
        for update in made.upstreams[family].log.updates(begin):
            found += (("-", prefix) for prefix in update.withdrawn)
            found += (("+", route.prefix) for route in update.announced)
    return found


@pytest.mark.parametrize("prefix", ALL, ids=str)
def test_one_prefix_goes_and_returns_and_of_others_nothing_is_heard(
    miami: Edge, prefix: Network
) -> None:
    family: Family = "ipv4" if prefix.version == 4 else "ipv6"
    for state, sign in ((False, "-"), (True, "+")):
        begin, wanted = time.monotonic(), ALL | {prefix: state}
        miami.tell(in_service=True, prefixes=wanted)
        waits(miami, family, wanted)
        assert heard(miami, begin) == [(sign, str(prefix))]


def test_a_drain_marks_and_withdraws_each_prefix(miami: Edge) -> None:
    begin = time.monotonic()
    miami.tell(in_service=True, draining=True, prefixes=ALL)
    for upstream in miami.upstreams.values():
        upstream.log.wait(partial(all_marked, begin), 10, "graceful shutdown")
    gone = dict.fromkeys(ALL, False)
    miami.tell(in_service=False, draining=True, prefixes=gone)
    for family in miami.upstreams:
        waits(miami, family, gone)
    said = heard(miami, begin)
    assert sorted(said) == sorted((sign, str(prefix)) for prefix in ALL for sign in "+-")
    miami.tell(in_service=True, prefixes=ALL)
    for family in miami.upstreams:
        waits(miami, family, ALL)


def all_repeated(begin: float, log: Log) -> bool:
    """Whether every route that is held has been announced since then."""
    repeated = {route.prefix for each in log.updates(begin) for route in each.announced}
    return repeated >= log.routes().keys()


def all_marked(begin: float, log: Log) -> bool:
    """Whether every route that is held is marked for graceful shutdown since then."""
    marked = {
        route.prefix
        for update in log.updates(begin)
        for route in update.announced
        if (65535, 0) in route.communities
    }
    return marked == log.routes().keys()


def test_an_address_is_discarded_while_its_longest_prefix_is_in_service(miami: Edge) -> None:
    upstream = miami.upstreams["ipv4"].log
    miami.order("192.30.121.7")
    upstream.wait(lambda log: "192.30.121.7/32" in log.routes(), 10, "it is ordered")
    miami.tell(in_service=True, prefixes=ALL | {PART: False})
    waits(miami, "ipv4", ALL | {PART: False})
    miami.order()
    miami.tell(in_service=True, prefixes=ALL)
    waits(miami, "ipv4", ALL)


@pytest.mark.parametrize("version", BIRDS)
def test_a_network_gets_further_prefixes_without_a_flap(tmp_path: Path, version: str) -> None:
    """The agent adds the constants that the next generation reads, then BIRD is configured."""
    one, several = plan_of(prod()), plan_of(several_prefixes())
    both: dict[Network, bool] = dict.fromkeys(one.owned, True)
    with edge(one, NODE, tmp_path, f"further-{os.getpid()}", version) as made:
        for family in made.upstreams:
            waits(made, family, both)
        begin, host = time.monotonic(), Host(Path(f"/proc/{made.pid}/root"))
        files = node_files(several, placeholder_facts(several) | {NODE: made.facts})[NODE].files
        reset = next(file.content for file in files if file.path == OUT_OF_SERVICE)
        declare(host, reset.encode(), one.owned)
        made.take(several)
        assert written_state(host, ALL).serving == set(one.owned)
        made.tell(in_service=True, prefixes=ALL)
        for family in made.upstreams:
            waits(made, family, ALL)
        for family, upstream in made.upstreams.items():
            asked = time.monotonic()
            upstream.refresh(int(family[-1]))
            upstream.log.wait(partial(all_repeated, asked), 10, f"{family} is announced again")
        assert set(heard(made, begin)) == {("+", str(prefix)) for prefix in ALL}
        assert all(len(each.log.opens()) == 1 for each in made.upstreams.values())


@pytest.mark.parametrize("version", BIRDS)
def test_a_replaced_aggregate_is_announced_and_goes_back(tmp_path: Path, version: str) -> None:
    """BIRD 2 takes the two sets for the same."""
    small, large = prod(), prod()
    large["prefixes"]["ipv4"] = "192.30.120.0/22"
    plans = [plan_of(small), plan_of(large)]
    with edge(plans[0], NODE, tmp_path, f"replaced-{os.getpid()}", version) as made:
        for before, after in (plans, plans[::-1]):
            waits(made, "ipv4", dict.fromkeys(before.owned, True))
            made.take(after)
            waits(made, "ipv4", dict.fromkeys(after.owned, True))
        assert len(made.upstreams["ipv4"].log.opens()) == 1, "the session stood all the time"
