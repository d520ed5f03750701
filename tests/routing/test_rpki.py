"""What the owners of prefixes have signed, live: rows 64 to 70 and 77 to 79 of the routing
reference, with validators that can be away, silent or wrong."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from mesh.bird.features import capabilities
from mesh.render import File
from mesh.render.bird import lacks
from tests.kit import rtr
from tests.kit.bgp import messages
from tests.kit.bgp.attributes import Path as AsPath
from tests.kit.bgp.attributes import Route
from tests.kit.bgp.speaker import Speaker
from tests.kit.edge.uplink import Edge, edge
from tests.kit.machine import BIRDS, IMAGES, NEWEST, OLDEST, Debian
from tests.kit.rtr import Intervals, Providers, Server, Vrp
from tests.kit.stacks import EXISTING, plan_of, prod
from tests.kit.wait import until
from tests.routing import aspa

pytestmark = pytest.mark.image
NODE, PEERED = "lax-vultr-1", "ewr-buyvm-1"
VULTR, TRANSIT, OWNER, OTHER = 64515, 20473, 13335, 15169
ONE, TWO, SILENT, NOBODY = "198.51.100.1", "2001:db8:53::1", "198.51.100.3", "198.51.100.4"
PORT = 3323
ROV, ASPA, AS_SET = 15, 16, 10  # reasons.conf
SOON = 15  # seconds, at most: BIRD lets a table settle for one before it judges again
RETRY = "\tretry keep 10;"
HOLD = 90  # seconds, as the speaker says it


def keys(*validators: str) -> dict[str, Any]:
    """The seed's network: a full table from upstreams, judged by these validators."""
    hosts = [f"[{each}]" if ":" in each else each for each in validators]
    return prod() | {
        "routing": {"import": "full"},
        "rpki": {"servers": [f"rtr://{host}:{PORT}" for host in hosts]},
    }


@dataclass
class ValidatedEdge:
    """An edge, its upstream's two sessions, and its validators."""

    version: str
    edge: Edge
    speakers: dict[int, Speaker]
    one: Server
    two: Server
    silent: Server

    def announce(self, prefix: str, *path: int | frozenset[int]) -> None:
        """The upstream says a route, with a path of its own before."""
        announce(self.edge, self.speakers, prefix, (VULTR, TRANSIT, *path))

    def reason(self, prefix: str) -> int | None:
        """Why it is refused; None where it is accepted."""
        return reason(self.edge, prefix)

    def turns(self, prefix: str, verdict: int | None, seconds: float = SOON) -> None:
        """Wait until that is the verdict."""
        turns(self.edge, prefix, verdict, seconds)

    def heard(self, address: str) -> bool:
        """Whether a validator is there, and all that it said was taken."""
        return heard(self.edge, address)

    def status(self, address: str) -> str:
        """What BIRD says of a validator."""
        return self.edge.birdc(f"show protocols all {protocol(address)}")


def impatient(text: str) -> str:
    """The same configuration, but a validator that is away is called every second."""
    return text.replace(RETRY, "\tretry keep 1;")


def patient(text: str) -> str:
    """The same, and a session lasts for as long as a clock may be put forward between two looks on
    a busy machine."""
    return re.sub(r"hold time (9|30);", f"hold time {HOLD};", impatient(text))


def protocol(address: str) -> str:
    """The name of a validator's session."""
    return f"rtr_{address.replace('.', '_').replace(':', '_')}_{PORT}"


def heard(edge: Edge, address: str) -> bool:
    """Whether a validator is there, and all that it said was taken."""
    return "Established" in edge.birdc(f"show protocols {protocol(address)}")


def lost(validated: ValidatedEdge, address: str) -> bool:
    """Whether a validator is known to be away."""
    return not validated.heard(address)


def announce(edge: Edge, speakers: dict[int, Speaker], prefix: str, path: AsPath) -> None:
    """Say a route, with the upstream's own address as next hop."""
    version = 6 if ":" in prefix else 4
    hop = edge.session(f"ipv{version}").neighbor
    speakers[version].announce(Route(prefix, path, hop))


