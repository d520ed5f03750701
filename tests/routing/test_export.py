"""What an upstream ever hears of a whole edge: all UPDATEs of all sessions, in every state.

An upstream answers no question of ours: it notes what it is told. Each test asserts all that came
in since the one before, and at the end nothing but aggregates was ever announced.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest

from mesh.agent import announce_state, blackholes, entry
from mesh.agent.announce import Announcer
from mesh.agent.iproute import IpRoute
from mesh.bird.features import capabilities
from mesh.limits import MAX_BLACKHOLES
from mesh.trust.documents import Blackhole, BlackholeOrder
from tests.kit.bgp.attributes import Route
from tests.kit.bgp.log import Closed, Opened
from tests.kit.bgp.messages import (
    CEASE,
    CUSTOMER,
    PEER,
    PROVIDER,
    ROUTE_SERVER_CLIENT,
    SHUTDOWN,
    Capability,
    Notification,
    Open,
    Update,
)
from tests.kit.edge.whole import (
    ENHANCED_REFRESH,
    FAMILIES,
    LINK,
    MIA,
    UPSTREAM_ASN,
    UPSTREAMS,
    Event,
    Upstream,
    WholeEdge,
)
from tests.kit.machine import BIRDS, IMAGES
from tests.kit.wait import until

pytestmark = pytest.mark.image
OPEN_ERROR, ROLE_MISMATCH = 2, 11  # RFC 9234, section 4.2
ASN = 27218
NET4, NET6 = "192.30.120.0/23", "2620:71:4000::/48"
IN_SERVICE = {
    4: Route(
        NET4,
        (ASN,),
        IPv4Address("203.0.113.1"),
        med=50,
        communities=((174, 3001), (20473, 6002)),
    ),
    6: Route(NET6, (ASN,), IPv6Address("2001:db8::1")),
}
"""The aggregates, with what the stack file asks of the upstream."""
LEAVING = {
    version: replace(
        route,
        path=(ASN,) * 4,
        communities=tuple(sorted((*route.communities, (65535, 0)))),
    )
    for version, route in IN_SERVICE.items()
}
"""The same of a node that drains (RFC 8326)."""
ORDERED = {4: "192.30.121.7/32", 6: "2620:71:4000::bad/128"}
ORDERS = {
    version: Route(prefix, (ASN,), IN_SERVICE[version].next_hop, communities=((20473, 666),))
    for version, prefix in ORDERED.items()
}
"""Addresses that the upstream is asked to discard."""
NOTHING: dict[int, list[Event]] = {4: [], 6: []}


def announced(routes: Mapping[int, Route] = IN_SERVICE) -> dict[int, list[Event]]:
    """One UPDATE, of each family."""
    return {version: [Update(announced=(routes[version],))] for version in FAMILIES}


def withdrawn() -> dict[int, list[Event]]:
    """One that takes it back."""
    return {version: [Update(withdrawn=(IN_SERVICE[version].prefix,))] for version in FAMILIES}


def opening(role: int = CUSTOMER) -> dict[int, Open]:
    """Our OPEN, of each family."""
    said = {
        version: (
            Capability(1, bytes((0, 1 if version == 4 else 2, 0, 1))),  # its family and no other
            Capability(2),  # route refresh
            Capability(9, bytes((role,))),  # RFC 9234
            Capability(64, bytes((0, 120))),  # graceful restart: helps others, and has no family
            Capability(65, ASN.to_bytes(4, "big")),
            Capability(ENHANCED_REFRESH),
            Capability(71),  # long-lived graceful restart: the same
        )
        for version in FAMILIES
    }
    return {v: Open(ASN, 9, IPv4Address("10.10.10.1"), each) for v, each in said.items()}


def session(*told: Mapping[int, list[Event]], role: int = CUSTOMER) -> dict[int, list[Event]]:
    """All that a session begins with; what is told in it before all has been told."""
    return {
        v: [Opened(), opening(role)[v], *(e for each in told for e in each[v]), Update(end_of=v)]
        for v in FAMILIES
    }


def after(*parts: Mapping[int, list[Event]]) -> dict[int, list[Event]]:
    """One thing after the other."""
    return {version: [event for part in parts for event in part[version]] for version in FAMILIES}


ENDED: dict[int, list[Event]] = {4: [Closed()], 6: [Closed()]}


@pytest.fixture(scope="module", params=BIRDS)
def booted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WholeEdge]:
    """An edge that has booted among peers and upstreams, and has no agent yet. When all is over,
    no upstream has ever heard of anything but an aggregate, and what it was asked to discard."""
    edge = WholeEdge(tmp_path_factory.mktemp("edge"), request.param)
    try:
        edge.machine.start_bird()
        edge.join()
        for upstream in edge.upstreams.values():
            upstream.call()
        yield edge
        for version, upstream in edge.upstreams.items():
            assert ever(upstream) <= {IN_SERVICE[version].prefix, ORDERED[version]}
    finally:
        edge.close()


@pytest.fixture
def edge(booted: WholeEdge, monkeypatch: pytest.MonkeyPatch) -> WholeEdge:
    """The edge, in service; all that it has said so far is another test's."""
    monkeypatch.setattr(announce_state, "SHUTDOWN", 0.2)
    booted.serve()
    if booted.agent is None:
        booted.start_agent()
    agent(booted).drain(False)
    for version, upstream in booted.upstreams.items():
        upstream.wait_for(partial(holds, upstream, IN_SERVICE[version]), "in service")
    booted.heard()
    return booted


