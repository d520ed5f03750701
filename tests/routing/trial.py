"""A trial of routes: an edge that takes them from its upstream, and what it makes of each.

The edges are those of one network, one for each kind of session that a stack file can ask for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mesh.operating_systems import OperatingSystem
from tests.kit.bgp.attributes import Route
from tests.kit.bgp.log import Log
from tests.kit.bgp.messages import PEER, PROVIDER, ROUTE_SERVER, capabilities
from tests.kit.bgp.speaker import Speaker
from tests.kit.edge.uplink import PASSWORD, Edge, edge
from tests.kit.stacks import HOST_KEY, prod
from tests.kit.systems import DEBIAN
from tests.kit.wait import patience, until
from tests.routing import oracle
from tests.routing.control import Control, Held

FULL, DEFAULT, NONE = "lax-vultr-1", "ord-vultr-1", "mia-vultr-1"
PROVIDED, PEERED, SERVED = "ewr-buyvm-1", "ewr-buyvm-2", "ewr-ovh-1"
LANS = ["80.249.208.0/21", "2001:7f8:1::/64"]  # AMS-IX
OWN_ASN, VULTR, BUYVM = 27218, 64515, 53667
ON_LINK = {"ipv4": "203.0.113.253", "ipv6": "2001:db8::fffe"}
ROLES = {"provider": PROVIDER, "peer": PEER, "routeServer": ROUTE_SERVER}


def network(**routing: Any) -> dict[str, Any]:
    """The seed's network: at Vultr a node takes a full table, one the default route, one nothing;
    three hosts have a provider, a peer and a route server on their own link."""
    values = prod()
    values["routing"] = {"import": "full", "ixpLans": LANS, **routing}
    values["nodes"][DEFAULT]["import"] = "default"
    values["nodes"][NONE]["import"] = "none"
    slots = values["regions"]["ewr"]["slots"]
    del slots["aws-1"], slots["gcp-1"]
    for number, (node, role) in enumerate(zip((PROVIDED, PEERED, SERVED), ROLES, strict=True)):
        slots[node.removeprefix("ewr-")] = f"192.30.120.{19 + number}"
        values["nodes"][node] = {"number": 7 + number, "host": _host(7 + number, role)}
    return values


def _host(number: int, role: str) -> dict[str, Any]:
    return {
        "ipv4": f"203.0.113.{number}",
        "ipv6": f"2001:db8::{number}",
        "ssh": {"hostKeys": [HOST_KEY]},
        "upstream": {"peerAsn": BUYVM, **ON_LINK, "password": True, "role": role},
    }


def told(log: Log) -> bool:
    """Whether the edge has said that it has announced all, and has announced something: what BIRD
    is told as its session begins may come after that word."""
    ended = any(update.end_of is not None for update in log.updates())
    return ended and bool(log.routes())


@dataclass(frozen=True)
class Verdict:
    """What BIRD made of a route: taken, refused for numbered reasons, or not even judged."""

    held: Held | None
    reasons: tuple[int, ...] = ()

    @property
    def taken(self) -> bool:
        """Whether it is in use."""
        return self.held is not None and not self.reasons


@dataclass
class Trial:
    """An edge with its upstream's sessions, those that were asked for, by family."""

    version: str
    edge: Edge
    speakers: dict[int, Speaker] = field(default_factory=dict)

    @cached_property
    def control(self) -> Control:
        """BIRD's routes."""
        return Control(self.edge.bird)

    def session(self, family: int) -> oracle.Session:
        """What there is to know of a session for who judges its routes."""
        planned = self.edge.session(f"ipv{family}")
        prefixes = self.edge.plan.prefixes
        return oracle.Session(
            asn=self.edge.plan.asn,
            own=prefixes.both(),
            lans=self.edge.plan.ixp_lans,
            peer=planned.peer_asn,
            address=str(planned.neighbor),
            take=planned.imports.take,
            role=planned.role,
            direct=planned.multihop is None,
        )

    def protocol(self, family: int) -> str:
        """BIRD's name of the session."""
        return self.edge.session(f"ipv{family}").name

    def speaker(self, family: int) -> Speaker:
        """The upstream of a family, its session up and all told that there is to tell."""
        if family not in self.speakers:
            role = ROLES[self.edge.session(f"ipv{family}").role]
            speaker = self.speakers[family] = self.edge.upstream(f"ipv{family}", role=role)
            speaker.log.wait(told, 20, "the end of what the edge announces")
        return self.speakers[family]

    def stranger(self, family: int, **said: Any) -> Speaker:
        """Somebody in the upstream's place with other capabilities, not connected yet."""
        planned = self.edge.session(f"ipv{family}")
        return Speaker(
            planned.peer_asn,
            self.edge.node.router_id + 100,
            said=capabilities(planned.peer_asn, families=(family,), **said),
            password=PASSWORD,
            namespace=self.edge.world,
        )

    def call(self, speaker: Speaker, family: int) -> None:
        """Connect a speaker in the upstream's place, whatever comes of it."""
        name = f"ipv{family}"
        planned = self.edge.session(name)
        speaker.connect(str(planned.neighbor), self.edge.addresses[name])

    def say(self, family: int, routes: Iterable[Route]) -> None:
        """Announce routes, and wait until all are judged."""
        self.speaker(family).announce(*routes)
        self.heard(family)

    def take_back(self, family: int, prefixes: Iterable[str]) -> None:
        """Withdraw, and wait until that is done."""
        self.speaker(family).withdraw(*prefixes)
        self.heard(family)

    def heard(self, family: int) -> None:
        """Wait until all that was said has been read: what is asked last is answered last."""
        speaker = self.speaker(family)
        seen = len(speaker.log.updates())
        speaker.refresh(family)
        end = time.monotonic() + patience(20)
        while len(speaker.log.updates()) <= seen:
            assert time.monotonic() < end, f"the refresh is not answered\n{speaker.log}"
            # BIRD 2.0 puts its answer off until something else happens.
            self.control.ask("show status")
            time.sleep(0.002)

    def verdicts(self, family: int) -> dict[str, Verdict]:
        """All that the edge holds of that session, by prefix."""
        table, ours = f"internet{family}", self.protocol(family)
        found: dict[str, Verdict] = {}
        for held in self.control.routes(table):
            if held.session == ours:
                found[held.prefix] = Verdict(held)
        for held in self.control.routes(table, "filtered"):
            if held.session == ours:
                assert held.prefix not in found, f"{held} is taken as well"
                marks = tuple(n for asn, mark, n in held.large if (asn, mark) == (OWN_ASN, 65666))
                found[held.prefix] = Verdict(held, marks)
        return found

    def log(self) -> str:
        """All that BIRD has logged so far."""
        return self.edge.log()

    def reasons(self) -> dict[int, str]:
        """The names of the reasons, as the node's own reasons.conf defines them."""
        text = (self.edge.folder / "upper/etc/bird/mesh/reasons.conf").read_text()
        pairs = re.findall(r"^define (\w+) = (\d+);", text, re.MULTILINE)
        return {int(number): name for name, number in pairs if name != "REJECTED"}

    def logged(self, pattern: str, seconds: float = 5) -> None:
        """Wait for a line of BIRD's log."""
        until(lambda: re.search(pattern, self.log(), re.MULTILINE), seconds, f"a line {pattern}")


@contextmanager
def trial(
    version: str,
    node_id: str,
    values: dict[str, Any] | None = None,
    system: OperatingSystem = DEBIAN,
) -> Iterator[Trial]:
    """An edge with that BIRD, in service, with the files of that system."""
    keys = network() if values is None else values
    with ExitStack() as stack:
        made = stack.enter_context(edge(keys, node_id, version=version, system=system))
        found = Trial(version, made)

        def close() -> None:
            for speaker in found.speakers.values():
                speaker.close()

        stack.callback(close)
        yield found
