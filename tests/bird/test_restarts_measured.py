"""Sessions that start anew when BIRD's configuration changes: what is said of them, and what each
BIRD does.

Two BIRDs have a session for every change of every line that BGP protocols of our nodes have. All
lines change at once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh.bird.client import Bird
from mesh.bird.features import capabilities
from mesh.bird.restarts import restarting
from mesh.lab import namespaces
from mesh.render import File
from tests.kit import bird
from tests.kit.machine import BIRDS, Debian, bird_of
from tests.kit.namespaces import spaces
from tests.kit.uptimes import restarted, up_since
from tests.kit.wait import until

pytestmark = pytest.mark.image
CONF = "/etc/bird/bird.conf"
OURS, THEIRS = 64500, 64501
SETTLED = 2.0
"""Seconds after which a session that is to end has ended: the longest that one takes is until the
neighbor misses its BFD, five intervals of 300 ms."""
LATEST = 20.0
"""Seconds after which one that is awaited to end, and stands, is taken not to."""
NAP = 0.2
"""Seconds between two looks at hundreds of sessions, which cost the node's BIRD and us a while."""

Lines = Mapping[str, tuple[str, ...]]
"""Lines of a node's protocol, and what each of them becomes; every one is left out as well."""

TIMERS: Lines = {
    "hold time 9": ("hold time 12",),
    "keepalive time 3": ("keepalive time 2",),
    "connect delay time 1": ("connect delay time 2",),
    "connect retry time 2": ("connect retry time 3",),
    "error wait time 1, 4": ("error wait time 1, 10",),
}
POLICY: Lines = {
    "import filter { accept; }": (
        "import filter { bgp_local_pref = 50; accept; }",
        "import filter { if roa_check(owners, net, 1) = ROA_INVALID then reject; accept; }",
        "import where net.len > 8",
        "import none",
        "import all",
    ),
    "export filter { accept; }": (
        "export filter { bgp_med = 1; accept; }",
        "export where LATER",
        "export none",
        "export all",
    ),
    "import keep filtered on": (),
    "receive limit 112 action block": (
        "receive limit 118 action block",
        "receive limit 112 action disable",
    ),
}
MORE = (
    "bfd on",
    "passive on",
    "enable route refresh off",
    "ttl security on",
    "local role peer",
    "allow local as",
    'description "added"',
    "rr client",
    "import limit 10 action block",
)
MORE_OF_CHANNEL = (
    "preference 150",
    "import limit 1000 action block",
    "export limit 1000 action block",
    "export table on",
    "import table on",
    "add paths on",
    "next hop self",
    "next hop keep",
    "gateway direct",
    "gateway recursive",
    "rpki reload off",
    "mandatory on",
    "extended next hop on",
    "secondary on",
    "table others",
    "igp table others",
)


@dataclass(frozen=True)
class Kind:
    """A kind of session: the ASN and the version of its transport, its lines, and its channel's."""

    asn: int
    transport: str
    lines: Lines
    channel: Lines


KINDS = {
    "underlay": Kind(THEIRS, "fe80", {
        **TIMERS,
        "direct": ("multihop",),
        "bfd on": (),
        "enforce first as on": ("enforce first as off",),
        "allow as sets off": ("allow as sets on",),
        "description \"a\"": ("description \"b\"",),
    }, {
        **POLICY,
        "import table on": (),
        "next hop self": (),
        "extended next hop on": (),
    }),
    "interior": Kind(OURS, "10", {
        **TIMERS,
        "multihop": ("multihop 9",),
        "rr client": (),
    }, {
        **POLICY,
        "add paths on": ("add paths rx",),
        "gateway recursive": (),
        "rpki reload off": (),
    }),
    "upstream": Kind(THEIRS, "10", {
        **TIMERS,
        "multihop 2": ("multihop 3",),
        "local role customer": ("local role peer",),
        "send hold time 30": ("send hold time 40",),
        "graceful restart aware": ("graceful restart off",),
        "allow local as": (),
        "allow as sets on": (),
        "password \"s3cret\"": ("password \"another\"",),
        "authentication md5": (),
    }, {
        **POLICY,
        "table internet4": (),
        "igp table master4": (),
        "import table on": (),
        "export limit 41 action block": ("export limit 42 action block",),
    }),
    "router": Kind(THEIRS, "10", {
        **TIMERS,
        "direct": (),
        "ttl security on": (),
    }, POLICY),
}  # fmt: skip
"""As the templates have them."""
BEGIN = """
log "/bird.log" all;
timeformat protocol iso short ms;
router id {router_id};
define LATER = {later};
protocol device {{ }}
protocol bfd {{ accept direct; interface "*" {{ interval 300 ms; multiplier 5; }}; }}
ipv4 table internet4;
ipv4 table others;
roa4 table owners;
protocol static {{ ipv4; route 198.51.100.0/24 blackhole; route 198.51.100.1/32 blackhole; }}
protocol static {{ ipv4 {{ table internet4; }}; route 198.51.100.9/32 blackhole; }}
"""


