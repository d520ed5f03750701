"""An OpenBSD kernel's network, by ifconfig(8), route(8), netstat(1) and pfctl(8).

The addresses of services are always bound. What the node serves is in a table of pf, whose packets
end here while all others are forwarded, and in a file of BIRD, which originates it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from mesh.agent.host import CommandFailed, Host
from mesh.agent.network import ENDLESS, Discards, Uplink
from mesh.agent.openbsd import texts
from mesh.bird.client import Bird, BirdError, NotRunning
from mesh.bird.constants import served
from mesh.bird.questions import prefixes
from mesh.foreign import is_address

SERVED = "/run/anycast-mesh/bird/served.conf"
"""What BIRD originates: reset, as the announce state, whenever BIRD starts."""
CONSTANTS = ("SERVED4", "SERVED6")
SERVED_TABLE = "mesh_served"
DISCARD_TABLES = {4: "mesh_discard4", 6: "mesh_discard6"}
_ANSWER = 2.0
"""Seconds for BIRD's answer about what it originates."""
_TAKES = 1.0
"""Seconds that BIRD may take from a reconfiguration until it runs with it."""
_RTABLES = ("0", "1")
"""The routing tables that BIRD fills: that of the node, and that of what other nodes serve."""
_PREFIX = re.compile(r"([0-9a-f.:]+)/[0-9]+")


