"""How the mesh is, by the nodes' words, and what is not well in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from mesh.plan import Plan
from mesh.publish import Fleet as State
from mesh.publish.expected import tunnel_session
from mesh.publish.problems import problems
from mesh.publish.recent import SILENT_SECONDS
from mesh.publish.served import ServiceStatus
from mesh.publish.status import MeshStatus, Reported, SessionDown, status
from mesh.services.content import Content
from mesh.trust.documents import Blackhole, BlackholeOrder, Down, DrainOrder, Report, Unconfirmed
from mesh.trust.encoding import parse
from tests.kit.registry import shared_fleet

FLEET = shared_fleet()
PLAN, MADE = FLEET.plan, FLEET.seventh
LAX, ORD, MIA, EWR = NODES = ("lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1")
NET4, NET6 = "192.30.120.0/23", "2620:71:4000::/48"
NOW = 10**9
STATE = State(7, MADE.digest, FLEET.members())
URL = "https://203.0.113.1:8443"


def report(
    node: str, age: float = 1.0, of: Mapping[str, Any] | None = None, **changed: Any
) -> Report:
    """A node's last word of so many seconds ago; ``of`` are the report's own values."""
    health = FLEET.well(node, **changed)
    signed = FLEET.report(node, MADE, int((NOW - age) * 1e6), health=health, **(of or {}))
    return parse(Report, signed.payload)


def seen(*said: Report | None, plan: Plan | None = PLAN, **changed: Any) -> MeshStatus:
    """The status where all is well, but for these words; None in place of Los Angeles' word is
    silence."""
    reports = {node: report(node) for node in NODES}
    for one in said:
        if one is None:
            del reports[LAX]
        else:
            reports[one.node] = one
    values: dict[str, Any] = {
        "held": MADE.manifest, "drain": None, "blackhole": None, "reports": reports,
        "registries": {URL: "ok"}, "answered": True, "now": float(NOW),
    }  # fmt: skip
    return status(Reported(**(values | changed)), STATE, plan)


def sessions(**changed: str) -> dict[str, str]:
    return FLEET.well(LAX).sessions | changed


def renamed(old: str, new: str) -> Plan:
    """The plan with another name for a tunnel's interface."""
    return replace(
        PLAN,
        nodes=tuple(
            replace(
                node,
                links=tuple(
                    replace(link, interface=new) if link.interface == old else link
                    for link in node.links
                ),
            )
            for node in PLAN.nodes
        ),
    )


def drained(*nodes: str) -> DrainOrder:
    return DrainOrder("mesh-27218", 3, nodes)


def gone(node: str) -> Report:
    """A node that has obeyed the order to drain."""
    return report(
        node, in_service=False, drained=True, drain=3, services={"web": False},
        announced={"vultr4": (), "vultr6": ()},
    )  # fmt: skip


BLACKHOLE = BlackholeOrder(
    "mesh-27218", 4, (Blackhole(IPv4Address("192.30.120.9"), NOW + 90, "a flood"),)
)
OBEYED = tuple(report(node, blackhole=4) for node in NODES)
AWAY: dict[str, Any] = {"sessions": {}, "announced": None}
NAMES = ("mate4_lax_vultr_1", "mate6_lax_vultr_1", "u_lax_vultr_1")
WITHOUT_LAX = tuple(
    report(
        node,
        sessions={n: "Active" if n in NAMES else s for n, s in FLEET.well(node).sessions.items()},
    )
    for node in NODES
    if node != LAX
)

TIMED = tuple(report(node, clocks={}) for node in NODES if node != LAX)

