"""Orders to discard an address, live: who may tell a node of one, what the node makes of it, and
what its upstream hears. Rows 82 to 85 of the routing reference.

The node is an edge in Miami; its reflector, and its client where it is the reflector itself, is a
speaker that obeys no policy. What is signed is written by the agent's own part.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest

from mesh.agent import file_paths
from mesh.agent.blackholes import Blackholes
from mesh.agent.config import Config
from mesh.agent.host import Host
from mesh.agent.iproute import IpRoute
from mesh.agent.routing_audit import parsed
from mesh.agent.routing_monitor import ALARM, GAP, WAY, RoutingMonitor
from mesh.bird.client import Bird
from mesh.limits import MAX_BLACKHOLES
from mesh.plan import Family, Node, Plan
from mesh.trust.documents import Alarm, Blackhole, BlackholeOrder, Hearsay
from mesh.trust.encoding import parse
from tests.kit.bgp.attributes import OPTIONAL, Raw, Route
from tests.kit.bgp.speaker import Speaker
from tests.kit.machine import BIRDS
from tests.kit.stacks import EXISTING, plan_of, two_services, with_members
from tests.kit.wait import patience, until
from tests.routing.listener import Edge, edge
from tests.routing.test_limits import asked

pytestmark = pytest.mark.image
REFLECTOR, SECOND, EDGE = "lax-vultr-1", "ewr-vultr-1", "mia-vultr-1"
ASN, BLACKHOLE, VULTRS = 27218, (65535, 666), (20473, 666)
ONE, TWO, SIX = "192.30.120.200/32", "192.30.121.7/32", "2620:71:4000::bad/128"
SERVICE, ELSEWHERE = "192.30.120.100/32", "192.30.120.1/32"
AGGREGATES = {"ipv4": "192.30.120.0/23", "ipv6": "2620:71:4000::/48"}


@dataclass
class Trial:
    """A node, its upstreams, its peer on iBGP by family, and the part of its agent that obeys."""

    edge: Edge
    mates: dict[Family, Speaker]
    agent: Blackholes
    host: Host
    mate: Node
    number: int = field(default=0)
    answered: int = 0
    """How many requests for all routes the peer has answered."""

    def order(self, *prefixes: str, forced: bool = False, seconds: int = 600) -> None:
        """The operator's order, verified and obeyed."""
        self.number += 1
        until_ = int(time.time()) + seconds
        entries = tuple(
            Blackhole(ip_address(prefix.split("/")[0]), until_, "", forced) for prefix in prefixes
        )
        self.agent.obey(BlackholeOrder("as27218-prod", self.number, entries))
        self.agent.look()

    def say(self, prefix: str, **changed: Any) -> None:
        """The peer's word, as a reflector's that relays an order unless changed."""
        values: dict[str, Any] = {
            "path": (),
            "next_hop": self.mate.tunnel.ipv6 if ":" in prefix else self.mate.tunnel.ipv4,
            "local_pref": 100,
            "communities": (BLACKHOLE,),
        }
        self.mates["ipv6" if ":" in prefix else "ipv4"].announce(Route(prefix, **values | changed))

    def answer_refresh(self, prefix: str) -> None:
        """What a peer does that has been asked again for what it says (RFC 2918)."""
        times = asked(self.mates["ipv6" if ":" in prefix else "ipv4"])
        if times > self.answered:
            self.answered = times
            self.say(prefix)

    def unsay(self, *prefixes: str) -> None:
        for prefix in prefixes:
            self.mates["ipv6" if ":" in prefix else "ipv4"].withdraw(prefix)

    def order_held(self, prefix: str, session: str = "mate") -> bool:
        """Whether BIRD has that order from there."""
        return any(
            f"[{session}" in line for line in self.edge.birdc(f"show route {prefix}").splitlines()
        )

    def refused(self, prefix: str) -> bool:
        """Whether BIRD has refused what the peer said of that prefix."""
        return "[mate" in self.edge.birdc(f"show route filtered {prefix}")

    def discarded(self) -> set[str]:
        """What the firewall drops."""
        shown = json.loads(self.host.must("nft", "-j", "list", "table", "inet", "mesh_discard"))
        sets = [entry["set"] for entry in shown["nftables"] if "set" in entry]
        return {element["elem"]["val"] for one in sets for element in one.get("elem", [])}

    def kernel(self) -> set[str]:
        """Destinations in the kernel's main table, of both families."""
        found: set[str] = set()
        for family in ("-4", "-6"):
            text = self.host.must("ip", "-j", family, "route", "show", "table", "main")
            found |= {str(route["dst"]) for route in json.loads(text or "[]")}
        return found

    def hears(self, family: Family, prefix: str) -> Route | None:
        """What the upstream holds of a prefix."""
        return self.edge.upstreams[family].log.routes().get(prefix)