def reason(edge: Edge, prefix: str) -> int | None:
    """Why a route is refused; None where it is accepted, -1 while it is not there."""
    table = "internet6" if ":" in prefix else "internet4"
    if "BGP" in edge.birdc(f"show route {prefix} table {table} all"):
        return None
    text = edge.birdc(f"show route {prefix} table {table} filtered all")
    _, mark, rest = text.partition("(27218, 65666, ")
    return int(rest.split(")")[0]) if mark else -1


def turns(edge: Edge, prefix: str, verdict: int | None, seconds: float = SOON) -> None:
    """Wait until that is the verdict on a prefix."""
    until(lambda: reason(edge, prefix) == verdict, seconds, f"{prefix}: {verdict}")


RECORDS = (
    Vrp("1.1.0.0/16", OWNER, 24),
    Vrp("8.8.8.0/24", OTHER),
    Vrp("9.0.0.0/8", 0),
    Vrp("2400:cb00::/32", OWNER, 40),
    Vrp("2001:4860::/32", OTHER),
    Vrp("2620::/32", 0),
)


@contextmanager
def session_pair(edge: Edge) -> Iterator[dict[int, Speaker]]:
    """The upstream's sessions."""
    families = [session.family for session in edge.node.upstreams]
    speakers = {int(family[-1]): edge.upstream(family) for family in families}
    for speaker in speakers.values():
        speaker.log.wait(lambda log: any(u.end_of for u in log.updates()), SOON, "End-of-RIB")
    try:
        yield speakers
    finally:
        for speaker in speakers.values():
            speaker.close()


@pytest.fixture(scope="module", params=BIRDS)
def validated(request: pytest.FixtureRequest) -> Iterator[ValidatedEdge]:
    """An edge with two validators that are well, one that never answers and one that is not."""
    version = request.param
    one, two = (Server(address, records=RECORDS) for address in (ONE, TWO))
    silent = Server(SILENT)
    silent.mute = True

    def ready(world: str) -> None:
        for each in (one, two, silent):
            each.come(world)

    values = keys(ONE, TWO, SILENT, NOBODY)
    with (
        edge(
            values, NODE, version=version, also=(ONE, TWO, SILENT), ready=ready, bend=impatient
        ) as made,
        session_pair(made) as speakers,
    ):
        found = ValidatedEdge(version, made, speakers, one, two, silent)
        for address in (ONE, TWO):
            until(partial(found.heard, address), 10, f"{address} is heard")
        yield found
        for each in (one, two, silent):
            each.go()


only_the_images = pytest.mark.parametrize("validated", [IMAGES], indirect=True)
"""Of what has nothing to do with the version: every change takes BIRD a second."""


# --- Origins -------------------------------------------------------------------------------------

ACCEPTED = None
Rows = list[tuple[str, str, tuple[int | frozenset[int], ...], int | None]]
"""What it is, prefix, path, verdict."""
ORIGINS: Rows = [
    ("64 valid", "1.1.1.0/24", (OWNER,), ACCEPTED),
    ("64 valid, the ROA's own prefix", "1.1.0.0/16", (OWNER,), ACCEPTED),
    ("65 not found", "4.0.0.0/16", (OWNER,), ACCEPTED),
    ("65 not found: a ROA of a part of it", "8.0.0.0/8", (OWNER,), ACCEPTED),
    ("66 wrong origin", "1.1.2.0/24", (OTHER,), ROV),
    ("66 wrong origin, the owner in the path", "1.1.3.0/24", (OWNER, OTHER), ROV),
    ("67 beyond maxLength", "2400:cb00::/44", (OWNER,), ROV),
    ("67 beyond a maxLength that nobody gave", "8.8.8.0/24", (OTHER,), ACCEPTED),
    ("67 beyond maxLength, with IPv4", "1.1.0.0/25", (OWNER,), 6),
    ("68 AS0", "9.9.9.0/24", (OWNER,), ROV),
    ("69 a set behind the owner", "1.1.4.0/24", (OWNER, frozenset({OTHER, 174})), AS_SET),
    ("69 a set with nobody but the owner", "1.1.5.0/24", (frozenset({OWNER}),), AS_SET),
    ("64 valid, IPv6", "2400:cb00::/40", (OWNER,), ACCEPTED),
    ("65 not found, IPv6", "2a00:1450::/32", (OTHER,), ACCEPTED),
    ("66 wrong origin, IPv6", "2400:cb00:1000::/36", (OTHER,), ROV),
    ("67 beyond maxLength, IPv6", "2001:4860:1::/48", (OTHER,), ROV),
    ("68 AS0, IPv6", "2620:0:2d0::/48", (OWNER,), ROV),
    ("69 a set behind the owner, IPv6", "2400:cb00:2000::/36", (OWNER, frozenset({1})), AS_SET),
]


