"""What a person sees of a looking glass's answers."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, TypeVar

import pytest
from rich.console import Console, RenderableType

from mesh.cli import glass_text as text
from mesh.cli.watch import print_parts
from mesh.glass.answers import (
    Answer,
    Community,
    Hop,
    NodeAnswer,
    Refused,
    Route,
    Routes,
    Served,
    Way,
)
from mesh.glass.snapshot import Discarded, Generation, Session, Snapshot, Versions
from mesh.trust.documents import Health
from tests.cli.glass import AT
from tests.glass import samples

T = TypeVar("T")
LAX, EWR = "lax-vultr-1", "ewr-vultr-1"


def shown(parts: Iterable[RenderableType]) -> list[str]:
    """The lines on a terminal of 80 columns."""
    console = Console(
        file=io.StringIO(), width=80, force_terminal=True, color_system=None, highlight=False
    )
    print_parts(console, tuple(parts))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def answer(*, down: str = "", **data: Any) -> Answer[Any]:
    """What these nodes say; Newark gives no answer where ``down`` is the reason."""
    nodes: dict[str, NodeAnswer[Any]] = {
        name.replace("_", "-"): NodeAnswer(ok=True, took_ms=12.4, data=one)
        for name, one in data.items()
    }
    if down:
        nodes[EWR] = NodeAnswer(ok=False, why=down)
    return Answer(asked={}, at=AT, nodes=nodes)


USED = Route(
    prefix="8.8.8.0/24", table="internet4", session="vultr4", kind="upstream", peer="vultr",
    used=True, why="the only one", since=AT - 7300, path=(64515, 15169), origin=15169,
    next_hop="203.0.113.1", local_pref=100, med=0, rov="valid",
    communities=(Community("20473:300", "from a peer"), Community("64515:1")),
)  # fmt: skip
TUNNEL = Route(
    prefix="192.30.120.17/32", table="master4", session="u_ewr_vultr_1", kind="tunnel", peer=EWR,
    why="a longer path", path=(4200000017,), nodes=(EWR,), next_hop="fe80::17", node=EWR,
    interface="wg-ewr-vultr-1",
)  # fmt: skip
BOGON = replace(USED, prefix="10.0.0.0/8", used=False, refused="a bogon prefix", why="",
                communities=(), rov="invalid", since=0.0)  # fmt: skip

ROUTES: dict[str, tuple[Routes, list[str]]] = {
    "used": (Routes(routes=(USED,)), [
        f"{LAX} (12 ms)",
        "  8.8.8.0/24 in internet4, used: the only one",
        "    from vultr (upstream, vultr4), next hop 203.0.113.1, for 2 h",
        "    path 64515 15169",
        "    local preference 100, MED 0, ROV valid",
        "    communities 20473:300 (from a peer), 64515:1",
    ]),
    "by a tunnel": (Routes(routes=(TUNNEL,)), [
        f"{LAX} (12 ms)",
        "  192.30.120.17/32 in master4, not used: a longer path",
        f"    from {EWR} (tunnel, u_ewr_vultr_1), next hop fe80::17 ({EWR}) on",
        "      wg-ewr-vultr-1",
        f"    path 4200000017 over {EWR}",
    ]),
    "refused": (Routes(routes=(BOGON,)), [
        f"{LAX} (12 ms)",
        "  10.0.0.0/8 in internet4, refused: a bogon prefix",
        "    from vultr (upstream, vultr4), next hop 203.0.113.1",
        "    path 64515 15169",
        "    local preference 100, MED 0, ROV invalid",
    ]),
    "of others": (Routes(routes=(replace(BOGON, nodes=("", "")),)), [
        f"{LAX} (12 ms)",
        "  10.0.0.0/8 in internet4, refused: a bogon prefix",
        "    from vultr (upstream, vultr4), next hop 203.0.113.1",
        "    path 64515 15169",
        "    local preference 100, MED 0, ROV invalid",
    ]),
    "a default route": (
        Routes(routes=(Route(prefix="::/0", table="master6", session="x", kind="static",
                             next_hop="::ffff"),)), [
            f"{LAX} (12 ms)", "  ::/0 in master6, not used",
            "    static x, next hop ::ffff",
        ]),
    "none": (Routes(routes=()), [f"{LAX} (12 ms)", "  no route"]),
    "cut, with a note": (Routes(routes=(), cut="cut after 500", notes=("BIRD was reconfigured",)), [
        f"{LAX} (12 ms)", "  BIRD was reconfigured", "  no route", "  cut after 500",
    ]),
}  # fmt: skip


@pytest.mark.parametrize(("found", "lines"), ROUTES.values(), ids=ROUTES)
def test_a_route_says_why_it_is_used_or_not(found: Routes, lines: list[str]) -> None:
    assert shown(text.parts(answer(lax_vultr_1=found), text.routes)) == lines


def test_the_route_in_use_is_first_and_what_is_refused_last() -> None:
    found = Routes(routes=(BOGON, TUNNEL, USED))
    lines = shown(text.parts(answer(lax_vultr_1=found), text.routes))
    order = [line.split()[0] for line in lines if " in internet4" in line or " in master4" in line]
    assert order == ["8.8.8.0/24", "192.30.120.17/32", "10.0.0.0/8"]


def test_a_node_without_an_answer_stands_below_with_the_reason() -> None:
    found = answer(lax_vultr_1=Routes(routes=(USED,)), down="no answer within 2 s")
    assert shown(text.parts(found, text.routes))[-1] == f"{EWR}: no answer within 2 s"
    assert text.unanswered(found) == {EWR: "no answer within 2 s"}


REFUSED: dict[str, tuple[Refused, list[str]]] = {
    "two reasons": (
        Refused(counts={"a bogon prefix": 2, "too long a prefix": 40}, routes=(BOGON,)), [
            f"{LAX} (12 ms)", "  40: too long a prefix", "  2: a bogon prefix",
            "  10.0.0.0/8 from vultr, path 64515 15169: a bogon prefix",
        ]),
    "nothing": (Refused(counts={}, routes=()), [f"{LAX} (12 ms)", "  nothing is refused"]),
}  # fmt: skip


@pytest.mark.parametrize(("found", "lines"), REFUSED.values(), ids=REFUSED)
def test_refusals_are_counted_by_reason(found: Refused, lines: list[str]) -> None:
    assert shown(text.parts(answer(lax_vultr_1=found), text.refused)) == lines


PLANNED = (Hop(node=LAX, cost=0), Hop(node=EWR, cost=12))
WAYS: dict[str, tuple[Way, list[str]]] = {
    "as planned": (Way(planned=PLANNED, in_use=PLANNED),
                   [f"  by plan: {LAX} > {EWR} (+12), cost 12", "  in use: the same"]),
    "another": (
        Way(planned=PLANNED, in_use=(PLANNED[0], Hop(node="ord-vultr-1", cost=5), PLANNED[1])),
        [f"  by plan: {LAX} > {EWR} (+12), cost 12",
         f"  in use: {LAX} > ord-vultr-1 (+5) > {EWR} (+12), cost 17"]),
    "none": (Way(planned=PLANNED, in_use=None, why="no tunnel is up"),
             [f"  by plan: {LAX} > {EWR} (+12), cost 12", "  in use: none, no tunnel is up"]),
}  # fmt: skip


@pytest.mark.parametrize(("found", "lines"), WAYS.values(), ids=WAYS)
def test_a_way_is_compared_with_the_plan(found: Way, lines: list[str]) -> None:
    assert shown(text.parts(answer(lax_vultr_1=found), text.way))[1:] == lines


def test_a_service_says_from_where_each_node_takes_it() -> None:
    found = answer(
        lax_vultr_1=Served(serves={"ipv4": True, "ipv6": False}, taken_from={"ipv6": EWR}),
        mia_vultr_1=Served(serves={"ipv4": False, "ipv6": False}),
        down="no answer",
    )
    assert [line.split() for line in shown(text.served(found))] == [
        ["node", "IPv4", "IPv6"],
        [LAX, "itself", "from", EWR],
        ["mia-vultr-1", "nobody", "nobody"],
        [f"{EWR}:", "no", "answer"],
    ]


UP = Session("vultr4", "upstream", "vultr", 64515, "Established", AT - 100)
SNAPSHOT = Snapshot(
    node=LAX, at=AT, agent_started=AT - 9, bird_started=AT - 9, versions=Versions(),
    generation=Generation(7, 7, "applied"), sessions=(UP,), tunnels=(),
    health=Health(True, {"web": True, "east": False}, {}),
    prefixes={"192.30.120.0/23": True, "2620:71:4000::/48": False},
)  # fmt: skip
HOLE = Discarded(ip_address("192.30.120.9"), AT + 90, "a flood")
DRAINED = replace(SNAPSHOT, health=Health(False, {"web": False}, {}, drained=True))
NODES: dict[str, tuple[Snapshot, str, tuple[str, ...]]] = {
    "well": (SNAPSHOT, f"{LAX} applied 7 v4 only web, east (down) 1 of 1", ()),
    "drained": (DRAINED, f"{LAX} applied 7 drained drained 1 of 1", ()),
    "held": (replace(SNAPSHOT, health=replace(SNAPSHOT.health, held=5)),
             f"{LAX} applied (held) 7 v4 only web, east (down) 1 of 1", ()),
    "a session down": (
        replace(SNAPSHOT, sessions=(replace(UP, state="Idle", error="Hold timer expired"),)),
        f"{LAX} applied 7 v4 only web, east (down) 0 of 1",
        (f"{LAX}: vultr4 (vultr) is down for 100 s (Idle): Hold timer expired",)),
    "a service down": (
        replace(SNAPSHOT, health=replace(SNAPSHOT.health, failures={"east": "refused"})),
        f"{LAX} applied 7 v4 only web, east (down) 1 of 1",
        (f"{LAX}: service east is down: refused",)),
    "a generation that failed": (
        replace(SNAPSHOT, generation=Generation(7, 8, "failed", "bird: syntax error")),
        f"{LAX} failed 7 v4 only web, east (down) 1 of 1",
        (f"{LAX}: generation 8 failed: bird: syntax error",)),
    "BIRD away": (
        replace(SNAPSHOT, health=replace(SNAPSHOT.health, bird="does not answer"), sessions=()),
        f"{LAX} applied 7 unknown web, east (down) unknown",
        (f"{LAX}: its BIRD does not answer",)),
    "a blackhole": (
        replace(SNAPSHOT, blackholes=(HOLE,)), f"{LAX} applied 7 v4 only web, east (down) 1 of 1",
        ("blackhole 192.30.120.9, 90 s left: a flood (at all nodes)",)),
    "a blackhole that nobody signed": (
        replace(SNAPSHOT, blackholes=(replace(HOLE, signed=False),)),
        f"{LAX} applied 7 v4 only web, east (down) 1 of 1",
        ("blackhole 192.30.120.9, 90 s left, on a peer's word alone: a flood (at all",
         "  nodes)")),
    "a prefix that is none": (
        replace(SNAPSHOT, prefixes={"x": True}),
        f"{LAX} applied 7 unknown web, east (down) 1 of 1", ()),
}  # fmt: skip


@pytest.mark.parametrize(("one", "row", "further"), NODES.values(), ids=NODES)
def test_a_node_is_a_row_and_its_troubles_are_lines(
    one: Snapshot, row: str, further: tuple[str, ...]
) -> None:
    lines = shown(text.nodes(answer(lax_vultr_1=one)))
    assert max(map(len, lines)) <= 80
    assert " ".join(lines[1].split()) == row
    assert tuple(lines[2:]) == further


def test_a_blackhole_names_its_nodes_where_not_all_have_said_so() -> None:
    found = answer(lax_vultr_1=replace(SNAPSHOT, blackholes=(HOLE,)), down="no answer")
    assert shown(text.nodes(found))[2:] == [
        f"blackhole 192.30.120.9, 90 s left: a flood (at {LAX})",
        f"{EWR}: no answer",
    ]


def test_a_doubt_about_an_answer_stands_beside_it() -> None:
    old = answer(lax_vultr_1=SNAPSHOT)
    doubted = replace(old.nodes[LAX], why="its snapshot is 30 s old")
    lines = shown(text.nodes(replace(old, nodes={LAX: doubted})))
    assert lines[-1] == f"{LAX}: its snapshot is 30 s old"
    assert text.unanswered(replace(old, nodes={LAX: doubted})) == {}


HOSTILE = "\x1b[31mred\x1b[0m\n[bold]x[/]\u202e::error::"


def poisoned(answer: Answer[T]) -> Answer[T]:
    """What the nodes say with that text in all of its fields; the nodes are ours."""
    nodes = {
        name: replace(one, why=HOSTILE * bool(one.why), data=samples.poisoned(one.data, HOSTILE))
        for name, one in answer.nodes.items()
    }
    return replace(answer, nodes=nodes)


def test_what_the_world_says_stays_text_on_its_line() -> None:
    network = samples.production()
    first = network.nodes[0].id
    every = [
        *text.nodes(poisoned(samples.eventful(network))),
        *text.parts(poisoned(samples.routes_everywhere(network)), text.routes),
        *text.parts(poisoned(samples.refused(network, first)), text.refused),
        *text.parts(poisoned(samples.way(network)), text.way),
        *text.served(poisoned(samples.served(network, "web"))),
    ]
    lines = shown(every)
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("::") for line in lines)
    assert sum("[bold]x[/]" in line for line in lines) > 10