def holds(upstream: Upstream, route: Route) -> bool:
    """Whether an upstream has exactly this route."""
    return upstream.speaker.log.routes() == {route.prefix: route}


def has(upstream: Upstream, route: Route) -> bool:
    """Whether it is among those that an upstream has."""
    return upstream.speaker.log.routes().get(route.prefix) == route


def agent(edge: WholeEdge) -> Announcer:
    """The edge's agent, which runs."""
    assert edge.agent is not None
    return edge.agent


# --- what the agent sees -------------------------------------------------------------------------


def test_a_fresh_node_says_nothing_but_that_it_has_said_all(booted: WholeEdge) -> None:
    assert booted.heard() == session()


def test_in_service_each_upstream_hears_one_aggregate_as_the_stack_file_asks(
    booted: WholeEdge,
) -> None:
    booted.serve()
    booted.start_agent()
    booted.hears(announced())


def test_out_of_service_is_who_serves_nothing_and_reaches_nobody_who_does(edge: WholeEdge) -> None:
    edge.fail()
    until(lambda: not any(agent(edge).services().values()), 10, "the checks fail")
    # A peer serves: the edge leads there.
    assert edge.heard() == NOTHING
    edge.leave()
    edge.hears(withdrawn())
    edge.call()
    edge.hears(announced())