def test_what_the_owner_signed(validated: ValidatedEdge) -> None:
    for _, prefix, path, _ in ORIGINS:
        validated.announce(prefix, *path)
    until(lambda: -1 not in [validated.reason(row[1]) for row in ORIGINS], SOON, "all are judged")
    found = {row[0]: validated.reason(row[1]) for row in ORIGINS}
    assert found == {row[0]: row[3] for row in ORIGINS}
    line = "rejected: invalid by a ROA, net 1.1.2.0/24, session vultr4, "
    assert (line in validated.edge.log()) == capabilities(validated.version).can("log_udp")


def test_a_record_that_comes_or_goes_judges_what_is_here_and_no_session_notices(
    validated: ValidatedEdge,
) -> None:
    """Row 70, at its end. The upstream hears nothing at all: no NOTIFICATION, no refresh."""
    prefixes = ("5.5.5.0/24", "2a01:5::/32")
    for prefix in prefixes:
        validated.announce(prefix, OWNER)
        validated.turns(prefix, ACCEPTED)
    since = time.monotonic()
    records = tuple(Vrp(prefix, OTHER) for prefix in prefixes)
    for server in (validated.one, validated.two):
        server.tell(*records)
    for prefix in prefixes:
        validated.turns(prefix, ROV)
    for server in (validated.one, validated.two):
        server.tell(without=records)
    for prefix in prefixes:
        validated.turns(prefix, ACCEPTED)
    for speaker in validated.speakers.values():
        assert speaker.log.entries(since) == ()


@only_the_images
def test_what_one_validator_knows_is_enough(validated: ValidatedEdge) -> None:
    """Either's word counts, and only when both have taken it back it is gone."""
    validated.announce("5.6.0.0/24", OWNER)
    record = Vrp("5.6.0.0/24", OTHER)
    validated.one.tell(record)
    validated.turns("5.6.0.0/24", ROV)
    validated.two.tell(record)
    validated.one.tell(without=[record])
    validated.two.tell(
        Vrp("5.6.1.0/24", OTHER)
    )  # a later update, to see that those before are read
    validated.announce("5.6.1.0/24", OWNER)
    validated.turns("5.6.1.0/24", ROV)
    # Between the word of the one and that of the other it may have been accepted.
    validated.turns("5.6.0.0/24", ROV)
    validated.two.tell(without=[record])
    validated.turns("5.6.0.0/24", ACCEPTED)


# --- Validators that are away, silent or wrong ---------------------------------------------------