WELL = {
    "a node whose number is ahead, since its clock was": seen(
        report(LAX, age=-3600.0, of={"clock": int((NOW - 1) * 1e6)})
    ),
    "all": seen(),
    "a node drained by order": seen(gone(MIA), drain=drained(MIA)),
    "a blackhole that all obey": seen(*OBEYED, blackhole=BLACKHOLE),
    "one that has ended": seen(blackhole=replace(BLACKHOLE, entries=())),
    "an older agent": seen(report(LAX, bird=None, announced=None, tunnels=None)),
    "a tunnel that was looked at before its session came up": seen(
        report(LAX, tunnels={"wg-mia-vultr-1": "no handshake yet"})
    ),
    "a node that is gone on without": seen(None, *WITHOUT_LAX, plan=replace(PLAN, without=(LAX,))),
}


@pytest.mark.parametrize("found", WELL.values(), ids=WELL)
def test_what_is_as_ordered_is_well(found: MeshStatus) -> None:
    assert problems(found) == ()


def lost(node: str, *of: str, since: int = 4, age: float = 1.0) -> Report:
    """A node that has lost its tunnels to those so many seconds ago."""
    names = [tunnel_session(one) for one in of]
    return report(
        node,
        age,
        sessions=FLEET.well(node).sessions | dict.fromkeys(names, "Idle"),
        down={name: Down("", NOW - since) for name in names},
    )


def with_content(sha256: str) -> Plan:
    """The plan with content for the web service."""
    services = [
        replace(each, content=Content(sha256, 1000, 3)) if each.name == "web" else each
        for each in PLAN.services
    ]
    return replace(PLAN, services=tuple(services))


DEAD = (report(ORD, 9.0), *(lost(node, ORD) for node in NODES if node != ORD))
"""Right after Chicago has lost its power."""