@contextmanager
def trial(
    plan: Plan, node_id: str, mate_id: str, folder: Path, bird: str, name: str = "black"
) -> Iterator[Trial]:
    name = f"{name}-{os.getpid()}-{node_id[:3]}"
    mate = plan.node(mate_id)
    with edge(plan, node_id, folder, name, bird) as made:
        mates: dict[Family, Speaker] = {}
        for session in made.node.reflectors:
            if session.peer == mate_id:
                mates[session.family] = _mate(made, mate, session.family, f"{name}-n", f"{name}-u")
        enter = ("nsenter", f"--target={made.pid}", "--mount", "--net", "--root", "--wd")
        host = Host(Path(f"/proc/{made.pid}/root"), enter)
        host.must("nft", "-f", "-", given=_discarding(host))
        agent = Blackholes(
            host, Bird(host.path(file_paths.BIRD_SOCKET)), IpRoute(host), lambda: None
        )
        content = host.read(file_paths.CONFIG)
        assert content is not None
        agent.watch(parse(Config, content))
        try:
            yield Trial(made, mates, agent, host, mate)
        finally:
            for speaker in mates.values():
                speaker.close()


def _discarding(host: Host) -> str:
    """The ruleset's own table for this: all of it would drop a peer who stands on the uplink."""
    rules = (host.read("/etc/nftables.conf") or b"").decode()
    begin = rules.index("table inet mesh_discard {")
    return rules[begin : rules.index("table inet mesh {")]


def _mate(made: Edge, mate: Node, family: Family, here: str, there: str) -> Speaker:
    """The peer stands where the upstream does, in place of the tunnel; the session is up."""
    own, other = (
        (made.node.tunnel.ipv4, mate.tunnel.ipv4)
        if family == "ipv4"
        else (made.node.tunnel.ipv6, mate.tunnel.ipv6)
    )
    for space, device, mine, theirs in (
        (here, made.facts.uplink, own, other),
        (there, "node", other, own),
    ):
        # The second peer finds the node's own address, and the way to it.
        quiet = ("nodad",) if family == "ipv6" else ()
        _ip(space, "address", "replace", str(mine), "dev", device, *quiet)
        _ip(space, "route", "replace", str(theirs), "dev", device)
    speaker = Speaker(ASN, mate.router_id, namespace=there)
    speaker.listen(str(other), str(own))
    assert speaker.established.wait(patience(30)), f"no {family} session: {speaker.log}"
    return speaker