def test_validators_that_are_away_keep_their_word_and_are_used_again(
    validated: ValidatedEdge,
) -> None:
    """Row 70: what they said holds (until it expires); what they say anew is taken: by one in an
    older version of RTR, by the other in a new session without the history of the last."""
    stolen, freed = "5.7.0.0/24", "5.7.1.0/24"
    kept, old = Vrp(stolen, OTHER), Vrp(freed, OTHER)
    servers = validated.one, validated.two
    for server in servers:
        server.tell(kept, old)
    for prefix in (stolen, freed):
        validated.announce(prefix, OWNER)
        validated.turns(prefix, ROV)
    since = time.monotonic()
    for server in servers:
        server.go()
    for address in (ONE, TWO):
        until(partial(lost, validated, address), SOON, "the loss is seen")
    # What comes now is judged by it as well.
    late = "5.7.2.0/24"
    validated.announce(late, OTHER, OWNER)
    validated.announce("1.1.7.0/24", OTHER)
    validated.turns("1.1.7.0/24", ROV)
    validated.turns(late, ACCEPTED)
    assert validated.reason(stolen) == validated.reason(freed) == ROV
    validated.one.version = 0
    validated.two.forget()
    for server in servers:
        server.tell(without=[old])
        server.come()
    validated.turns(freed, ACCEPTED, 2 * SOON)
    assert validated.reason(stolen) == ROV
    assert "Protocol version: 0" in validated.status(ONE)
    for speaker in validated.speakers.values():
        assert speaker.log.entries(since) == ()


@only_the_images
def test_a_validator_without_the_history_is_asked_for_everything(validated: ValidatedEdge) -> None:
    """Cache Reset (RFC 8210, section 5.9), within a session that stands."""
    validated.announce("5.9.0.0/24", OWNER)
    validated.turns("5.9.0.0/24", ACCEPTED)
    validated.two.forget()
    validated.two.tell(Vrp("5.9.0.0/24", OTHER))
    validated.turns("5.9.0.0/24", ROV)


@pytest.mark.slow
def test_a_validator_that_is_gone_without_a_word_is_noticed_and_its_records_stay() -> None:
    """Its host has died, and nobody ends the connection: an unanswered refresh tells, after a
    second here and after five minutes by the real file."""

    def eager(text: str) -> str:
        assert "protocol rpki" not in text or "\trefresh keep 300;" in text
        return impatient(text.replace("\trefresh keep 300;", "\trefresh keep 1;"))

    server = Server(ONE, records=RECORDS)
    with edge(keys(ONE), NODE, also=(ONE,), ready=server.come, bend=eager) as made:
        until(lambda: heard(made, ONE), SOON, "the validator is heard")
        server.mute = True
        until(lambda: "Transport-Error" in made.birdc("show protocols"), SOON, "it is noticed")
        assert "1.1.0.0/16-24 AS13335" in made.birdc("show route table roas4")
        server.mute = False
        until(lambda: heard(made, ONE), SOON, "the validator is heard again")
        server.go()


WEIRD = [Intervals(0, 0, 0), Intervals(86401, 7201, 172801), Intervals(1, 1, 599)]


@only_the_images
@pytest.mark.parametrize("intervals", WEIRD, ids=str)
def test_intervals_that_nobody_may_ask_for_are_not_followed(
    validated: ValidatedEdge, intervals: Intervals
) -> None:
    """RFC 8210, section 6. Records would be gone at once, or never."""
    validated.two.intervals = intervals
    before = validated.two.asked()
    validated.two.tell(Vrp(f"5.10.{intervals.expire % 256}.0/24", OTHER))
    until(lambda: validated.two.asked() > before, SOON, "the update is fetched")
    until(lambda: validated.heard(TWO), SOON, "and heard")
    assert "/7200\n" in validated.status(TWO).partition("Expire timer")[2]


def test_a_validator_that_is_wrong_takes_its_own_word_with_it_only(
    validated: ValidatedEdge,
) -> None:
    """BIRD forgets at once what was said by one that breaks the protocol; the others' stays."""
    validated.announce("5.8.0.0/24", OWNER)
    validated.one.tell(Vrp("5.8.0.0/24", OTHER))
    validated.two.tell(Vrp("5.8.0.0/24", OTHER))
    validated.turns("5.8.0.0/24", ROV)
    resets = validated.one.asked(rtr.RESET_QUERY)
    validated.one.say(rtr.HEADER.pack(1, 99, 0, 8))
    until(
        lambda: validated.one.asked(rtr.RESET_QUERY) > resets, 15, "it is asked from the beginning"
    )
    until(lambda: validated.heard(ONE), SOON, "and heard again")
    assert validated.reason("5.8.0.0/24") == ROV
    assert "5.8.0.0/24" in validated.edge.birdc(f"show route table roas4 protocol {protocol(ONE)}")