def leaves(edge: WholeEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge drains, and each upstream hears that it is about to go: it stays until then, however
    long that takes here. It withdraws now."""
    with monkeypatch.context() as patched:
        patched.setattr(announce_state, "SHUTDOWN", 600.0)
        agent(edge).drain(True)
        for version, upstream in edge.upstreams.items():
            upstream.wait_for(partial(has, upstream, LEAVING[version]), "it is about to go")
        for version, events in edge.heard().items():
            assert events[-1:] == announced(LEAVING)[version], events
            assert not any(isinstance(each, Update) and each.withdrawn for each in events), events


def test_who_drains_says_so_first_and_withdraws_then(
    edge: WholeEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves(edge, monkeypatch)
    edge.hears(withdrawn())
    agent(edge).drain(False)
    edge.hears(announced())


def test_who_is_called_back_before_it_has_gone_is_there_as_before(
    edge: WholeEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announce_state, "SHUTDOWN", 60.0)
    agent(edge).drain(True)
    edge.hears(announced(LEAVING))
    agent(edge).drain(False)
    edge.hears(announced())


def test_a_network_that_is_taken_down_is_withdrawn(edge: WholeEdge) -> None:
    agent(edge).retire()
    edge.hears(withdrawn())
    edge.watch()
    edge.hears(announced())


# --- what becomes of the agent and of BIRD -------------------------------------------------------


def test_an_agent_that_stops_has_half_a_minute_and_then_the_node_withdraws(edge: WholeEdge) -> None:
    edge.stop_agent()
    timer = edge.after_stop()
    assert f"--on-active={entry.GRACE}" in timer
    assert edge.heard() == NOTHING
    edge.machine.output(*timer[-3:])
    edge.hears(withdrawn())
    edge.start_agent()
    edge.hears(announced())


def test_an_agent_that_is_back_in_time_changes_nothing(edge: WholeEdge) -> None:
    edge.stop_agent()
    edge.start_agent()
    until(lambda: agent(edge).services() == {"web": True}, 10, "it looks")
    assert edge.heard() == NOTHING


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
def test_a_bird_that_starts_again_says_nothing_until_the_agent_has_looked(
    edge: WholeEdge, kill: bool
) -> None:
    edge.stop_agent()
    edge.machine.stop_bird(kill=kill)
    edge.machine.start_bird()
    edge.leave()
    edge.join()
    for upstream in edge.upstreams.values():
        upstream.call()
    notification: list[Event] = [] if kill else [Notification(CEASE, SHUTDOWN)]
    assert edge.heard() == after({4: notification, 6: notification}, ENDED, session())
    edge.start_agent()
    edge.hears(announced())


def test_a_bird_that_starts_again_is_told_by_the_agent_that_runs(edge: WholeEdge) -> None:
    edge.machine.stop_bird(kill=True)
    edge.machine.start_bird()
    edge.leave()
    edge.join()
    for upstream in edge.upstreams.values():
        upstream.call()
        upstream.wait_for(partial(holds, upstream, IN_SERVICE[upstream.version]), "told")
    for version, events in edge.heard().items():
        first, last = [Closed(), *session()[version][:2]], announced()[version]
        end: list[Event] = [Update(end_of=version)]
        assert events in ([*first, *end, *last], [*first, *last, *end])


HARMLESS = {
    "nothing": (r"\Z", ""),
    "a comment": (r"\A", "# Looked at.\n"),
    "a name": (r"^router id", "define LOOKED_AT = 1;\nrouter id"),
    "what the log says": (r"^log syslog .*?;$", "log syslog all;"),
    "how often the kernel is looked at": ("scan time 5;", "scan time 6;"),
    "a tunnel's description": (r'description "mia-vultr-1, tunnel"', 'description "Miami"'),
    "a static route that is nobody's business": (
        r"^protocol direct bound",
        "protocol static more {\n\tipv4;\n\troute 10.66.0.0/16 blackhole;\n}\n"
        "protocol direct bound",
    ),
}


def test_a_configuration_that_is_read_again_says_nothing(edge: WholeEdge) -> None:
    for change in HARMLESS.values():
        with edge.edited(change):
            assert edge.heard() == NOTHING, change
        assert edge.heard() == NOTHING, change


# --- what others say -----------------------------------------------------------------------------


def test_routes_inside_that_come_and_go_a_hundred_times_are_nobodys_business(
    edge: WholeEdge,
) -> None:
    own, served = Route("192.30.120.25/32", (MIA,), LINK), edge.served(4)[0]
    for _ in range(100):
        edge.tunnel.withdraw(own.prefix)
        edge.mates[4].withdraw(served.prefix)
        edge.tunnel.announce(own)
        edge.mates[4].announce(served)
    edge.tunnel.withdraw(own.prefix)
    until(partial(edge.lacks, own.prefix), 10, "all is read")
    edge.tunnel.announce(own)
    until(partial(edge.knows, own.prefix), 10, "all is read")
    assert edge.heard() == NOTHING


def test_what_upstreams_say_is_told_to_nobody(
    edge: WholeEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of thousands, while the edge drains and comes back, and while the table goes."""
    tables = {
        4: [f"{IPv4Address((1 << 24) * 11 + 256 * n)}/24" for n in range(5000)],
        6: [f"{IPv6Address((0x2A00 << 112) + (n << 80))}/48" for n in range(3000)],
    }
    for version, prefixes in tables.items():
        hop = ip_address(UPSTREAMS[version])
        like = Route(prefixes[0], (UPSTREAM_ASN, 3356, 15169), hop)
        edge.upstreams[version].speaker.announce_all(like, prefixes)
        until(partial(edge.imports, prefixes[-1]), 10, "all is read")
    assert edge.heard() == NOTHING
    leaves(edge, monkeypatch)
    edge.hears(withdrawn())
    agent(edge).drain(False)
    edge.hears(announced())
    for version, prefixes in tables.items():
        edge.upstreams[version].speaker.withdraw(*prefixes)
        until(partial(edge.forgot, prefixes[-1]), 10, "all is gone")
    assert edge.heard() == NOTHING


DEFAULTS = {4: "0.0.0.0/0", 6: "::/0"}


def test_a_default_route_that_was_asked_for_goes_no_further(edge: WholeEdge) -> None:
    edge.take(routing={"import": "default"})
    edge.heard()  # what it imports is judged in another way: that may take a new session
    for version, prefix in DEFAULTS.items():
        edge.upstreams[version].say(prefix)
        until(partial(edge.imports, prefix), 10, "it is read")
    assert edge.heard() == NOTHING
    edge.take()
    for version, prefix in DEFAULTS.items():
        edge.upstreams[version].say(prefix)  # an upstream answers when it is asked to say all again
        until(partial(edge.forgot, prefix), 10, "it is refused")
    edge.heard()


@pytest.mark.parametrize("cease", [False, True], ids=["cut", "ceased"])
def test_each_new_session_hears_the_aggregate_once(edge: WholeEdge, cease: bool) -> None:
    for upstream in edge.upstreams.values():
        if cease:
            upstream.speaker.cease()
        upstream.call()
    assert edge.heard() == after(ENDED, session(announced()))


def test_what_a_mate_that_obeys_nobody_says_never_comes_out(edge: WholeEdge) -> None:
    """Rows 91 to 94 of the routing reference, over the tunnel and over iBGP."""
    prefixes = (
        "10.0.0.0/8", "192.168.0.0/16", "0.0.0.0/0", "0.0.0.0/1", "8.8.8.0/24", "8.8.8.8/32",
        "10.10.10.2/32", "192.30.120.9/32", "192.30.120.24/29", "192.30.121.0/24", NET4,
        "192.30.120.100/32", "192.30.121.200/32",
        "fc00::/7", "::/0", "2000::/3", "2001:4860::/32", "2001:4860:4860::8888/128",
        "fd00:10:10::2/128", "2620:71:4000::9/128", "2620:71:4000::/64", NET6,
        "2620:71:4000::100/128", "2620:71:4000::dead/128",
    )  # fmt: skip
    paths = ((MIA,), (MIA, ASN), (MIA, 64500), ())
    for prefix in prefixes:
        version = 6 if ":" in prefix else 4
        for path in paths:
            edge.tunnel.announce(Route(prefix, path or (MIA,), LINK, communities=((65535, 666),)))
            hop = edge.mate.tunnel.ipv4 if version == 4 else edge.mate.tunnel.ipv6
            edge.mates[version].announce(
                Route(prefix, path, hop, local_pref=4_000_000_000, communities=((65535, 666),))
            )
    edge.tunnel.withdraw("10.10.10.4/32")
    for version, mate in edge.mates.items():
        mate.withdraw(edge.served(version)[1].prefix)
    for mark in ("10.10.10.4/32", *(edge.served(version)[1].prefix for version in FAMILIES)):
        until(partial(edge.lacks, mark), 10, "all is read")
    assert edge.heard() == NOTHING
    edge.tunnel.withdraw(*prefixes)
    for version, mate in edge.mates.items():
        mate.withdraw(*(prefix for prefix in prefixes if (":" in prefix) == (version == 6)))
    edge.tell()
    edge.joined()
    assert edge.heard() == NOTHING


# --- what the operator has given up --------------------------------------------------------------


def test_an_address_under_attack_is_told_while_its_order_holds_and_the_node_is_in_service(
    edge: WholeEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    obey = Orders(edge)
    obey(*ORDERED.values())
    edge.hears(announced(ORDERS))
    leaves(edge, monkeypatch)
    until(lambda: agent(edge).drained, 10, "it has drained")
    for version, events in edge.heard().items():
        updates = [event for event in events if isinstance(event, Update)]
        assert events == updates
        lost = sorted(prefix for update in updates for prefix in update.withdrawn)
        assert lost == sorted((IN_SERVICE[version].prefix, ORDERED[version]))
        assert not any(update.announced for update in updates)
    obey()
    assert edge.heard() == NOTHING
    agent(edge).drain(False)
    edge.hears(announced())


class Orders:
    """The part of the agent that obeys the operator's orders; called with all that is discarded."""

    def __init__(self, edge: WholeEdge) -> None:
        self._part = blackholes.Blackholes(
            edge.machine.host, edge.machine.bird, IpRoute(edge.machine.host), lambda: None
        )
        self._part.watch(edge.config)
        self._number = 0

    def __call__(self, *prefixes: str) -> None:
        self._number += 1
        end = int(time.time()) + 600
        entries = tuple(Blackhole(ip_network(each)[0], end, "") for each in prefixes)
        self._part.obey(BlackholeOrder("as27218-prod", self._number, entries))
        self._part.look()


# --- what an operator's hand may do --------------------------------------------------------------


@pytest.fixture(params=BIRDS)
def bent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., WholeEdge]]:
    """Makes an edge whose bird.conf was edited: regular expressions, and what takes their place.
    Its agent has put it in service, and nobody has called it."""
    with ExitStack() as stack:

        def make(*changes: tuple[str, str]) -> WholeEdge:
            edge = WholeEdge(tmp_path_factory.mktemp("edge"), request.param)
            stack.callback(edge.close)
            edge.edit(*changes)
            edge.machine.start_bird()
            edge.serve()
            edge.start_agent()
            until(lambda: agent(edge).announcing, 10, "in service")
            # BIRD 3 takes what it was told from table to table later.
            for net in (NET4, NET6):
                until(lambda net=net: net in edge.routes(net, "internet"), 10, f"{net} is there")  # type: ignore[misc]
            return edge

        yield make


