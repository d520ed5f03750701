"""The agent's lookout beside a real BIRD and a peer that lies."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest

from mesh.agent.config import Config
from mesh.agent.routing_monitor import ALARM, GAP, WAY, RoutingMonitor
from mesh.render import node_files, placeholder_facts
from mesh.trust.documents import Alarm
from mesh.trust.encoding import parse
from tests.kit.bgp.attributes import Route
from tests.kit.bgp.speaker import Speaker
from tests.kit.wait import until
from tests.routing.conftest import NODE, ROGUE, NodeAndRogue

pytestmark = pytest.mark.image
LAX, ORD, MIA, EWR = (4200000000 + number for number in (1, 2, 3, 4))
LINK = IPv6Address("fe80::3")
OWN = Route("10.10.10.3/32", (MIA,), LINK)
HONEST = (OWN, Route("10.10.10.2/32", (MIA, ORD), LINK), Route("fd00:10:10::3/128", (MIA,), LINK))


@pytest.fixture(scope="module")
def tunnel(bench: NodeAndRogue) -> Iterator[Speaker]:
    speaker = bench.speak("fe80::3", "fe80::1", MIA, "wg-lax-vultr-1")
    speaker.announce(*HONEST)
    until(lambda: "unicast" in bench.routes(HONEST[-1].prefix), 5, "its own are taken")
    yield speaker
    speaker.close()


def config(bench: NodeAndRogue) -> Config:
    files = node_files(bench.plan, placeholder_facts(bench.plan))[NODE].files
    (text,) = [file.content for file in files if file.path.endswith("agent.json")]
    return parse(Config, text.encode())


class Watched:
    """A lookout, and how often it had something to report."""

    def __init__(self, bench: NodeAndRogue) -> None:
        self.news = 0
        self.lookout = RoutingMonitor(bench.bird, self._count)
        self.lookout.watch(config(bench))

    def _count(self) -> None:
        self.news += 1

    def look(self, *times: float) -> tuple[Alarm, ...]:
        for now in times:
            self.lookout.look(now)
        return self.lookout.alarms


LIES = [
    ("prefix", Route("0.0.0.0/0", (MIA,), LINK)),
    ("owner", Route("192.30.120.9/32", (MIA,), LINK)),
    ("link", Route("192.30.120.17/32", (MIA, MIA, EWR), LINK)),
    ("link", Route("2620:71:4000::17/128", (MIA, 4200000009, EWR), LINK)),
]


@pytest.mark.parametrize(("kind", "lie"), LIES, ids=[f"{kind} {lie.prefix}" for kind, lie in LIES])
def test_a_mate_that_lies_for_a_while_is_an_alarm_until_it_has_stopped_for_a_while(
    bench: NodeAndRogue, tunnel: Speaker, kind: str, lie: Route
) -> None:
    watched = Watched(bench)
    tunnel.announce(lie)
    until(lambda: refused(bench, lie.prefix), 5, "it has been said")
    assert watched.look(0, ALARM - 1) == ()
    (alarm,) = watched.look(ALARM)
    assert (alarm.mate, alarm.kind) == (ROGUE, kind) and lie.prefix in alarm.what
    before = watched.news
    assert watched.look(ALARM + 5, ALARM + 10) == (alarm,)
    assert watched.news == before, "what stays is no news"
    tunnel.withdraw(lie.prefix)
    until(lambda: not refused(bench, lie.prefix), 5, "it has been taken back")
    assert watched.look(ALARM + 15) == (alarm,)
    assert watched.look(ALARM + 16 + GAP) == ()


def refused(bench: NodeAndRogue, prefix: str) -> bool:
    table = "master6" if ":" in prefix else "master4"
    return prefix in bench.birdc(f"show route filtered table {table}")


def test_what_no_generation_refuses_any_more_is_forgotten_and_what_it_does_is_not(
    bench: NodeAndRogue, tunnel: Speaker
) -> None:
    """A member that has become a reflector tells of others, which is a lie by the plan before."""
    watched = Watched(bench)
    tunnel.announce(Route("192.30.120.9/32", (MIA,), LINK))
    until(lambda: refused(bench, "192.30.120.9/32"), 5, "it has been said")
    (alarm,) = watched.look(0, ALARM)
    watched.lookout.watch(config(bench))
    assert watched.look(ALARM + 5, ALARM + 10) == (alarm,), "it is refused still"
    tunnel.withdraw("192.30.120.9/32")
    until(lambda: not refused(bench, "192.30.120.9/32"), 5, "it is refused no more")
    watched.lookout.watch(config(bench))
    assert watched.look(ALARM + 15) == ()


def test_a_lie_over_ibgp_is_one_too(bench: NodeAndRogue, tunnel: Speaker) -> None:
    watched = Watched(bench)
    speaker = bench.speak("10.10.10.3", "10.10.10.1", 27218, None)
    speaker.announce(Route("192.30.120.101/32", (), IPv4Address("10.10.10.2")))
    until(lambda: refused(bench, "192.30.120.101/32"), 5, "it has been said")
    (alarm,) = watched.look(0, ALARM)
    assert alarm == Alarm(ROGUE, "service", "192.30.120.101/32, served at 10.10.10.2")
    speaker.close()
    until(lambda: not refused(bench, "192.30.120.101/32"), 10, "it is gone")


def test_an_order_of_a_client_is_one_whatever_is_ordered(
    bench: NodeAndRogue, tunnel: Speaker
) -> None:
    watched = Watched(bench)
    speaker = bench.speak("10.10.10.3", "10.10.10.1", 27218, None)
    tagged = Route("192.30.120.9/32", (), IPv4Address("10.10.10.3"), communities=((65535, 666),))
    speaker.announce(tagged)
    until(lambda: refused(bench, tagged.prefix), 5, "it has been said")
    (alarm,) = watched.look(0, ALARM)
    assert alarm == Alarm(ROGUE, "order", tagged.prefix)
    assert watched.lookout.hearsay == (), "and it is not discarded"
    speaker.close()
    until(lambda: not refused(bench, tagged.prefix), 10, "it is gone")


def test_an_honest_way_around_is_told_and_is_no_alarm(bench: NodeAndRogue, tunnel: Speaker) -> None:
    """The tunnel to Chicago is cut: no session with it stands here."""
    watched = Watched(bench)
    assert watched.look(0, WAY - 1) == ()
    assert not watched.lookout.ways
    assert watched.look(WAY, 2 * ALARM) == ()
    assert watched.lookout.ways == ((ROGUE, "ord-vultr-1"),)


def test_an_honest_path_that_is_too_long_is_no_alarm(bench: NodeAndRogue, tunnel: Speaker) -> None:
    watched = Watched(bench)
    long = Route("192.30.120.9/32", (MIA, EWR, MIA, ORD), LINK)
    tunnel.announce(long)
    until(lambda: refused(bench, long.prefix), 5, "it has been said")
    assert watched.look(0, 2 * ALARM) == ()
    tunnel.withdraw(long.prefix)


def test_a_new_plan_starts_the_clock_again(bench: NodeAndRogue, tunnel: Speaker) -> None:
    """Nodes take it up one after the other, and for a while their words do not fit."""
    watched = Watched(bench)
    tunnel.announce(LIES[0][1])
    until(lambda: refused(bench, "0.0.0.0/0"), 5, "it has been said")
    assert len(watched.look(0, ALARM)) == 1
    old = config(bench)
    assert old.underlay is not None
    fewer = type(old.underlay)(old.underlay.nodes, old.underlay.links[1:])
    fields = {name: getattr(old, name) for name in type(old).__slots__}
    watched.lookout.watch(type(old)(**(fields | {"underlay": fewer})))
    assert watched.look(ALARM + 1) == ()
    assert watched.look(2 * ALARM + 1) != ()
    tunnel.withdraw("0.0.0.0/0")


def test_a_generation_from_before_there_was_a_lookout_is_not_judged(bench: NodeAndRogue) -> None:
    watched = Watched(bench)
    old = config(bench)
    fields = {name: getattr(old, name) for name in type(old).__slots__}
    watched.lookout.watch(type(old)(**(fields | {"underlay": None})))
    assert watched.look(0, ALARM) == () and watched.lookout.ways == ()


def test_a_mate_that_says_more_than_it_is_listened_to_is_one_too(
    bench: NodeAndRogue, tunnel: Speaker
) -> None:
    """Until it has a new session: what it says is passed over till then."""
    watched = Watched(bench)
    junk = [f"8.8.{n >> 8}.{n & 255}/32" for n in range(1000)]
    tunnel.announce_all(Route("8.8.0.0/32", (MIA,), LINK), junk)
    until(lambda: "[HIT]" in bench.birdc("show protocols all u_mia_vultr_1"), 10, "it is too much")
    tunnel.withdraw(*junk)
    until(lambda: not refused(bench, "8.8."), 10, "and has been taken back")
    assert watched.look(0) == ()
    (alarm,) = watched.look(ALARM)
    assert alarm == Alarm(ROGUE, "flood", "over 112 routes in u_mia_vultr_1")
    tunnel.close()
    tunnel.establish("fe80::3", "fe80::1", "wg-lax-vultr-1")
    until(lambda: "[HIT]" not in bench.birdc("show protocols all u_mia_vultr_1"), 15, "it is new")
    assert watched.look(ALARM + 1 + GAP) == ()