def test_validators_that_never_answer_have_hurt_nobody(validated: ValidatedEdge) -> None:
    """All above was done with these two on the list."""
    assert validated.silent.asked() > 0
    for address in (SILENT, NOBODY):
        assert not validated.heard(address)


# --- Time ----------------------------------------------------------------------------------------

EXPIRE = 600  # seconds: the least that RFC 8210 allows and BIRD follows
STEP = 15  # seconds by which a clock is put forward: a second one would still be within HOLD
CLOCK = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now)
{
	int done = syscall(SYS_clock_gettime, clock, now), file = open("/run/later", O_RDONLY);
	if (file < 0) return done;
	char digits[16] = "";
	read(file, digits, sizeof digits - 1);
	close(file);
	for (long s = 0, i = 0; ; i++)
		if (digits[i] >= '0' && digits[i] <= '9') s = 10 * s + digits[i] - '0';
		else { now->tv_sec += s; return done; }
}
"""


def clock(upper: Path) -> str:
    """A clock for the machine, later by so many seconds as /run/later says; where it lies."""
    (upper / "run").mkdir(exist_ok=True)
    command = ["cc", "-shared", "-fPIC", "-w", "-xc", "-o", str(upper / "run/clock.so"), "-"]
    subprocess.run(command, input=CLOCK, text=True, check=True)
    return "/run/clock.so"


@contextmanager
def judged_by_one(
    preload: Callable[[Path], str] | None = None,
) -> Iterator[tuple[Edge, Server, dict[int, Speaker]]]:
    """An edge with one validator, whose records last for ten minutes, and a stolen route."""
    server = Server(ONE, records=RECORDS, intervals=Intervals(expire=EXPIRE))
    with (
        edge(
            keys(ONE), NODE, also=(ONE,), ready=server.come, bend=patient, preload=preload
        ) as made,
        session_pair(made) as speakers,
    ):
        until(lambda: heard(made, ONE), SOON, "the validator is heard")
        announce(made, speakers, STOLEN, (VULTR, TRANSIT, OTHER))
        turns(made, STOLEN, ROV)
        yield made, server, speakers
        server.go()


STOLEN = "1.1.2.0/24"


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler; the slow one does not")
def test_expired_records_are_not_used() -> None:
    """Row 70, with a clock that is put forward: the ten minutes are the least that BIRD knows."""
    with judged_by_one(clock) as (made, server, speakers):
        since = time.monotonic()
        server.go()
        until(lambda: not heard(made, ONE), SOON, "the loss is seen")
        put_forward(made, speakers, 0, EXPIRE - 30)
        announce(made, speakers, "1.1.3.0/24", (VULTR, TRANSIT, OTHER))
        turns(made, "1.1.3.0/24", ROV)
        assert reason(made, STOLEN) == ROV
        put_forward(made, speakers, EXPIRE - 30, EXPIRE)
        turns(made, STOLEN, ACCEPTED)
        assert "AS" not in made.birdc("show route table roas4").partition("roas4:")[2]
        server.come()
        turns(made, STOLEN, ROV, 2 * SOON)
        assert [s.log.entries(since) for s in speakers.values()] == [(), ()]


def put_forward(edge: Edge, speakers: dict[int, Speaker], begin: int, end: int) -> None:
    """Let BIRD's clock go fast, but not so fast that a hold time runs out: it goes on once BIRD has
    read the keepalives."""

    def is_kept() -> bool:
        # BIRD may have taken the last ones for those of the time before.
        for speaker in speakers.values():
            speaker.send(messages.message(messages.KEEPALIVE))
        return shortest_hold(edge) > HOLD - STEP

    for second in range(begin, end + 1, STEP):
        Path(f"/proc/{edge.pid}/root/run/later").write_text(str(second))
        until(is_kept, SOON, "the keepalives are read")


def shortest_hold(edge: Edge) -> float:
    """Seconds until the first session ends for want of a keepalive."""
    left = re.findall(rf"Hold timer: +([0-9.]+)/{HOLD}", edge.birdc("show protocols all"))
    return min(map(float, left), default=0.0)


@pytest.mark.slow
def test_records_expire_after_their_ten_minutes() -> None:
    """The same by everybody's clock."""
    with judged_by_one() as (made, server, _):
        server.go()
        began = time.monotonic()
        turns(made, STOLEN, ACCEPTED, EXPIRE + 20)
        took = time.monotonic() - began
        print(f"used no more {took:.1f} s after the validator was lost")
        assert took > EXPIRE - 10