SESSION = (r"(^protocol bgp vultr[46] .*?)export filter \{.*?^\t\t\};", r"\1export all;")
PIPE = (r"(^protocol pipe to_internet[46] .*?)export filter \{.*?^\t\};", r"\1export all;")
LEAKS = {4: [f"10.{n}.0.0/16" for n in range(99)], 6: [f"2001:db8:{n:x}::/48" for n in range(99)]}
LEAK = (
    r"\Z",
    "".join(
        f"protocol static leak{version} {{\n\tipv{version};\n"
        + "".join(f"\troute {prefix} blackhole;\n" for prefix in prefixes)
        + "}\n"
        for version, prefixes in LEAKS.items()
    ),
)


@pytest.mark.parametrize("door", [SESSION, PIPE], ids=["session", "pipe"])
def test_one_edit_that_lets_everything_out_lets_nothing_out(
    bent: Callable[..., WholeEdge], door: tuple[str, str]
) -> None:
    """The way out has two doors: into the upstreams' tables, and out of them."""
    edge = bent(door, LEAK)
    for version, upstream in edge.upstreams.items():
        upstream.call()
        assert ever(upstream) == {IN_SERVICE[version].prefix}
        prefix = "11.1.1.0/24" if version == 4 else "2a00:1::/48"
        upstream.say(prefix, 3356)
        until(partial(edge.imports, prefix), 10, "it is read")
        upstream.heard()
        assert ever(upstream) == {IN_SERVICE[version].prefix}


