"""Look-ups at real BIRDs with the rendered configuration, and routes that an upstream says."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from mesh.glass.answers import Route
from mesh.glass.bird import SECONDS, Budget, Control, NoAnswer
from mesh.glass.lookup import Lookup
from mesh.glass.questions import RefusedQuestion, RouteQuestion, target
from mesh.glass.words import REASONS
from tests.glass.glasses import waits
from tests.glass.networks import network_of
from tests.kit.bgp.attributes import Route as Said
from tests.kit.edge.uplink import Edge, edge
from tests.kit.machine import IMAGES, NEWEST
from tests.kit.stacks import prod
from tests.kit.wait import BUSY, until

pytestmark = pytest.mark.image
NODE, UPSTREAM, TRANSIT, GOOGLE = "lax-vultr-1", 64515, 20473, 15169
HOP = ip_address("169.254.169.254")
RESTRICTED = {IMAGES: "restrict", NEWEST: "restrict;"}


def said(prefix: str, *path: Any, **more: Any) -> Said:
    return Said(prefix, (UPSTREAM, *path), HOP, **more)


ROUTES = (
    said("8.8.8.0/24", TRANSIT, GOOGLE, med=5, communities=((TRANSIT, 300), (65535, 0)),
         large=((TRANSIT, 300, GOOGLE),)),
    said("8.0.0.0/12", TRANSIT, TRANSIT, GOOGLE, origin=2),
    said("8.8.0.0/16", TRANSIT, frozenset((GOOGLE, 3))),
    said("8.0.0.0/9", TRANSIT, *range(3000, 3110)),
    said("10.0.0.0/8", TRANSIT, GOOGLE),
)  # fmt: skip


@dataclass
class Asked:
    """An edge that has heard an upstream, and its glass."""

    edge: Edge
    lookup: Lookup

    def routes(self, text: str, **more: Any) -> tuple[Route, ...]:
        question = RouteQuestion(target=target(text), node=NODE, **more)
        return self.lookup.routes(question).routes


@pytest.fixture(scope="module", autouse=True)
def waiting() -> Iterator[None]:
    """What takes BIRD too long is said by a test of its own."""
    with pytest.MonkeyPatch.context() as patch:
        waits(patch)
        yield


@pytest.fixture(scope="module", params=[IMAGES, NEWEST])
def asked(request: pytest.FixtureRequest) -> Iterator[Asked]:
    version = request.param

    def bend(text: str) -> str:
        socket = f'cli "/run/bird/glass.ctl" {{ {RESTRICTED[version]} }};\n'
        return text.replace("router id", f"{socket}router id", 1)

    values = prod() | {
        "routing": {"import": "full"}, "rpki": {"servers": ["rtr://198.51.100.1:3323"]},
    }  # fmt: skip
    with edge(values, NODE, version=version, bend=bend) as made:
        network = network_of(made.plan)
        control = Control(Path(f"/proc/{made.pid}/root/run/bird/glass.ctl"))
        speaker = made.upstream("ipv4")
        for route in ROUTES:
            speaker.announce(route)
        found = Asked(made, Lookup(network, network.by_id[NODE], control))
        until(lambda: found.routes("10.0.0.0/8"), 5, "all routes have come")
        yield found
        speaker.close()


def test_an_address_has_the_longest_match_first_and_what_was_refused_after_it(asked: Asked) -> None:
    best, *refused = asked.routes("8.8.8.8")
    assert (best.prefix, best.table, best.session) == ("8.8.8.0/24", "internet4", "vultr4")
    assert (best.kind, best.peer) == ("upstream", "vultr")
    assert best.path == (UPSTREAM, TRANSIT, GOOGLE)
    assert (best.origin, best.med, best.local_pref) == (GOOGLE, 5, 0)
    assert best.next_hop == str(HOP)
    assert best.since > 1_700_000_000
    assert {each.value: each.name for each in best.communities} == {
        "20473:300": "Vultr: private peer",
        "65535:0": "graceful shutdown",
        "20473:300:15169": "",
    }
    assert [(each.prefix, each.refused) for each in refused] == [
        ("8.8.0.0/16", REASONS[10]), ("8.0.0.0/9", REASONS[13]),
    ]  # fmt: skip


def test_a_path_that_bird_prints_in_part_has_no_part_of_an_asn(asked: Asked) -> None:
    (long,) = asked.routes("8.0.0.0/9")
    assert long.path[:4] == (UPSTREAM, TRANSIT, GOOGLE - 12169, 3001)
    assert all(3000 <= asn < 3110 for asn in long.path[2:])
    assert long.origin == 3109


def test_a_set_is_no_origin(asked: Asked) -> None:
    (found,) = asked.routes("8.8.0.0/16")
    assert found.origin is None
    assert set(found.path) == {UPSTREAM, TRANSIT, GOOGLE, 3}


def test_routes_are_compared_with_roas(asked: Asked) -> None:
    assert asked.routes("8.8.8.8")[0].rov == "unknown"
    assert asked.routes("8.8.8.8")[0].aspa in ("unknown", "valid")


def test_more_specifics_are_there_when_they_are_asked_for(asked: Asked) -> None:
    assert asked.routes("8.0.0.0/8") == ()
    found = asked.routes("8.0.0.0/8", more=True)
    assert {each.prefix: each.refused for each in found} == {
        "8.8.8.0/24": None, "8.0.0.0/12": None, "8.8.0.0/16": REASONS[10],
        "8.0.0.0/9": REASONS[13],
    }  # fmt: skip


def test_what_nobody_holds_of_our_prefix_is_dropped(asked: Asked) -> None:
    used, announced = asked.routes("192.30.120.77")
    assert (used.table, used.kind, used.used) == ("master4", "static", True)
    assert "dropped" in used.why
    assert (announced.table, announced.used) == ("internet4", False)
    assert announced.rov == "unknown"


def test_where_no_route_leads_there_is_said(asked: Asked) -> None:
    question = RouteQuestion(target=target("1.1.1.1"))
    found = asked.lookup.routes(question)
    assert found.routes == ()
    assert found.notes == (
        "no route of BIRD's leads there: packets take the system's default route",
    )


def test_a_refused_route_is_no_way(asked: Asked) -> None:
    found = asked.lookup.routes(RouteQuestion(target=target("10.0.0.1")))
    assert [each.refused for each in found.routes] == [REASONS[4]]
    assert found.notes == (
        "no route of BIRD's leads there: packets take the system's default route",
    )


def test_a_table_that_this_node_has_not_is_said(asked: Asked) -> None:
    found = asked.lookup.routes(RouteQuestion(target=target("1.1.1.1"), table="replies4"))
    assert found.notes[0] == "this node has no table replies4"


@pytest.mark.parametrize(
    ("question", "prefixes"),
    [
        ({}, ("10.0.0.0/8", "8.0.0.0/9", "8.8.0.0/16")),
        ({"reason": 4}, ("10.0.0.0/8",)),
        ({"session": "vultr4", "reason": 13}, ("8.0.0.0/9",)),
        ({"session": "vultr6"}, ()),
        ({"session": "u_mia_vultr_1"}, ()),
    ],
    ids=str,
)
def test_refused_routes_are_found_by_session_and_reason(
    asked: Asked, question: dict[str, Any], prefixes: tuple[str, ...]
) -> None:
    found = asked.lookup.refused(RefusedQuestion(node=NODE, **question))
    assert sorted(each.prefix for each in found.routes) == list(prefixes)
    assert sum(found.counts.values()) == len(prefixes)
    assert not found.cut
    assert not found.notes


def test_who_serves_is_known_by_routes(asked: Asked) -> None:
    found = asked.lookup.served("web")
    assert found.serves == {"ipv4": False, "ipv6": False}


def test_a_bird_that_is_stopped_is_not_waited_for(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(asked.edge.pid, signal.SIGSTOP)
    try:
        monkeypatch.setattr("mesh.glass.lookup.Budget", Budget)
        begin = time.monotonic()
        with pytest.raises(NoAnswer, match="and does not answer within"):
            asked.routes("8.8.8.8")
        assert time.monotonic() - begin < SECONDS * BUSY
    finally:
        monkeypatch.undo()
        os.kill(asked.edge.pid, signal.SIGCONT)
    assert until(lambda: asked.routes("8.8.8.8"), 5, "it answers again")