# --- Paths ---------------------------------------------------------------------------------------

# AS20473 is below AS174 and AS1299, AS13335 below AS174 alone, above which nobody is.
PEER, BELOW = EXISTING["upstream"]["peerAsn"], 49544
MEANT = (
    Providers(TRANSIT, (174, 1299)),
    Providers(OWNER, (174,)),
    Providers(174, ()),
    Providers(1299, ()),
    Providers(BELOW, (PEER,)),
)
UNSAID, ALSO_UNSAID = 6939, 3356

# From a provider a path may go up, once across, and down to it; from a peer only up.
FROM_A_PROVIDER: Rows = [
    ("77 valid: up to AS174, down", "11.0.0.0/24", (VULTR, TRANSIT, 174, OWNER), ACCEPTED),
    ("77 valid: up, across, down", "11.0.1.0/24", (VULTR, TRANSIT, 1299, 174, OWNER), ACCEPTED),
    ("77 valid: the origin alone", "11.0.2.0/24", (VULTR,), ACCEPTED),
    ("78 unknown: nobody said", "11.0.3.0/24", (VULTR, UNSAID, ALSO_UNSAID, 2914), ACCEPTED),
    ("78 unknown: one of two said", "11.0.4.0/24", (VULTR, TRANSIT, 174, UNSAID), ACCEPTED),
    (
        "79 invalid: a customer of two passes on what it heard from one",
        "11.0.5.0/24", (VULTR, 1299, TRANSIT, 174, OWNER), ASPA,
    ),
    (
        "79 invalid: the owner named no such provider, nor is it below",
        "11.0.6.0/24", (VULTR, TRANSIT, 1299, OWNER, 174), ASPA,
    ),
    ("77 valid, IPv6", "2a03::/32", (VULTR, TRANSIT, 174, OWNER), ACCEPTED),
    ("78 unknown, IPv6", "2a04::/32", (VULTR, UNSAID, ALSO_UNSAID), ACCEPTED),
    ("79 invalid, IPv6", "2a05::/32", (VULTR, 1299, TRANSIT, 174, OWNER), ASPA),
]  # fmt: skip
FROM_A_PEER: Rows = [
    ("77 valid: its own", "11.1.0.0/24", (PEER,), ACCEPTED),
    ("77 valid: its customer's", "11.1.1.0/24", (PEER, BELOW), ACCEPTED),
    ("78 unknown: nobody said", "11.1.2.0/24", (PEER, UNSAID), ACCEPTED),
    ("79 invalid: what its provider said", "11.1.3.0/24", (PEER, 174), ASPA),
    ("79 invalid: the owner's provider is another", "11.1.4.0/24", (PEER, OWNER), ASPA),
    ("79 invalid, IPv6", "2a06::/32", (PEER, OWNER), ASPA),
    ("77 valid, IPv6", "2a07::/32", (PEER, BELOW), ACCEPTED),
]