HALF: dict[str, Any] = {
    "services": {"web": False},
    "families": {"web": {"ipv4": True, "ipv6": False}},
}
"""Of a node that serves IPv4 and not IPv6."""
ILL: dict[str, tuple[MeshStatus, tuple[str, ...]]] = {
    "no registry answers": (
        seen(answered=False, registries={URL: "timed out"}),
        ("no registry answers: the state of the nodes is unknown",),
    ),
    "one does not": (seen(registries={URL: "timed out"}), (f"registry {URL}: timed out",)),
    "the plan cannot be read": (
        seen(plan=None),
        ("the plan in the stack's state was written by another version",),
    ),
    "a disk that takes nothing": (
        seen(report(LAX, faults={"disk": "/var/lib/x cannot be written: No space left on device"})),
        (f"{LAX}: disk: /var/lib/x cannot be written: No space left on device",),
    ),
    "a thread that failed": (
        seen(report(LAX, faults={"thread lookout": "KeyError: 'x'"})),
        (f"{LAX}: thread lookout: KeyError: 'x'",),
    ),
    "a clock that is ahead": (
        seen(report(LAX, clocks={URL: 90}), *TIMED, ahead={URL: 1.0}),
        (f"{LAX}: its clock is 89 s ahead of this machine's",),
    ),
    "a clock that is behind": (
        seen(report(LAX, age=601, clocks={URL: -600}), *TIMED, ahead={URL: 0.0}),
        (
            f"{LAX}: its clock is 10 min behind this machine's",
            f"{LAX}: silent: last report 10 min ago; its state is unknown",
        ),
    ),
    "the registry's clock is ahead, and its node's": (
        seen(
            report(LAX, age=-40.0, clocks={}),
            *(replace(one, health=replace(one.health, clocks={URL: -40})) for one in TIMED),
            ahead={URL: -40.0},
        ),
        (f"{LAX}: its clock is 40 s ahead of this machine's",),
    ),
    "this machine's clock is ahead": (
        seen(report(LAX, clocks={}), *TIMED, ahead={URL: 30.0}),
        ("this machine's clock is 30 s ahead of all nodes': ages are unknown",),
    ),
    "a node never spoke": (seen(None), (f"{LAX}: silent: no report yet",)),
    "a node is silent": (
        seen(report(LAX, SILENT_SECONDS + 1)),
        (f"{LAX}: silent: last report 46 s ago; its state is unknown",),
    ),
    "a node has just lost its power": (
        seen(*DEAD),
        (
            f"{ORD}: unreachable: last report 9 s ago; all tunnels to it have gone down since, "
            f"as {EWR}, {LAX}, {MIA} report, 4 s ago: it is off or cut off",
            *(f"{node}: u_ord_vultr_1 is down for 4 s (Idle)" for node in (EWR, LAX, MIA)),
        ),
    ),
    "a node whose own word is that its tunnels are down": (
        seen(lost(ORD, LAX, MIA, EWR, since=3, age=2.5), *DEAD[1:]),
        (
            *(f"{node}: u_ord_vultr_1 is down for 4 s (Idle)" for node in (EWR, LAX, MIA)),
            f"{ORD}: u_ewr_vultr_1 is down for 3 s (Idle)",
            f"{ORD}: u_lax_vultr_1 is down for 3 s (Idle)",
            f"{ORD}: u_mia_vultr_1 is down for 3 s (Idle)",
        ),
    ),
    "a node that one peer reaches": (
        seen(report(ORD, 9.0), *DEAD[2:]),
        (
            f"{EWR}: u_ord_vultr_1 is down for 4 s (Idle)",
            f"{MIA}: u_ord_vultr_1 is down for 4 s (Idle)",
        ),
    ),
    "a node that has spoken since its tunnels went down": (
        seen(report(ORD, 1.0), *DEAD[1:]),
        tuple(f"{node}: u_ord_vultr_1 is down for 4 s (Idle)" for node in (EWR, LAX, MIA)),
    ),
    "a generation was refused": (
        seen(report(LAX, of={"outcome": "failed", "reason": "bird refuses: line 7"})),
        (f"{LAX}: bird refuses: line 7",),
    ),
    "a generation behind": (
        seen(report(LAX, of={"generation": 6, "applied": 6})),
        (f"{LAX}: on generation 6, not on 7 yet",),
    ),
    "BIRD killed": (
        seen(report(LAX, **AWAY, bird="does not run: nobody listens on its control socket")),
        (f"{LAX}: its BIRD does not run: nobody listens on its control socket: sessions and what",),
    ),
    "BIRD killed, an older agent": (
        seen(report(LAX, bird=None, announced=None, sessions={})),
        (f"{LAX}: its BIRD reports no session: what it announces is unknown",),
    ),
    "an upstream session down": (
        seen(
            report(
                LAX,
                sessions=sessions(vultr6="Active"),
                announced={"vultr4": (IPv4Network(NET4),)},
                down={"vultr6": Down("Socket: Connection refused", NOW - 300)},
            )
        ),
        (f"{LAX}: vultr6 is down for 5 min (Active): Socket: Connection refused",),
    ),
    "an upstream session disabled": (
        seen(
            report(
                LAX,
                sessions=sessions(vultr6="down"),
                announced={"vultr4": (IPv4Network(NET4),)},
                down={"vultr6": Down("", NOW - 30)},
            )
        ),
        (f"{LAX}: vultr6 is down for 30 s (shut down by its own BIRD)",),
    ),
    "no upstream session at all": (
        seen(
            report(
                LAX,
                sessions={n: s for n, s in sessions().items() if n[:5] != "vultr"},
                announced={},
            )
        ),
        (f"{LAX}: vultr4 is down (missing)", f"{LAX}: vultr6 is down (missing)"),
    ),
    "a tunnel of the plan without a session": (
        seen(report(LAX, sessions={n: s for n, s in sessions().items() if n != "u_mia_vultr_1"})),
        (f"{LAX}: u_mia_vultr_1 is down (missing)",),
    ),
    "a tunnel's interface gone": (
        seen(
            report(
                LAX,
                sessions=sessions(u_mia_vultr_1="Idle"),
                tunnels={"wg-mia-vultr-1": "the interface is missing"},
            )
        ),
        (
            f"{LAX}: u_mia_vultr_1 is down",
            f"{LAX}: tunnel wg-mia-vultr-1: the interface is missing",
        ),
    ),
    "a tunnel's interface gone, whose name has not the whole peer in it": (
        seen(
            report(
                LAX,
                sessions=sessions(u_mia_vultr_1="Idle"),
                tunnels={"wg-mia-0123456": "the interface is missing"},
            ),
            plan=renamed("wg-mia-vultr-1", "wg-mia-0123456"),
        ),
        (
            f"{LAX}: u_mia_vultr_1 is down",
            f"{LAX}: tunnel wg-mia-0123456: the interface is missing (to {MIA})",
        ),
    ),
    "up, and nothing exported": (
        seen(report(LAX, announced={"vultr4": (), "vultr6": ()})),
        (
            f"{LAX}: does not announce {NET4}: vultr4 is up, and BIRD does not export",
            f"{LAX}: does not announce {NET6}: vultr6 is up, and BIRD does not export",
        ),
    ),
    "a service down": (
        seen(
            report(LAX, services={"web": False}, failures={"web": "http port 80: answers 503 No"})
        ),
        (f"{LAX}: service web is down: http port 80: answers 503 No",),
    ),
    "a service down in one family": (
        seen(
            report(
                LAX,
                services={"web": False},
                families={"web": {"ipv4": True, "ipv6": False}},
                failures={"web": "IPv6: http port 80: connection refused"},
            )
        ),
        (f"{LAX}: service web is down in IPv6: IPv6: http port 80: connection refused",),
    ),
    "a family of a service down everywhere": (
        seen(*(report(n, **HALF) for n in NODES)),
        (
            "service web: no node serves it in IPv6",
            *(f"{n}: service web is down in IPv6" for n in sorted(NODES)),
        ),
    ),
    "an external service whose unit does not run": (
        seen(report(LAX, services={"web": False}, units={"web": "failed"})),
        (f"{LAX}: service web is down: its unit is failed",),
    ),
    "a warning of a service": (
        seen(report(LAX, warnings={"web at ord-vultr-1": "http port 80: no answer within 1 s"})),
        (f"warning: {LAX}: web at ord-vultr-1: http port 80: no answer within 1 s",),
    ),
    "older content": (
        seen(
            report(LAX, contents={"web": "b" * 64}),
            report(ORD, contents={"web": "a" * 64}),
            plan=with_content("a" * 64),
        ),
        (
            f"{LAX}: service web has older content (bbbbbbbbbbbb), and the generation has "
            "aaaaaaaaaaaa",
        ),
    ),
    "older content of a node that is behind": (
        seen(
            report(LAX, of={"generation": 6, "applied": 6}, contents={"web": "b" * 64}),
            plan=with_content("a" * 64),
        ),
        (f"{LAX}: on generation 6, not on 7 yet",),
    ),
    "a service down everywhere": (
        seen(*(report(node, services={"web": False}) for node in NODES)),
        ("service web: no node serves it", *(f"{n}: service web is down" for n in sorted(NODES))),
    ),
    "nobody announces": (
        seen(*(gone(node) for node in NODES), drain=drained(*NODES)),
        (f"{NET4}: no node announces it", f"{NET6}: no node announces it", "service web: no node"),
    ),
    "a drain not obeyed": (
        seen(drain=drained(MIA)),
        (f"{MIA}: has not applied drain order 3 yet",),
    ),
    "drained, and not ordered": (
        seen(gone(MIA)),
        (f"{MIA}: is drained, and drain order none does not contain it",),
    ),
    "a blackhole not obeyed": (
        seen(*OBEYED[1:], blackhole=BLACKHOLE),
        (f"blackhole 192.30.120.9: not applied yet by {LAX}",),
    ),
    "another certificate": (
        seen(report(LAX, tls_mismatches=(URL,))),
        (f"{LAX}: {URL} presents another certificate",),
    ),
}