@dataclass(frozen=True)
class Trial:
    """A session with its lines before and after a change."""

    name: str
    kind: Kind
    number: int
    before: tuple[list[str], list[str]]
    after: tuple[list[str], list[str]]
    what: str

    def address(self, end: int) -> str:
        """Of the node (1) or of its neighbor (2)."""
        high, low = divmod(self.number, 250)
        if self.kind.transport == "10":
            return f"10.{end}.{high}.{low + 1}"
        return f"fe80::{end}:{self.number + 1:x}"

    def ours(self, changed: bool) -> str:
        """The node's protocol."""
        lines, channel = self.after if changed else self.before
        return _protocol(
            self.name,
            f"local {self.address(1)} as {OURS}",
            f"neighbor {self.address(2)} as {self.kind.asn}",
            *self._interface,
            *lines,
            _channel(channel),
        )

    def theirs(self) -> str:
        """The neighbor's protocol. It gives up a connection whose other end is gone within seconds:
        where only one end has TTL security, not even a reset comes through."""
        lines = [line for line in self.before[0] if line.startswith(("password", "authentic"))]
        far = any(line.startswith("multihop") for line in self.before[0])
        role = "local role customer" in self.before[0]
        return _protocol(
            self.name,
            f"local {self.address(2)} as {self.kind.asn}",
            f"neighbor {self.address(1)} as {OURS}",
            *self._interface,
            *lines,
            "multihop" if far else "direct",
            *(["local role provider"] if role else []),
            *(["ttl security on"] if "ttl security on" in self.before[0] else []),
            *(["bfd on"] if "bfd on" in self.before[0] else []),
            "hold time 30",
            "startup hold time 5",
            "connect delay time 0",
            "connect retry time 1",
            "error wait time 1, 1",
            _channel([
                "import all",
                "export all",
                *(["next hop self"] if far else []),
                *(["extended next hop on"] if self.kind.transport == "fe80" else []),
                *(["add paths on"] if "add paths on" in self.before[1] else []),
            ]),
        )  # fmt: skip

    @property
    def _interface(self) -> list[str]:
        return ['interface "eth0"'] if self.kind.transport == "fe80" else []


def _protocol(name: str, *lines: str) -> str:
    return f"protocol bgp {name} {{ {' '.join(f'{line};' for line in lines)} }}\n"


def _channel(lines: list[str]) -> str:
    return f"ipv4 {{ {' '.join(f'{line};' for line in lines)} }}"


def trials(version: str) -> list[Trial]:
    """A trial for each change of each line, and one without a change of each kind."""
    found: list[Trial] = []
    for kind_name, kind in KINDS.items():
        own = [line for line in kind.lines if _is_known(line, version)]
        channel = list(kind.channel)
        changes: list[tuple[str, list[str], list[str]]] = [("nothing", own, channel)]
        for line in own:
            for new in ("", *kind.lines[line]):
                changes.append((f"{line} -> {new}", _swapped(own, line, new), channel))
        for line in channel:
            for new in ("", *kind.channel[line]):
                changes.append((f"{line} -> {new}", own, _swapped(channel, line, new)))
        changes += [(f"+ {new}", [*own, new], channel) for new in MORE if new not in own]
        changes += [(f"+ {n}", own, [*channel, n]) for n in MORE_OF_CHANNEL if n not in channel]
        for what, lines, inner in changes:
            name = f"{kind_name}_{len(found)}"
            found.append(Trial(name, kind, len(found), (own, channel), (lines, inner), what))
    return found


def _swapped(lines: list[str], old: str, new: str) -> list[str]:
    return [new if line == old else line for line in lines if new or line != old]


def _is_known(line: str, version: str) -> bool:
    can = capabilities(version).can
    needs = {"send hold time": "send_hold_time", "authentication": "authentication"}
    return all(can(name) for start, name in needs.items() if line.startswith(start))


PEERS = "10.0.0.2"


def configuration(all_: list[Trial], changed: bool = False) -> str:
    """The node's."""
    begin = BEGIN.format(router_id="10.0.0.1", later="true")
    return begin + "".join(each.ours(changed) for each in all_)


@dataclass(frozen=True)
class Pair:
    """A node's BIRD and its neighbor's, with a session for each trial."""

    trials: dict[str, Trial]
    bird: Bird
    file: Path
    before: str

    def restarted(self, changed: str, awaited: Collection[str] = ()) -> set[str]:
        """The sessions that start anew when the configuration becomes this one; they are up again
        with the former one afterwards. Those that are ``awaited`` get the time that it takes on a
        busy machine."""
        until(self.is_up, 40, "all sessions are up", nap=NAP)
        was = self.since()
        self.configure(changed)
        until(self.has_configured, 5, "the configuration is in force", nap=NAP)
        end = time.monotonic() + LATEST
        while time.monotonic() < end and any(self.since().get(n) == was[n] for n in awaited):
            time.sleep(NAP)
        time.sleep(SETTLED)
        now = self.since()
        self.configure(self.before)
        return set(restarted(was, now))

    def begun(
        self, changed: str, expected: Collection[str], awaited: Collection[str] = ()
    ) -> set[str]:
        """The same; what is not as ``expected`` is measured a second time. On a busy machine a
        session may end by itself meanwhile, and one may have no BFD yet."""
        found, wanted = self.restarted(changed, awaited), set(expected)
        if found == wanted:
            return found
        again = self.restarted(changed, awaited)
        return (found & again) | ((found | again) & wanted)

    def is_up(self) -> bool:
        return self.since().keys() == self.trials.keys()

    def has_configured(self) -> bool:
        """Whether what was read last is in force: until then sessions go on to end."""
        return "Reconfiguration in progress" not in self.bird.ask("show status").text

    def since(self) -> dict[str, float]:
        """When each session was established."""
        return up_since(self.bird.ask("show protocols", 30).text)

    def configure(self, text: str) -> None:
        self.file.write_text(text)
        self.bird.configure()