# What nobody said above, and what follows of it later.
LATER = "11.0.3.0/24"
SAID_LATER = tuple(Providers(asn, ()) for asn in (UNSAID, ALSO_UNSAID, 2914))
DRAWN = 1000


@contextmanager
def judged_paths(
    keys: dict[str, Any], node_id: str, version: str, records: Iterable[Providers]
) -> Iterator[tuple[Edge, Server, dict[int, Speaker]]]:
    """An edge with one validator, that knows who is whose customer."""
    server = Server(ONE, records=records)
    with (
        edge(
            keys, node_id, version=version, also=(ONE,), ready=server.come, bend=impatient
        ) as made,
        session_pair(made) as speakers,
    ):
        until(lambda: heard(made, ONE), SOON, "the validator is heard")
        yield made, server, speakers
        server.go()


def verdicts(edge: Edge, speakers: dict[int, Speaker], rows: Rows) -> dict[str, int | None]:
    """The verdict on each of these announcements, by its name."""
    for _, prefix, path, _ in rows:
        announce(edge, speakers, prefix, path)
    until(lambda: -1 not in [reason(edge, row[1]) for row in rows], SOON, "all are judged")
    return {row[0]: reason(edge, row[1]) for row in rows}


@pytest.mark.parametrize("version", [IMAGES, NEWEST])
def test_paths_from_a_provider(version: str) -> None:
    with judged_paths(keys(ONE), NODE, version, MEANT) as (made, server, speakers):
        found = verdicts(made, speakers, FROM_A_PROVIDER)
        assert found == {row[0]: row[3] for row in FROM_A_PROVIDER}
        assert disagreements(made, speakers[4], MEANT, VULTR, aspa.downstream) == []
        server.tell(*SAID_LATER)
        turns(made, LATER, ASPA)
        if capabilities(version).can("aspa_at_once"):
            server.tell(without=SAID_LATER)
            turns(made, LATER, ACCEPTED)


@pytest.mark.parametrize("version", [IMAGES, NEWEST])
def test_paths_from_a_peer(version: str) -> None:
    with judged_paths(peered(), PEERED, version, MEANT) as (made, _, speakers):
        found = verdicts(made, speakers, FROM_A_PEER)
        assert found == {row[0]: row[3] for row in FROM_A_PEER}
        assert disagreements(made, speakers[4], MEANT, PEER, aspa.upstream) == []


def disagreements(
    edge: Edge, speaker: Speaker, records: Iterable[Providers], neighbor: int, judge: aspa.Judge
) -> list[str]:
    """Drawn paths on which BIRD is of another mind than the draft, as text."""
    said = {each.customer: frozenset(each.asns) for each in records}
    known = sorted({*said, *(asn for asns in said.values() for asn in asns)} - {neighbor})
    chance = random.Random(27218)
    drawn = {
        f"12.{n >> 8}.{n & 255}.0/24": (
            neighbor, *aspa.path(chance, said, known, chance.randrange(7))
        )
        for n in range(DRAWN)
    }  # fmt: skip
    session = edge.session("ipv4")
    for prefix, path in drawn.items():
        speaker.announce(Route(prefix, path, session.neighbor))

    def listed(what: str) -> set[str]:
        text = edge.birdc(f"show route table internet4 {what} protocol {session.name}")
        return {line.split()[0] for line in text.splitlines() if line.startswith("12.")}

    until(lambda: len(listed("")) + len(listed("filtered")) == DRAWN, SOON, "all are judged")
    refused = listed("filtered")
    assert 0 < len(refused) < DRAWN
    return [
        f"{path}: {'refused' if prefix in refused else 'taken'}"
        for prefix, path in drawn.items()
        if (prefix in refused) != (judge(said, path) is aspa.Verdict.INVALID)
    ]


def peered() -> dict[str, Any]:
    """The same with a host whose upstream is a peer."""
    values = keys(ONE)
    values["regions"]["ewr"]["slots"]["buyvm-1"] = "192.30.120.21"
    upstream = EXISTING["upstream"] | {"role": "peer"}
    values["nodes"] |= {PEERED: {"number": 7, "host": EXISTING | {"upstream": upstream}}}
    return values