@pytest.mark.parametrize(("found", "said"), ILL.values(), ids=ILL)
def test_what_is_not_well_or_unknown_is_said(found: MeshStatus, said: tuple[str, ...]) -> None:
    wrong = problems(found)
    assert [line[: len(text)] for line, text in zip(wrong, said, strict=True)] == [*said]


def test_nothing_of_the_last_word_of_a_node_without_power_counts_as_so_now() -> None:
    found = seen(*DEAD)
    assert (found.nodes[ORD].state, found.nodes[ORD].age) == ("unreachable", 9)
    assert (found.nodes[ORD].is_known, found.nodes[EWR].is_known) == (False, True)
    assert found.nodes[ORD].announces == {NET4: "unknown", NET6: "unknown"}
    assert found.prefixes[NET4].announcers == (EWR, LAX, MIA)
    assert found.prefixes[NET4].unknown == (ORD,)


def test_many_sessions_that_are_down_for_one_reason_are_told_together() -> None:
    names = [name for name in sessions() if name.startswith("mate")]
    down = {name: Down("Socket: No route to host", NOW - 9) for name in names}
    found = seen(report(LAX, sessions=sessions(**dict.fromkeys(names, "Connect")), down=down))
    (line,) = problems(found)
    assert line.startswith(f"{LAX}: 6 sessions are down (mate4_ewr_vultr_1, ")
    assert line.endswith("): Socket: No route to host")
    assert found.nodes[LAX].down[names[0]] == SessionDown("Connect", "Socket: No route to host", 9)