def _ip(space: str, *words: str) -> None:
    done = subprocess.run(["ip", "-n", space, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@pytest.fixture(scope="module", params=BIRDS)
def miami(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trial]:
    """An edge with each BIRD that a node may report, and its reflector."""
    with trial(
        plan_of(two_services()), EDGE, REFLECTOR, tmp_path_factory.mktemp("edge"), request.param
    ) as made:
        yield made


@pytest.fixture
def clean(miami: Trial) -> Iterator[Trial]:
    """The same, with nothing ordered before and after."""
    yield miami
    said = (ONE, TWO, SIX, SERVICE)
    miami.unsay(*said)
    miami.edge.tell(in_service=True)
    miami.order()
    # Each family has a session of its own.
    until(lambda: not any(map(miami.order_held, said)), 5, "nothing is ordered")
    until(lambda: not any(map(miami.refused, said)), 5, "nothing is refused")


# --- what a reflector says -----------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [ONE, SIX])
def test_what_a_reflector_relays_is_discarded_and_ends_with_it(clean: Trial, prefix: str) -> None:
    """At an edge that reaches no registry: it has no order of its own."""
    address = prefix.split("/")[0]
    clean.say(prefix)
    until(lambda: clean.order_held(prefix), 5, "the order is taken")
    clean.agent.look()
    assert clean.discarded() == {address}
    assert not {prefix, address} & clean.kernel()
    clean.unsay(prefix)
    until(lambda: not clean.order_held(prefix), 5, "it is gone")
    clean.agent.look()
    assert clean.discarded() == set()


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("not owned", "198.51.100.7/32", {}),
    ("not owned, IPv6", "2001:4860::1/128", {}),
    ("a tunnel address", "10.10.10.2/32", {}),
    ("a prefix of ours", "192.30.120.0/24", {}),
    ("the aggregate", "192.30.120.0/23", {}),
    ("a default route", "0.0.0.0/0", {}),
    ("with a path", ONE, {"path": (64500,)}),
    ("a service that is not forced here", SERVICE, {}),
    ("a service that is not forced here, IPv6", "2620:71:4000::100/128", {}),
    ("no order at all", ONE, {"communities": ((65535, 0),)}),
]


@pytest.mark.parametrize(
    ("prefix", "changed"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_may_not_be_ordered_is_refused(
    clean: Trial, prefix: str, changed: dict[str, Any]
) -> None:
    clean.say(prefix, **changed)
    until(lambda: clean.refused(prefix), 5, "it is refused")
    assert not clean.order_held(prefix)
    clean.agent.look()
    assert clean.discarded() == set()
    clean.unsay(prefix)


def test_a_services_address_is_taken_once_the_operator_insists_here_too(clean: Trial) -> None:
    clean.say(SERVICE)
    until(lambda: clean.refused(SERVICE), 5, "it is refused")
    clean.order(SERVICE)
    assert not clean.order_held(SERVICE, "orders"), "signed, and not forced"
    clean.order(SERVICE, forced=True)
    until(lambda: clean.order_held(SERVICE, "orders"), 5, "signed, and forced")

    def is_held() -> bool:
        """The peer is asked once for each order, and late on a busy machine."""
        clean.answer_refresh(SERVICE)
        return clean.order_held(SERVICE)

    until(is_held, 5, "what was refused is judged again")
    assert clean.discarded() == {SERVICE.split("/")[0]}
    clean.order()
    until(lambda: not is_held(), 5, "and again")


def test_an_order_never_wins_against_a_route(clean: Trial) -> None:
    """The address of the node itself: its peers go on reaching it, as far as routing goes."""
    own = str(clean.edge.node.announced.ipv4)
    clean.host.must("ip", "address", "add", f"{own}/32", "dev", "dummy0")
    until(lambda: "[bound" in clean.edge.birdc(f"show route {own}/32"), 8, "it is bound")
    clean.order(f"{own}/32")
    clean.say(f"{own}/32")
    until(lambda: clean.order_held(f"{own}/32"), 5, "the order is taken")
    assert "[bound" in clean.edge.birdc(f"show route {own}/32 primary")
    assert clean.discarded() == {own}
    heard = clean.hears
    until(lambda: heard("ipv4", f"{own}/32"), 5, "its upstream hears it all the same")
    clean.unsay(f"{own}/32")
    until(lambda: not clean.order_held(f"{own}/32"), 5, "it is gone")
    clean.host.must("ip", "address", "del", f"{own}/32", "dev", "dummy0")


@dataclass
class Listening:
    """A lookout on the edge: the order that its agent holds, and when it has asked a registry."""

    trial: Trial
    signed: BlackholeOrder | None = None
    asked: float = -1.0

    def __post_init__(self) -> None:
        bird = Bird(self.trial.host.path(file_paths.BIRD_SOCKET))
        self.lookout = RoutingMonitor(bird, lambda: None, lambda: self.signed, lambda: self.asked)
        content = self.trial.host.read(file_paths.CONFIG)
        assert content is not None
        self.lookout.watch(parse(Config, content))

    def look(self, *times: float) -> tuple[Alarm, ...]:
        for now in times:
            self.lookout.look(now)
        return self.lookout.alarms

    def sign(self, *prefixes: str, seconds: int = 600) -> None:
        end = int(time.time()) + seconds
        entries = (Blackhole(ip_address(p.split("/")[0]), end, "") for p in prefixes)
        self.signed = BlackholeOrder("as27218-prod", 7, tuple(entries))


# ORIGINATOR_ID and CLUSTER_LIST (RFC 4456).
REFLECTED = (Raw(9, bytes((10, 10, 10, 4)), OPTIONAL), Raw(10, bytes((10, 10, 10, 9)), OPTIONAL))


@pytest.mark.parametrize("prefix", [ONE, SIX])
@pytest.mark.parametrize("reflected", [False, True])
def test_an_order_that_nobody_signed_is_told_of_and_held_against_who_tells_it(
    clean: Trial, prefix: str, reflected: bool
) -> None:
    """By a node that has asked a registry since: another one cannot know."""
    edge = Listening(clean)
    clean.say(prefix, raw=REFLECTED if reflected else ())
    until(lambda: clean.order_held(prefix), 5, "the order is taken")
    (held,) = parsed(Bird(clean.host.path(file_paths.BIRD_SOCKET)).ask(f"show route {prefix} all"))
    assert held.reflected is reflected
    assert edge.look(0, WAY) == ()
    said: tuple[Hearsay, ...] = (Hearsay(ip_address(prefix.split("/")[0]), REFLECTOR),)
    assert edge.lookout.hearsay == said
    assert edge.look(ALARM, 2 * ALARM) == (), "no registry has been reached"
    edge.asked, edge.signed = 1.0, BlackholeOrder("as27218-prod", 6, ())
    assert edge.look(2 * ALARM + 1) == (Alarm(REFLECTOR, "order", prefix),)
    edge.sign(TWO)
    assert len(edge.look(2 * ALARM + 2)) == 1 and edge.lookout.hearsay == said
    edge.sign(prefix)
    assert edge.look(2 * ALARM + 3, 3 * ALARM + 4 + GAP) == ()
    assert edge.lookout.hearsay == ()


def test_an_order_that_has_just_ended_here_is_held_against_nobody(clean: Trial) -> None:
    """A clock is not like another."""
    edge = Listening(clean, asked=1.0)
    clean.say(ONE)
    until(lambda: clean.order_held(ONE), 5, "the order is taken")
    edge.sign(ONE, seconds=-60)
    assert edge.look(0, ALARM) == ()
    assert edge.lookout.hearsay == (Hearsay(ip_address(ONE[:-3]), REFLECTOR),)
    edge.sign(ONE, seconds=-1000)
    edge.asked = 2 * ALARM
    assert edge.look(2 * ALARM, 3 * ALARM) == (Alarm(REFLECTOR, "order", ONE),)


def test_who_tells_of_another_order_each_time_invents_them_too(clean: Trial) -> None:
    edge = Listening(clean, asked=1.0)
    flood = many(1, 9)
    for now, prefix in enumerate(flood):
        clean.say(prefix)
        until(lambda p=prefix: clean.order_held(p), 5, "it is taken")  # type: ignore[misc]
        found = edge.look(now * 5.0)
        assert (found != ()) == (now * 5.0 >= ALARM)
        clean.unsay(prefix)
        until(lambda p=prefix: not clean.order_held(p), 5, "it is gone")  # type: ignore[misc]
    assert edge.lookout.hearsay == ()


# --- what an upstream hears ----------------------------------------------------------------------


@pytest.mark.parametrize(("family", "prefix"), [("ipv4", ONE), ("ipv6", SIX)])
@pytest.mark.parametrize("source", ["its own agent", "a reflector"])
def test_an_upstream_is_asked_to_discard_with_its_own_community_and_no_other(
    clean: Trial, family: Family, prefix: str, source: str
) -> None:
    if source == "a reflector":
        clean.say(prefix, med=50, large=((ASN, 1, 1),), communities=(BLACKHOLE, (174, 3001)))
    else:
        clean.order(prefix)
    until(lambda: clean.hears(family, prefix), 5, "the upstream hears it")
    facts = clean.edge.facts
    route = clean.hears(family, prefix)
    assert route == Route(
        prefix,
        (ASN,),
        facts.ipv4 if family == "ipv4" else facts.ipv6,
        communities=(VULTRS,),
    )
    assert clean.hears(family, AGGREGATES[family]) is not None
    clean.unsay(prefix)
    clean.order()
    until(lambda: clean.hears(family, prefix) is None, 5, "it is let through")
    assert clean.hears(family, AGGREGATES[family]) is not None


def test_a_node_out_of_service_asks_for_nothing(clean: Trial) -> None:
    clean.order(ONE)
    until(lambda: clean.hears("ipv4", ONE), 5, "the upstream hears it")
    clean.edge.tell(in_service=False, draining=True)
    until(lambda: not clean.edge.upstreams["ipv4"].log.routes(), 5, "all is withdrawn")
    begin = time.monotonic()
    clean.order(ONE, TWO)
    clean.edge.tell(in_service=True)
    until(lambda: all(clean.hears("ipv4", one) for one in (ONE, TWO)), 5, "the upstream hears both")
    first = clean.edge.upstreams["ipv4"].log.updates(begin)[0]
    assert not first.withdrawn


def many(first: int, count: int) -> list[str]:
    """So many addresses that nobody holds."""
    return [f"192.30.121.{first + number}/32" for number in range(count)]


def upstream_holds(trial: Trial, prefixes: list[str]) -> bool:
    """Whether the upstream has the aggregate and exactly these orders."""
    return set(trial.edge.upstreams["ipv4"].log.routes()) == {AGGREGATES["ipv4"], *prefixes}


@pytest.mark.parametrize("kept", [0, 19])
def test_as_many_orders_as_may_be_are_swapped_and_the_aggregate_stays(
    clean: Trial, kept: int
) -> None:
    """What comes is announced before what goes is withdrawn."""
    before = many(1, MAX_BLACKHOLES)
    after = before[:kept] + many(101, MAX_BLACKHOLES - kept)
    clean.order(*before)
    until(lambda: upstream_holds(clean, before), 5, "the upstream hears all of them")
    begin = time.monotonic()
    clean.order(*after)
    until(lambda: upstream_holds(clean, after), 5, "and all others, once they are ordered")
    updates = clean.edge.upstreams["ipv4"].log.updates(begin)
    assert AGGREGATES["ipv4"] not in {prefix for each in updates for prefix in each.withdrawn}


@pytest.mark.parametrize("bird", BIRDS)
def test_with_two_reflectors_the_upstream_hears_as_many_orders(tmp_path: Path, bird: str) -> None:
    """Each order comes from the node's own agent and from both reflectors: a pipe copies them all.
    What one reflector only passes on from the other is discarded, and goes no further."""
    plan = plan_of(two_services() | {"reflectors": [REFLECTOR, SECOND]})
    before, after = many(1, MAX_BLACKHOLES), many(101, MAX_BLACKHOLES)
    name, second = f"two-{os.getpid()}-{EDGE[:3]}", plan.node(SECOND)
    with trial(plan, EDGE, REFLECTOR, tmp_path, bird, "two") as one:
        speaker = _mate(one.edge, second, "ipv4", f"{name}-n", f"{name}-u")
        other = replace(one, mates={"ipv4": speaker}, mate=second)
        try:
            for orders in (before, after):
                for number, prefix in enumerate(orders, 1):
                    one.say(prefix)
                    other.say(prefix)
                    one.order(*orders[:number])
                until(partial(upstream_holds, one, orders), 10, "the upstream hears all")
                one.unsay(*orders)
                other.unsay(*orders)
            one.order()
            one.say(ONE, next_hop=second.tunnel.ipv4, raw=REFLECTED)
            until(lambda: one.order_held(ONE), 5, "it is taken")
            one.agent.look()
            assert one.discarded() == {ONE.split("/")[0]}
            until(lambda: upstream_holds(one, []), 5, "the aggregate alone")
        finally:
            speaker.close()


def test_a_reflector_that_orders_without_end_takes_no_aggregate_off_the_internet(
    clean: Trial,
) -> None:
    flood = many(1, 5 * MAX_BLACKHOLES)
    clean.edge.tell(in_service=False)
    until(lambda: not clean.edge.upstreams["ipv4"].log.routes(), 5, "nothing is announced")
    for prefix in flood:
        clean.say(prefix)
    until(lambda: clean.order_held(flood[-1]), 5, "all is taken")
    clean.edge.tell(in_service=True)
    heard = clean.hears
    until(lambda: heard("ipv4", AGGREGATES["ipv4"]), 5, "the aggregate is announced")
    orders = set(clean.edge.upstreams["ipv4"].log.routes()) - {AGGREGATES["ipv4"]}
    assert len(orders) <= 4 * MAX_BLACKHOLES, "the limit of the pipe, with one reflector"
    clean.agent.look()
    assert len(clean.discarded()) == MAX_BLACKHOLES
    clean.unsay(*flood)
    until(lambda: upstream_holds(clean, []), 5, "the aggregate, and nothing else")


def test_an_order_ends_by_itself(clean: Trial) -> None:
    clean.order(ONE)
    assert clean.discarded() == {ONE.split("/")[0]}
    until(lambda: clean.hears("ipv4", ONE), 5, "the upstream hears it")
    clean.order(ONE, seconds=3)
    until(lambda: clean.discarded() == set(), 8, "it is over, by the kernel's clock")

    def ended() -> bool:
        clean.agent.look()
        return clean.hears("ipv4", ONE) is None

    until(ended, 5, "for the upstream too, by the agent's")


def test_nothing_but_reflectors_tells_of_orders(clean: Trial) -> None:
    """What this edge has verified itself, its reflector has too."""
    clean.order(ONE)
    until(lambda: clean.hears("ipv4", ONE), 5, "it is in force")
    assert ONE not in clean.mates["ipv4"].log.routes()


BUYVM = "ewr-buyvm-1"


def with_host(blackhole: str | None) -> Plan:
    """The fleet, where the host's provider has that community for it, or none."""
    values = with_members()
    upstream = EXISTING["upstream"] | ({} if blackhole is None else {"blackhole": blackhole})
    values["nodes"][BUYVM]["host"] = EXISTING | {"upstream": upstream}
    return plan_of(values)


def test_a_provider_that_does_not_discard_is_told_of_nothing(tmp_path: Path) -> None:
    """What is attacked must not be announced by itself; and who discards is asked as it says."""
    with trial(with_host(None), BUYVM, REFLECTOR, tmp_path, BIRDS[1]) as host:
        host.order(ONE, SIX)
        speakers = host.edge.upstreams
        for blackhole, expected in (
            ("53667:666", {"communities": ((53667, 666),)}),
            ("65535:666", {"communities": (BLACKHOLE,)}),
            ("53667:666:0", {"large": ((53667, 666, 0),)}),
        ):
            host.edge.take(with_host(blackhole))
            wanted = Route(ONE, (ASN,), host.edge.facts.ipv4, **expected)
            until(lambda w=wanted: host.hears("ipv4", ONE) == w, 5, f"{wanted}")  # type: ignore[misc]
            until(lambda: host.hears("ipv6", SIX), 5, "it hears of the other, too")
            host.edge.take(with_host(None))
            for family in speakers:
                until(
                    lambda f=family: set(speakers[f].log.routes()) == {AGGREGATES[f]},  # type: ignore[misc]
                    5,
                    "the aggregate alone",
                )


# --- a reflector ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reflector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """Los Angeles, and its client in Miami."""
    with trial(
        plan_of(two_services()), REFLECTOR, EDGE, tmp_path_factory.mktemp("lax"), BIRDS[1]
    ) as made:
        yield made


def test_a_reflector_tells_its_clients_of_what_it_has_verified(reflector: Trial) -> None:
    reflector.order(ONE, SIX)
    for speaker, prefix, hop in (
        (reflector.mates["ipv4"], ONE, IPv4Address("10.10.10.1")),
        (reflector.mates["ipv6"], SIX, IPv6Address("fd00:10:10::1")),
    ):
        until(lambda: prefix in speaker.log.routes(), 5, "the client hears it")  # noqa: B023
        route = speaker.log.routes()[prefix]
        assert (route.communities, route.path, route.next_hop) == ((BLACKHOLE,), (), hop)
    reflector.order()
    log = reflector.mates["ipv4"].log
    log.wait(lambda log: ONE not in log.routes(), 5, "and that it is over")


def test_a_reflector_takes_no_order_from_a_client(reflector: Trial) -> None:
    reflector.say(TWO)
    until(lambda: reflector.refused(TWO), 5, "it is refused")
    reflector.agent.look()
    assert reflector.discarded() == set()
    reflector.unsay(TWO)