@dataclass(slots=True)
class OpenBsdNetwork:
    """The network of one node."""

    host: Host
    bird: Bird
    always: str = "lo1"
    _wanted: frozenset[str] | None = field(default=None, init=False)
    """What is served by this agent; None before it has served anything."""
    _ends: dict[str, float] = field(default_factory=dict, init=False)
    """When each address is to be discarded no more (monotonic seconds): pf has no such times. Who
    asks for the addresses removes them; after a restart each counts as one without an end."""

    # --- interfaces and routes ---------------------------------------------------------------

    def uplink(self, version: int) -> Uplink | None:
        """By the default route that the kernel takes."""
        family = "-inet6" if version == 6 else "-inet"
        shown = self.host.run("route", "-n", "get", family, "default")
        route = texts.route(shown.out) if shown.code == 0 else {}
        interface = route.get("interface")
        if interface is None:
            return None
        address = self._main_address(interface, version, route.get("if address", ""))
        if address is None:
            return None
        gateway = route.get("gateway", "").partition("%")[0]
        return Uplink(interface, address, gateway if is_address(gateway) else None)

    def mtu(self, interface: str) -> int | None:
        """By ``ifconfig``."""
        shown = self.host.run("ifconfig", interface)
        return texts.mtu(shown.out) if shown.code == 0 else None

    def has_wireguard(self) -> bool:
        """Every kernel since OpenBSD 6.8 has it, wg(4)."""
        return True

    def addresses(self, interface: str) -> frozenset[str] | None:
        """By ``ifconfig``."""
        shown = self.host.run("ifconfig", interface)
        if shown.code != 0 and "no such interface" in shown.err:
            return None
        if shown.code != 0:
            raise CommandFailed(f"ifconfig: {shown.why()}")
        return frozenset(one.address for one in texts.addresses(shown.out) if not one.is_link_local)

    def tunnel_routes(self) -> frozenset[str]:
        """Those of both tables. A failed command does not mean that there are no routes."""
        shown = (self.host.must("netstat", "-rn", "-T", table) for table in _RTABLES)
        return frozenset(one for text in shown for one in texts.tunnel_routes(text))

    def _main_address(self, interface: str, version: int, preferred: str) -> str | None:
        shown = self.host.run("ifconfig", interface)
        found = [
            one.address
            for one in (texts.addresses(shown.out) if shown.code == 0 else ())
            if one.is_main and ip_address(one.address).version == version
        ]
        return preferred if preferred in found else next(iter(found), None)

    # --- what is served ----------------------------------------------------------------------

    def served(self, interface: str) -> frozenset[str] | None:
        """What pf and BIRD both have, and what others have added to pf's table; None while pf has
        no such table. A start of BIRD resets its part, and is nobody's change: BIRD is told again
        what this agent serves."""
        table = self._table(SERVED_TABLE)
        if table is None:
            return None
        originated, wanted = self._originated(), self._wanted
        if wanted is not None and originated != wanted:
            self._tell(wanted)
            originated = self._originated()
        return table & originated if wanted is None else table - (wanted - originated)

    def serve(self, interface: str, add: Collection[str], remove: Collection[str]) -> str:
        """Tells pf first: a packet that comes before BIRD has withdrawn an address is forwarded."""
        before = self._written() if self._wanted is None else self._wanted
        self._wanted = wanted = (before | set(add)) - set(remove)
        refusals = (self._replace(SERVED_TABLE, wanted), self._tell(wanted))
        return "; ".join(one for one in refusals if one)

    def named(self, address: str, interface: str) -> str:
        """By pf's table: it is bound whether it is served or not."""
        return f"address {address} in pf's table {SERVED_TABLE}"

    def end_service(self) -> None:
        """Empties BIRD's file and the tables of pf."""
        self._wanted = frozenset()
        refusals = [self._tell(frozenset())]
        for table in (SERVED_TABLE, *DISCARD_TABLES.values()):
            if self._table(table):
                refusals.append(self._replace(table, frozenset()))
        if failed := "; ".join(one for one in refusals if one):
            raise CommandFailed(failed)

    def _written(self) -> frozenset[str]:
        """What BIRD's file has."""
        text = (self.host.read(SERVED) or b"").decode("utf-8", "replace")
        return _somebodys(_PREFIX.findall(text))

    def _originated(self) -> frozenset[str]:
        """What BIRD originates. One that does not run, or does not answer, may by its file."""
        try:
            with self.bird.asking(_ANSWER) as ask:
                sets = [prefixes(ask, name) for name in CONSTANTS]
            return _somebodys(str(one.network_address) for found in sets for one in found)
        except BirdError:
            return self._written()

    def _tell(self, wanted: frozenset[str]) -> str:
        """Has BIRD originate these addresses; why it does not, or empty. One that does not run
        resets the file when it starts."""
        content = served_file(wanted)
        if self.host.read(SERVED) != content:
            self.host.write(SERVED, content, 0o644)
        if not self.bird.changing.acquire(blocking=False):
            return "bird: is configured by others at the moment"
        try:
            self.bird.configure()
        except NotRunning:
            return ""
        except BirdError as error:
            return str(error)
        finally:
            self.bird.changing.release()
        return self._taken(wanted)

    def _taken(self, wanted: frozenset[str]) -> str:
        """Why BIRD does not run with this; it may have queued the reconfiguration."""
        end = time.monotonic() + _TAKES
        while self._originated() != wanted:
            if time.monotonic() > end:
                return "bird: has read it, and originates other addresses"
            time.sleep(0.02)
        return ""

    # --- what is discarded -------------------------------------------------------------------

    def discarded(self) -> Discards:
        """The addresses in pf's tables."""
        found: set[str] = set()
        for name in DISCARD_TABLES.values():
            held = self._table(name)
            if held is None:
                raise CommandFailed(f"pfctl: there is no table {name}")
            found |= held
        now = time.monotonic()
        left = {
            address: round(self._ends[address] - now) if address in self._ends else ENDLESS
            for address in sorted(found)
        }
        packets = texts.dropped(self.host.must("pfctl", "-v", "-sr")) if found else 0
        return Discards(left, packets)

    def discard(self, add: Mapping[str, int], remove: Collection[str]) -> str:
        """Table by table, and reads what pf has then."""
        now = time.monotonic()
        refusals: list[str] = []
        for version, name in DISCARD_TABLES.items():
            own = {one for one in add if ip_address(one).version == version}
            gone = {one for one in remove if ip_address(one).version == version} - own
            if own or gone:
                before = self._table(name) or frozenset()
                refusals.append(self._replace(name, (before | own) - gone))
        for address in remove:
            self._ends.pop(address, None)
        self._ends |= {address: now + seconds for address, seconds in add.items()}
        return "; ".join(one for one in refusals if one)

    # --- pf ----------------------------------------------------------------------------------

    def _table(self, name: str) -> frozenset[str] | None:
        """The addresses of a table; None if it does not exist."""
        shown = self.host.run("pfctl", "-t", name, "-T", "show")
        if shown.code != 0 and "Table does not exist" in shown.err:
            return None
        if shown.code != 0:
            raise CommandFailed(f"pfctl: {shown.why()}")
        return texts.table(shown.out)

    def _replace(self, name: str, wanted: frozenset[str] | set[str]) -> str:
        """Fills a table, and reads it; why it has other addresses, or empty. It has to exist: pfctl
        would make one that no rule refers to."""
        if self._table(name) is None:
            return f"pfctl: there is no table {name}"
        lines = "".join(f"{address}\n" for address in sorted(wanted))
        command = ("pfctl", "-q", "-t", name, "-T", "replace", "-f", "-")
        done = self.host.run(*command, given=lines)
        if self._table(name) == wanted:
            return ""
        return f"pfctl: table {name} was not filled: {done.why()}"


def served_file(addresses: Iterable[str]) -> bytes:
    """BIRD's file of what this node originates."""
    return served(map(ip_address, addresses)).encode()


def _somebodys(addresses: Iterable[str]) -> frozenset[str]:
    """Without those that stand for nobody, in a set of BIRD that has no other."""
    return frozenset(one for one in addresses if not ip_address(one).is_unspecified)