def test_who_announces_each_prefix_is_told_and_who_does_not() -> None:
    four = {"vultr4": (IPv4Network(NET4),)}
    found = seen(
        gone(MIA),
        report(LAX, sessions=sessions(vultr6="Active"), announced=four),
        report(ORD, SILENT_SECONDS + 9),
        drain=drained(MIA),
    )
    assert found.prefixes[NET4].announcers == (EWR, LAX)
    assert found.prefixes[NET6].announcers == (EWR,)
    assert (found.prefixes[NET6].not_announcing, found.prefixes[NET6].unknown) == ((LAX,), (ORD,))
    assert found.nodes[LAX].announces == {NET4: "yes", NET6: "no"}
    assert found.nodes[LAX].why_not == {NET6: "vultr6 is down (Active)"}
    assert found.nodes[ORD].announces == {NET4: "unknown", NET6: "unknown"}
    assert (found.nodes[ORD].stale, found.nodes[ORD].is_known) == (True, False)


def test_who_serves_each_family_is_told_and_with_which_content() -> None:
    half = HALF | {"contents": {"web": "b" * 64}}
    found = seen(
        gone(MIA),
        report(LAX, **half),
        report(EWR, SILENT_SECONDS + 9),
        drain=drained(MIA),
        plan=with_content("a" * 64),
    )
    # Chicago's agent is an older one.
    assert found.services["web"] == ServiceStatus(
        {"ipv4": (LAX, ORD), "ipv6": (ORD,)},
        {"ipv4": (), "ipv6": (LAX,)},
        "a" * 64,
        {LAX: "b" * 64},
    )
    assert (found.nodes[LAX].families, found.nodes[ORD].families) == (half["families"], {})


def test_what_is_discarded_is_told_with_its_end_and_who_has_not_obeyed() -> None:
    (entry,) = seen(*OBEYED[2:], blackhole=BLACKHOLE).blackholes
    assert (entry.address, entry.seconds_left, entry.reason) == ("192.30.120.9", 90, "a flood")
    assert entry.not_obeyed == (LAX, ORD)


def test_a_change_that_nobody_has_confirmed_is_a_problem() -> None:
    change = Unconfirmed(8, NOW * 10**6, ("192.0.2.0/24 may log in no more",), (), (22,))
    assert problems(seen(report(LAX, unconfirmed=change))) == (
        f"{LAX}: unconfirmed: generation 8 is undone unless somebody logs in anew "
        "(192.0.2.0/24 may log in no more)",
    )