def test_an_older_bird_takes_these_paths_and_check_says_so() -> None:
    invalid = [row for row in FROM_A_PROVIDER if row[3] == ASPA]
    with judged_paths(keys(ONE), NODE, OLDEST, MEANT) as (made, _, speakers):
        assert set(verdicts(made, speakers, invalid).values()) == {ACCEPTED}
    plan = plan_of(keys(ONE))
    said = {version: " ".join(lacks(plan, version)) for version in BIRDS}
    assert "not checked against ASPA" in said[OLDEST]
    assert "ASPA" not in said[IMAGES]
    assert "ASPA records change twice" in said[NEWEST]


# --- A validator that people run -----------------------------------------------------------------


def as_json(records: Iterable[Vrp]) -> str:
    """Records as rpki-client writes them."""
    now = int(time.time())
    roas = [
        {
            "asn": each.asn, "prefix": each.prefix, "ta": "test", "expires": now + 86400,
            "maxLength": each.max_length or ip_network(each.prefix).prefixlen,
        }
        for each in records
    ]  # fmt: skip
    return json.dumps({"metadata": {"buildtime": f"{datetime.now(UTC):%FT%TZ}"}, "roas": roas})


def test_stayrtr_serves_rpki_clients_json(tmp_path: Path) -> None:
    """Rows 64 to 68 with Debian's stayrtr, and an update of its file."""
    machine = Debian(tmp_path / "validator", also=["stayrtr"])
    machine.put([File("/srv/rpki.json", as_json(RECORDS))])
    options = ("-cache", "/srv/rpki.json", "-refresh", "1", "-metrics.addr", "")
    started: list[subprocess.Popen[str]] = []

    def ready(world: str) -> None:
        bind = ("-bind", f"{ONE}:{PORT}")
        started.append(machine.start("stayrtr", *bind, *options, namespace=world))

    try:
        with (
            edge(keys(ONE), NODE, also=(ONE,), ready=ready, bend=impatient) as made,
            session_pair(made) as speakers,
        ):
            until(lambda: heard(made, ONE), 8 * SOON, "stayrtr is heard")
            for _, prefix, path, _ in ORIGINS:
                announce(made, speakers, prefix, (VULTR, TRANSIT, *path))
            until(lambda: -1 not in [reason(made, r[1]) for r in ORIGINS], SOON, "all are judged")
            assert {r[0]: reason(made, r[1]) for r in ORIGINS} == {r[0]: r[3] for r in ORIGINS}
            new = as_json([*RECORDS, Vrp("4.0.0.0/16", OTHER)])
            (Path(f"/proc/{started[0].pid}/root") / "srv/rpki.json").write_text(new)
            turns(made, "4.0.0.0/16", ROV, 3 * SOON)
    finally:
        for process in started:
            process.kill()
            process.wait()


# --- Too many ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", BIRDS)
def test_a_validator_without_end_is_heard_no_more_and_judges_nothing(version: str) -> None:
    """Half of a list can make a valid route invalid; none makes it unknown."""
    flood = Server(ONE, records=[Vrp(f"9.{n}.0.0/16", 0) for n in range(50)])

    def bounded(text: str) -> str:
        return impatient(text.replace("define RECORDS = 2000000;", "define RECORDS = 20;"))

    with (
        edge(keys(ONE), NODE, version=version, also=(ONE,), ready=flood.come, bend=bounded) as made,
        session_pair(made) as speakers,
    ):
        status = f"show protocols all {protocol(ONE)}"
        until(lambda: " down " in made.birdc(status), SOON, "it is heard no more")
        announce(made, speakers, "9.1.0.0/16", (VULTR, TRANSIT, OWNER))
        turns(made, "9.1.0.0/16", ACCEPTED)
        assert "9." not in made.birdc("show route table roas4")
        flood.go()
