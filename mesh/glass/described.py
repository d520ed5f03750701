"""BIRD's routes in the words of the plan: peers, nodes, communities, and why each is used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from mesh.glass import words
from mesh.glass.answers import Route, Validity
from mesh.glass.choice import lost
from mesh.glass.network import Network, Node
from mesh.glass.parsing import Found

MAX_TEXT, MAX_PATH, MAX_COMMUNITIES = 400, 1024, 512
BLACKHOLE = "65535:666"
_PACKETS = "packets to the Internet leave by the system's default route all the same"


@dataclass(frozen=True)
class Describing:
    """Describes what ``here``, a node of the network, has in its BIRD."""

    network: Network
    here: Node

    def accepted(self, found: Sequence[Found], table: str) -> list[Route]:
        """The accepted routes of one table, the best of each prefix first."""
        ordered = sorted(found, key=lambda each: not each.best)
        described: list[Route] = []
        for prefix in dict.fromkeys(each.prefix for each in found):
            alike = [each for each in ordered if each.prefix == prefix]
            described += [self._route(each, table, *self._why(each, alike)) for each in alike]
        return described

    def refused(self, found: Iterable[Found], table: str) -> list[Route]:
        """The refused routes of one table, with their reasons."""
        return [self._route(each, table, False, "", self.reason(each)) for each in found]

    def reason(self, found: Found) -> str:
        """Why a route was refused."""
        mark = f"{self.network.asn}:{words.REJECTED}:"
        numbers = [each.removeprefix(mark) for each in found.communities if each.startswith(mark)]
        known = [int(number) for number in numbers if number.isdigit()]
        return words.reason(known[0]) if known else words.UNMARKED

    def _why(self, found: Found, alike: Sequence[Found]) -> tuple[bool, str]:
        """Whether traffic takes it, and why."""
        best = alike[0]
        kind, _ = words.source(found.session, self.here, self.network)
        if not best.best:
            return False, "no route of this prefix can be used"
        if found is not best:
            return False, lost(found, best, kind)
        others = [each for each in alike if each is not best]
        over = f": the others have {lost(others[0], best, kind)}" if others else ", the only one"
        return self._best(found, kind, over)

    def _best(self, found: Found, kind: words.Kind, over: str) -> tuple[bool, str]:
        if found.table.startswith("internet"):
            if kind == "static":
                return False, "ours: upstreams are told of it from here"
            return False, f"the best here{over}; {_PACKETS}"
        if BLACKHOLE in found.communities:
            return False, "a blackhole: firewalls discard what is sent there, and no route does"
        if found.dest == "unreachable":
            return False, f"the best{over}; its next hop is not reached"
        if kind == "device":
            return True, "an address of this node"
        if found.dest == "blackhole":
            return True, "what nobody holds of this prefix is dropped here"
        return True, f"the best{over}"

    def _route(
        self, found: Found, table: str, used: bool, why: str, refused: str | None = None
    ) -> Route:
        kind, peer = words.source(found.session, self.here, self.network)
        path = found.path[:MAX_PATH]
        nodes = [self.network.by_asn[a].id if a in self.network.by_asn else "" for a in path]
        hop = found.next_hop or found.gateway
        communities = found.communities[:MAX_COMMUNITIES]
        return Route(
            prefix=found.prefix[:MAX_TEXT],
            table=(table or found.table)[:MAX_TEXT],
            session=found.session[:MAX_TEXT],
            kind=kind,
            peer=peer,
            used=used,
            why=why[:MAX_TEXT],
            refused=refused,
            since=found.since,
            path=path,
            nodes=tuple(nodes) if any(nodes) else (),
            origin=found.origin,
            next_hop=hop[:MAX_TEXT],
            node=peer if kind == "tunnel" else self._node(hop),
            interface=found.interface[:MAX_TEXT],
            local_pref=found.local_pref,
            med=found.number("med"),
            communities=tuple(
                words.community(each[:MAX_TEXT], self.network) for each in communities
            ),
        )

    def _node(self, hop: str) -> str:
        try:
            node = self.network.by_address.get(ip_address(hop))
        except ValueError:
            return ""
        return "" if node is None else node.id


def validity(valid: bool, invalid: bool) -> Validity:
    """The state of a route by two questions to BIRD."""
    if valid:
        return "valid"
    return "invalid" if invalid else "unknown"