def test_where_both_doors_stand_open_the_limit_ends_it(bent: Callable[..., WholeEdge]) -> None:
    """Who comes first goes out, up to the limit: the aggregate and as many as orders may be. A BIRD
    that cannot stop there says the same again and again, and is shut up."""
    edge = bent(SESSION, PIPE, LEAK)
    stops = capabilities(edge.version).can("export_block")
    rendered = edge.machine.host.path("/etc/bird/bird.conf").read_text()
    limit = int(re.findall(r"export limit (\d+)", rendered)[-1])
    assert 1 + MAX_BLACKHOLES <= limit < len(LEAKS[4])
    for version, upstream in edge.upstreams.items():
        if stops:
            upstream.call()
            upstream.heard()
        else:
            until(partial(is_shut, upstream), 10, "the end")
            assert upstream.events()[-2] == Notification(CEASE, SHUTDOWN)
        # One that shuts a session has sent the route that is too much before, now and then.
        assert len(ever(upstream)) in ((limit,) if stops else (limit, limit + 1))
        # BIRD 3 shuts a session in a thread of its own, and does not always show the limit as its
        # last error.
        said = "[HIT]" if stops else "BGP state:          Down"
        until(partial(says, edge, version, said), 10, said)


def is_shut(upstream: Upstream) -> bool:
    """Whether a session has come and has been ended with a word: it stands for a moment at most. A
    call that comes too soon is closed without one."""
    log = upstream.speaker.log
    ends = len(log.ends())
    with suppress(OSError):
        upstream.speaker.connect(UPSTREAMS[upstream.version], upstream.peer)
        log.wait(lambda log: len(log.ends()) > ends, 10, "the end")
    return bool(log.notifications())


def says(edge: WholeEdge, version: int, what: str) -> bool:
    """Whether that is in what BIRD shows of the provider's session."""
    return what in edge.machine.birdc(f"show protocols all vultr{version}")