@pytest.fixture(scope="module", params=BIRDS)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Both, one version after another."""
    folder = tmp_path_factory.mktemp("pair")
    with spaces("restarts", "node", "peer") as (here, there), _wired(here, there):
        node, peer = (Debian(folder / end, request.param) for end in ("node", "peer"))
        all_ = _accepted(node, trials(request.param))
        for space, end in ((here, 1), (there, 2)):
            namespaces.ip([_address(each.address(end)) for each in all_], space)
        node.put([File(CONF, configuration(all_))])
        theirs = BEGIN.format(router_id=PEERS, later="true")
        peer.put([File(CONF, theirs + "".join(each.theirs() for each in all_))])
        with bird.running(node, here) as pid, bird.running(peer, there):
            file = Path(f"/proc/{pid}/root{CONF}")
            by_name = {each.name: each for each in all_}
            yield Pair(by_name, bird_of(pid), file, configuration(all_))


@contextmanager
def _wired(here: str, there: str) -> Iterator[None]:
    namespaces.ip([f"link add eth0 type veth peer name eth0 netns {there}"], here)
    for space in (here, there):
        lines = ["link set lo up", "link set eth0 addrgenmode none", "link set eth0 up"]
        namespaces.ip(lines, space)
    yield


def _address(address: str) -> str:
    length, rest = ("64", " nodad") if ":" in address else ("8", "")
    return f"address add {address}/{length} dev eth0{rest}"


def _accepted(machine: Debian, all_: list[Trial]) -> list[Trial]:
    """The trials whose change BIRD accepts; the error of others names their line."""
    while True:
        text = configuration(all_, changed=True)
        machine.put([File(CONF, text)])
        done = machine.run("bird", "-p", "-c", CONF)
        found = re.search(r"bird\.conf:(\d+):", done.stderr + done.stdout)
        if done.returncode == 0 or found is None:
            assert done.returncode == 0, done.stderr
            return all_
        refused = text.splitlines()[int(found[1]) - 1].split()[2]
        all_ = [each for each in all_ if each.name != refused]


def said(before: str, after: str) -> frozenset[str]:
    """The sessions of which it is said that they start anew."""
    return restarting({CONF: before}, {CONF: after})


def test_of_no_session_that_starts_anew_it_is_said_that_it_does_not(pair: Pair) -> None:
    changed = configuration(list(pair.trials.values()), changed=True)
    restarted = pair.begun(changed, said(pair.before, changed))
    unforeseen = restarted - said(pair.before, changed)
    assert not {name: pair.trials[name].what for name in unforeseen}
    # Most of those of which it is said do so: drains for nothing are few.
    assert len(restarted) > 0.8 * len(said(pair.before, changed))


IN_PLACE = {
    "define LATER = true": "define LATER = false",
    "interval 300 ms": "interval 350 ms",
    "protocol bfd { ": "protocol bfd { multihop { interval 300 ms; multiplier 3; }; ",
    "protocol device { }": "protocol device { scan time 7; }",
    "roa4 table owners;": "roa4 table owners;\nroa6 table others6;",
    "route 198.51.100.1/32 blackhole;": "",
    "ipv4 table internet4;\nipv4 table others;": "ipv4 table others;\nipv4 table internet4;",
    "/bird.log": "/other.log",
}
"""What changes beside the sessions, and none of them starts anew."""


def test_constants_of_filters_intervals_of_bfd_and_new_tables_start_no_session_anew(
    pair: Pair,
) -> None:
    changed = pair.before
    for old, new in IN_PLACE.items():
        assert old in changed
        changed = changed.replace(old, new)
    assert (pair.begun(changed, ()), said(pair.before, changed)) == (set(), frozenset())


def test_another_bfd_starts_the_sessions_anew_that_use_it(pair: Pair) -> None:
    changed = pair.before.replace("accept direct;", "")
    users = {name for name, each in pair.trials.items() if "bfd on" in each.before[0]}
    assert pair.begun(changed, users, users) == users
    assert said(pair.before, changed) == users


def test_another_router_id_starts_all_sessions_anew(pair: Pair) -> None:
    changed = pair.before.replace("router id 10.0.0.1", "router id 10.0.0.7")
    assert pair.begun(changed, pair.trials, pair.trials) == pair.trials.keys()
    assert said(pair.before, changed) == pair.trials.keys()
