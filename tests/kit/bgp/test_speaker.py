"""The speaker with a real BIRD: signed sessions of both families, either side calling the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import pytest

from mesh.bird.client import Bird
from mesh.lab import namespaces
from mesh.render import File
from tests.kit.bgp import messages
from tests.kit.bgp.attributes import NextHop, Raw, Route
from tests.kit.bgp.log import Log
from tests.kit.bgp.messages import capabilities
from tests.kit.bgp.speaker import Speaker
from tests.kit.bird import running
from tests.kit.machine import Debian, bird_of
from tests.kit.namespaces import spaces
from tests.kit.wait import until

pytestmark = pytest.mark.image
BIRD, OURS = 4200000100, 64500
PASSWORD = "s3cret-of-25-characters.."
HERE = {4: "192.0.2.2", 6: "2001:db8::2"}
THERE = {4: "192.0.2.1", 6: "2001:db8::1"}
# Where the one listens that BIRD calls: a neighbor of its own, so that no call is mistaken.
CALLED = {4: "192.0.2.3", 6: "2001:db8::3"}
HOP: dict[int, NextHop] = {4: IPv4Address(HERE[4]), 6: IPv6Address(HERE[6])}
OTHER = {4: "198.51.100.0/24", 6: "2001:db8:100::/48"}

CONFIG = """
log stderr all;
router id 192.0.2.1;
debug protocols { states };
protocol device {}
protocol static static4 {
	ipv4;
	route 203.0.113.0/24 blackhole { bgp_community.add((64500, 1)); };
}
protocol static static6 {
	ipv6;
	route 2001:db8:cafe::/48 blackhole { bgp_large_community.add((4200000100, 2, 3)); };
}
filter ours {
	if source != RTS_STATIC then reject;
	bgp_med = 7;	# BIRD sends no MED to another AS but one that is set here
	accept;
}
template bgp session {
	local as 4200000100;
	password "PASSWORD";
	connect delay time 1; connect retry time 1; error wait time 1, 1;
	ipv4 { import all; export filter ours; };
	ipv6 { import all; export filter ours; };
}
protocol bgp waiting4 from session { neighbor 192.0.2.2 as 64500; passive; local role customer; }
protocol bgp waiting6 from session { neighbor 2001:db8::2 as 64500; passive; }
protocol bgp calling4 from session { neighbor 192.0.2.3 port 1179 as 64501; }
protocol bgp calling6 from session { neighbor 2001:db8::3 port 1179 as 64501; }
"""


@dataclass(frozen=True)
class BirdAndNeighbor:
    """A BIRD, and the namespace of its neighbor."""

    pid: int
    namespace: str

    @property
    def bird(self) -> Bird:
        """Its BIRD."""
        return bird_of(self.pid)

    def birdc(self, command: str) -> str:
        """BIRD's answer."""
        return self.bird.ask(command, 30).text

    def speaker(self, asn: int = OURS, **options: object) -> Speaker:
        """A neighbor."""
        given: dict[str, object] = {"password": PASSWORD, **options}
        return Speaker(asn, IPv4Address(HERE[4]), namespace=self.namespace, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BirdAndNeighbor]:
    """Two namespaces and a wire, BIRD in one."""
    machine = Debian(tmp_path_factory.mktemp("bird"))
    machine.put([File("/etc/bird/plain.conf", CONFIG.replace("PASSWORD", PASSWORD))])
    with spaces("speaker", "bird", "ours") as (bird, ours):
        namespaces.ip([f"link add wire type veth peer name wire netns {ours}"], bird)
        for space, neighbors in ((bird, (THERE,)), (ours, (HERE, CALLED))):
            addresses = [f"address add {each[4]}/24 dev wire" for each in neighbors]
            addresses += [f"address add {each[6]}/64 dev wire nodad" for each in neighbors]
            namespaces.ip(["link set lo up", "link set wire up", *addresses], space)
        with running(machine, bird, "-c", "/etc/bird/plain.conf") as pid:
            yield BirdAndNeighbor(pid, ours)


FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
STATICS = {"203.0.113.0/24", "2001:db8:cafe::/48"}


@pytest.fixture
def calling(pair: BirdAndNeighbor, request: pytest.FixtureRequest) -> Iterator[Speaker]:
    """A session that the speaker has opened, over the family that the test is about."""
    family = request.getfixturevalue("family")
    speaker = pair.speaker()
    speaker.establish(HERE[family], THERE[family])
    yield speaker
    speaker.close()


def all_told(log: Log) -> bool:
    """Both families are said to their end."""
    return {update.end_of for update in log.updates()} >= {4, 6}


@FAMILIES
def test_what_bird_says_is_logged_with_its_attributes(calling: Speaker, family: int) -> None:
    calling.log.wait(all_told, 5, "End-of-RIB of both families")
    (opened,) = calling.log.opens()
    assert (opened.asn, opened.families) == (BIRD, frozenset({4, 6}))
    assert opened.role == (messages.CUSTOMER if family == 4 else None)
    held = calling.log.routes()
    assert held.keys() == STATICS
    four, six = held["203.0.113.0/24"], held["2001:db8:cafe::/48"]
    assert four.path == six.path == (BIRD,)
    assert (four.med, four.communities) == (7, ((64500, 1),))
    assert six.large == ((4200000100, 2, 3),)
    assert four.next_hop == (IPv4Address(THERE[4]) if family == 4 else four.next_hop)