def ever(upstream: Upstream) -> set[str]:
    """All that it was ever told of."""
    return {route.prefix for update in upstream.speaker.log.updates() for route in update.announced}


POLICIES = {
    "nothing about exports": ((SESSION[0], r"\1"), "export"),
    "nothing about imports": (
        (r"(^protocol bgp vultr[46] .*?)import filter \{.*?^\t\t\};", r"\1"),
        "import",
    ),
}


@pytest.mark.parametrize("version", BIRDS)
@pytest.mark.parametrize(("change", "word"), POLICIES.values(), ids=POLICIES)
def test_a_session_without_a_policy_is_no_configuration(
    tmp_path: Path, version: str, change: tuple[str, str], word: str
) -> None:
    """RFC 8212: BIRD starts with neither, and goes on with what it has when told to read it."""
    edge = WholeEdge(tmp_path, version)
    try:
        edge.edit(change)
        with pytest.raises(AssertionError, match=f"EBGP requires explicit {word} policy"):
            edge.machine.start_bird()
    finally:
        edge.close()


# --- who we are to each other --------------------------------------------------------------------


def roles(*pair: str) -> list[tuple[str, str]]:
    """The edits that make an edge that to its IPv4 upstream, and that to its IPv6 upstream."""
    return [
        (rf"(^protocol bgp vultr{version} .*?)local role \w+;", rf"\1local role {role};")
        for version, role in zip(FAMILIES, pair, strict=True)
    ]


def test_who_hears_our_own_hears_whose_it_is(bent: Callable[..., WholeEdge]) -> None:
    """RFC 9234, section 5: what goes to a peer goes on to its customers only."""
    edge = bent(*roles("peer", "rs_client"))
    for upstream in edge.upstreams.values():
        upstream.call()
    heard = edge.heard()
    marked = {**IN_SERVICE, 4: replace(IN_SERVICE[4], otc=ASN)}
    assert heard[4] == session(announced(marked), role=PEER)[4]
    assert heard[6] == session(announced(), role=ROUTE_SERVER_CLIENT)[6]


def test_what_is_for_customers_only_is_told_to_no_upstream(bent: Callable[..., WholeEdge]) -> None:
    """Row 76 of the routing reference: where all doors stand open, the mark still holds."""
    edge = bent(*roles("customer", "peer"), SESSION, PIPE)
    edge.call()
    for version, upstream in edge.upstreams.items():
        plain, marked = edge.served(version)  # the first one is served here as well
        edge.mates[version].announce(replace(marked, otc=64496))
        until(partial(edge.imports, marked.prefix, "otc: 64496"), 10, "it is at the door")
        upstream.call()
        upstream.heard()
        told = ever(upstream)
        assert plain.prefix in told
        assert marked.prefix not in told


@pytest.mark.parametrize("bent", [IMAGES], indirect=True)
def test_an_upstream_that_waits_for_a_call_is_called(bent: Callable[..., WholeEdge]) -> None:
    edge = bent()
    for upstream in edge.upstreams.values():
        upstream.listen()
    for upstream in edge.upstreams.values():
        upstream.wait_for(upstream.ready, "a session")
    assert edge.heard() == session(announced())


def test_an_upstream_that_takes_itself_for_another_is_told_so_and_comes_back(
    bent: Callable[..., WholeEdge],
) -> None:
    edge = bent()
    for upstream in edge.upstreams.values():
        wrong = replace(upstream, speaker=edge.speaker(role=CUSTOMER))
        until(partial(is_shut, wrong), 10, "the end")
        log = wrong.speaker.log
        assert log.notifications() == (Notification(OPEN_ERROR, ROLE_MISMATCH),)
        assert log.updates() == ()
        wrong.speaker.close()
    for upstream in edge.upstreams.values():
        upstream.speaker = edge.speaker(role=PROVIDER)
        upstream.call()
    assert edge.heard() == session(announced())


def test_who_has_another_password_hears_nothing_at_all(bent: Callable[..., WholeEdge]) -> None:
    edge = bent()
    for version, upstream in edge.upstreams.items():
        wrong = edge.speaker(password="another")
        with pytest.raises(TimeoutError):
            wrong.connect(UPSTREAMS[version], upstream.peer, seconds=0.3)
        assert wrong.log.entries() == ()
    for upstream in edge.upstreams.values():
        upstream.call()
    assert edge.heard() == session(announced())