@FAMILIES
def test_what_the_speaker_says_bird_understands(
    pair: BirdAndNeighbor, calling: Speaker, family: int
) -> None:
    route = Route(
        OTHER[family],
        (OURS, 4200000001, frozenset({64510, 64511})),
        HOP[family],
        med=42,
        communities=((64500, 7), (65535, 0)),
        large=((4200000000, 1, 2),),
        extended=(bytes.fromhex("0002fbf400000009"),),
        atomic=True,
        aggregator=(4200000002, IPv4Address("198.51.100.9")),
        raw=(Raw(99, b"\xab\xcd"),),
    )
    calling.announce(route)
    calling.end_of_rib()
    text = holds(calling, pair, route.prefix, "unicast")
    for value in (
        "path: 64500 4200000001 {64510 64511}",
        "med: 42",
        "community: (64500,7) (65535,0)",
        "large_community: (4200000000, 1, 2)",
        "ext_community: (rt, 64500, 9)",
        "aggregator: 198.51.100.9 AS4200000002",
        "atomic_aggr:",
        f"next_hop: {HERE[family]}",
    ):
        assert value in text
    assert "ab cd" in text, "an attribute that BIRD does not know"
    calling.withdraw(route.prefix)
    holds(calling, pair, route.prefix, "Network not found")


def holds(speaker: Speaker, pair: BirdAndNeighbor, prefix: str, expected: str) -> str:
    """BIRD's word on a prefix, once it is as expected.

    What was sent before has been read when a refresh, asked after it, is answered.
    """
    seen = len(speaker.log.updates())
    speaker.refresh()
    speaker.log.wait(lambda log: len(log.updates()) >= seen + 2, 5, "the refresh is answered")
    text = pair.birdc(f"show route {prefix} all")
    assert expected in text
    return text


@FAMILIES
def test_thousands_of_routes_go_in_and_out(
    pair: BirdAndNeighbor, calling: Speaker, family: int
) -> None:
    names = [
        f"10.{n >> 8}.{n & 255}.0/24" if family == 4 else f"2001:db8:{n:x}::/48"
        for n in range(5000)
    ]
    calling.announce_all(Route(names[0], (OURS,), HOP[family]), names)
    holds(calling, pair, names[-1], "unicast")
    # The static route of that family is there as well, or among them.
    count = pair.birdc(f"show route where source = RTS_BGP table master{family} count")
    assert count.startswith("5000 of "), count
    calling.withdraw(*names)
    holds(calling, pair, names[-1], "Network not found")


@FAMILIES
def test_bird_calls_a_speaker_that_listens_and_calls_again(
    pair: BirdAndNeighbor, family: int
) -> None:
    speaker = pair.speaker(64501, port=1179)
    speaker.listen(CALLED[family], THERE[family])
    try:
        speaker.log.wait(all_told, 10, "a session, all told")
        speaker.announce(Route(OTHER[family], (64501,), HOP[family]))
        text = holds(speaker, pair, OTHER[family], "unicast")
        assert f"calling{family}" in text
        speaker.cease()
        assert speaker.log.routes() == {}
        speaker.log.wait(lambda log: len(log.opens()) == 2, 10, "it calls again")
        speaker.log.wait(lambda log: log.routes().keys() == STATICS, 10, "and says all again")
    finally:
        speaker.close()


@FAMILIES
def test_an_unsigned_or_wrongly_signed_call_is_not_answered(
    pair: BirdAndNeighbor, family: int
) -> None:
    for password in (None, "another"):
        speaker = pair.speaker(password=password)
        with pytest.raises(TimeoutError):
            speaker.connect(HERE[family], THERE[family], seconds=0.5)
        assert speaker.log.entries() == ()


@FAMILIES
def test_why_bird_ends_a_session_is_logged(
    pair: BirdAndNeighbor, calling: Speaker, family: int
) -> None:
    calling.send(messages.message(messages.UPDATE, b"\xff" * 4))
    calling.log.wait(lambda log: log.notifications(), 5, "a NOTIFICATION")
    calling.log.wait(Log.ends, 5, "the end")
    (notification,) = calling.log.notifications()
    assert notification.code == 3, "UPDATE message error"
    assert not calling.established.is_set()


@FAMILIES
def test_the_same_speaker_comes_back(pair: BirdAndNeighbor, calling: Speaker, family: int) -> None:
    calling.log.wait(all_told, 5, "all is told")
    calling.cease(subcode=4, data=b"")
    calling.establish(HERE[family], THERE[family])
    calling.log.wait(lambda log: log.routes().keys() == STATICS, 5, "all is told again")
    times = [entry.at for entry in calling.log.entries()]
    assert times == sorted(times)
    assert len(calling.log.opens()) == 2


def test_roles_that_do_not_fit_are_refused(pair: BirdAndNeighbor) -> None:
    """RFC 9234 section 4.2: NOTIFICATION 2/11."""
    speaker = pair.speaker(said=capabilities(OURS, role=messages.PEER))

    def refused() -> bool:
        ends = len(speaker.log.ends())
        speaker.connect(HERE[4], THERE[4])
        speaker.log.wait(lambda log: len(log.ends()) > ends, 5, "an answer")
        return bool(speaker.log.notifications())

    try:
        until(refused, 5, "BIRD's NOTIFICATION (a call soon after another is closed unheard)")
        (why,) = speaker.log.notifications()
        assert (why.code, why.subcode) == (2, 11)
        assert not speaker.established.is_set()
    finally:
        speaker.close()


def test_a_session_outlives_its_hold_time(pair: BirdAndNeighbor) -> None:
    speaker = pair.speaker(hold=3)
    speaker.establish(HERE[4], THERE[4])
    try:
        before = len(speaker.log.ends())
        assert not speaker.log.within(lambda log: log.ends()[before:], 4)
        assert speaker.established.is_set()
    finally:
        speaker.close()
