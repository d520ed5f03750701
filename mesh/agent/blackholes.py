"""Blackholes: addresses of ours that the operator has given up for a while, so that the rest lives.

    the operator's order, verified here ──┬─► BIRD: iBGP (a reflector), upstreams
                                          └─► firewall ◄── a peer's order, heard over iBGP

What is for such an address is dropped by the firewall, before input and forward, on every node and
whichever way it came in: a blackhole route is not asked where the address is bound. An edge drops
it at the door; who has not heard yet forwards it to one who has. An entry ends by itself: in the
firewall by its timeout, in BIRD because this loop looks at the clock.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from mesh.agent import file_paths, log
from mesh.agent.config import Config
from mesh.agent.host import Host
from mesh.bird.client import Bird, BirdError
from mesh.limits import MAX_BLACKHOLES
from mesh.trust.documents import Blackhole, BlackholeOrder

Address = IPv4Address | IPv6Address

TICK = 1.0
"""Seconds between two looks at the clock, and at what BIRD has heard."""
RECONCILE = 2.0
"""Seconds between two looks at the firewall itself, while something is to be discarded."""
HEARD = 30
"""Seconds for which an address stays in the firewall that only BIRD knows of: it is put in again
while its route is there, and taken out with it."""
SLACK = 3
"""Seconds by which the firewall's time may differ from the order's."""
LONGEST = 7 * 86400
"""Seconds that an element stays at most, unless it is put in again; no order is for longer."""
ENDLESS = -LONGEST
"""Seconds left of an element without a time: far from all that may be wanted, so that one which is
wanted is put in again with its time."""
COMPLAINTS = 60.0
"""Seconds until something is complained of again, in whatever words."""

IBGP = "mate*"
"""The names of BIRD's iBGP sessions. Their import filter asks whether the operator insists, and
BIRD judges a route again only where it is asked to."""

TABLE = "inet mesh_discard"
SETS = {4: "addresses4", 6: "addresses6"}
_TAGGED = "source = RTS_BGP && (65535, 666) ~ bgp_community"


@dataclass(frozen=True, slots=True)
class BlackholeFiles:
    """What BIRD is told, by the files that it includes."""

    files: tuple[tuple[str, bytes], ...]

    @staticmethod
    def of(entries: Iterable[Blackhole]) -> BlackholeFiles:
        """The routes to originate; and where the operator insists, the same as ROAs, which is
        what a filter can ask."""
        held = sorted(entries, key=lambda entry: _key(entry.address))
        lines: dict[str, list[str]] = {}
        for version in (4, 6):
            own = [entry for entry in held if entry.address.version == version]
            lines[file_paths.ORDERS[version]] = [
                f"route {_host(entry.address)} blackhole;\n" for entry in own
            ]
            lines[file_paths.FORCED[version]] = [
                f"route {_host(entry.address)} max {entry.address.max_prefixlen} as 0;\n"
                for entry in own
                if entry.forced
            ]
        return BlackholeFiles(tuple((path, "".join(text).encode()) for path, text in lines.items()))

    def are_written(self, host: Host) -> bool:
        """Whether the files say so already."""
        return all((host.read(path) or b"") == content for path, content in self.files)

    def change_forced(self, host: Host) -> bool:
        """Whether the operator insists on other addresses than the files say."""
        forced = file_paths.FORCED.values()
        return any(
            path in forced and (host.read(path) or b"") != content for path, content in self.files
        )

    def write(self, host: Host) -> None:
        """Writes them."""
        for path, content in self.files:
            host.write(path, content, 0o644)


class Blackholes:
    """Keeps BIRD and the firewall in line with the orders in force."""

    def __init__(self, host: Host, bird: Bird, changed: Callable[[], None]) -> None:
        self._host, self._bird, self._changed = host, bird, changed
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._config: Config | None = None
        self._order: BlackholeOrder | None = None
        self._told: BlackholeFiles | None = None
        self._asks_again = False
        """Whether BIRD is yet to judge again what its peers have said."""
        self._heard: frozenset[Address] = frozenset()
        self._in_firewall: dict[Address, int] | None = None
        self._looked = 0.0
        self._complaints: dict[str, tuple[str, float]] = {}
        self.obeyed = 0
        """The number of the order that is in force here."""

    # --- what others call --------------------------------------------------------------------

    def watch(self, config: Config) -> None:
        """From now on these addresses are the network's."""
        with self._lock:
            self._config = config
        self._wake.set()

    def obey(self, order: BlackholeOrder) -> None:
        """This is the operator's order from now on."""
        with self._lock:
            self._order = order
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Looks after them until told to stop."""
        while not stop.is_set():
            try:
                self.look()
            except Exception as error:
                # Whatever it is: an entry must end all the same, and the next order be obeyed.
                self._complain("blackholes", f"{type(error).__name__}: {error}")
            self._wake.wait(TICK)
            self._wake.clear()

    def look(self) -> None:
        """One look: what is in force now, to BIRD and into the firewall."""
        with self._lock:
            config, order = self._config, self._order
        if config is None:
            return  # What an agent before us has put there stays until we know more.
        now = time.time()
        entries = () if order is None else in_force(config, order, now)
        told = self._tell(BlackholeFiles.of(entries), bool(entries))
        wanted = dict.fromkeys(self._ask(config), 0)
        wanted |= {entry.address: entry.until for entry in entries}
        kept = self._discard(wanted, now)
        if order is not None and told and kept and self.obeyed != order.number:
            log.info("blackholes", number=order.number, addresses=_names(wanted))
            self.obeyed = order.number
            self._changed()

    def _ask(self, config: Config) -> frozenset[Address]:
        """What the peers say is discarded, as far as BIRD has believed them. Who cannot be asked
        has said nothing new."""
        try:
            found = frozenset(
                address
                for version in (4, 6)
                for address in _hosts(self._bird, f"master{version}")
                if is_owned(config, address) and address not in _served(config)
            )
        except BirdError as error:
            self._complain("bird", str(error))
            return self._heard
        # No more than an operator may order, whoever sends them.
        found = frozenset(sorted(found, key=_key)[:MAX_BLACKHOLES])
        if found != self._heard:
            log.info("blackholes-heard", addresses=_names(found))
        self._heard = found
        return found

    # --- BIRD --------------------------------------------------------------------------------

    def _tell(self, files: BlackholeFiles, news: bool) -> bool:
        """Tells BIRD; whether it knows now."""
        in_place = files.are_written(self._host)
        if in_place and (files == self._told or (self._told is None and not news)):
            self._told = files
            return True
        # An undo timer that is running would be ended by our `configure`.
        if not self._bird.changing.acquire(blocking=False):
            return False
        try:
            self._asks_again |= files.change_forced(self._host)
            files.write(self._host)
            self._bird.configure()
            if self._asks_again:
                self._bird.reload_in(IBGP)
                self._asks_again = False
        except BirdError as error:
            self._told = None
            self._complain("bird", str(error))
            return False
        finally:
            self._bird.changing.release()
        self._told = files
        return True

    # --- the firewall ------------------------------------------------------------------------

    def _discard(self, wanted: Mapping[Address, int], now: float) -> bool:
        """Brings the firewall's sets in line; whether they are. ``wanted`` maps an address to the
        second when its order ends, to 0 where only a peer has said so."""
        recent = not wanted or time.monotonic() - self._looked < RECONCILE
        if wanted == self._in_firewall and recent:
            return True
        held = self._read()
        if held is None:
            self._in_firewall = {}
            return not wanted
        lines = [_element("delete", address) for address in held if address not in wanted]
        for address, until in wanted.items():
            left = held.get(address)
            # By a clock that is wrong there may be more left than nft can count.
            seconds = min(max(1, round(until - now)), LONGEST) if until else HEARD
            if left is not None:
                if abs(left - seconds) <= SLACK if until else left > HEARD // 2:
                    continue
                # The time of an element that is there is not changed by adding it again.
                lines.append(_element("delete", address))
            lines.append(_element("add", address, seconds))
        if lines:
            done = self._host.run("nft", "-f", "-", given="\n".join(lines) + "\n")
            if done.code != 0:
                self._complain("firewall", done.why())
                return False
        self._looked, self._in_firewall = time.monotonic(), dict(wanted)
        return True

    def _read(self) -> dict[Address, int] | None:
        """What the sets hold, and for how many seconds more; None where they are not there."""
        done = self._host.run("nft", "-j", "list", "table", *TABLE.split())
        if done.code != 0:
            self._complain("firewall", done.why())
            return None
        found: dict[Address, int] = {}
        for entry in json.loads(done.out).get("nftables", []):
            for element in entry.get("set", {}).get("elem", []):
                address, seconds = _held(element)
                if address is not None:
                    found[address] = seconds
        return found

    def _complain(self, what: str, reason: str) -> None:
        """Once for each reason: the next look is a second away. Words that change with every
        look (a time, a number) are told once in a while."""
        told, when = self._complaints.get(what, ("", -COMPLAINTS))
        now = time.monotonic()
        if told != reason and now - when >= COMPLAINTS:
            self._complaints[what] = (reason, now)
            log.warning("blackholes", where=what, reason=reason[:500])


def in_force(config: Config, order: BlackholeOrder, now: float) -> tuple[Blackhole, ...]:
    """The entries to obey: whatever was signed, an address that is not ours is none of our
    business, and one that a service has is not given up by mistake."""
    served = _served(config)
    return tuple(
        entry
        for entry in order.in_force(now)
        if is_owned(config, entry.address) and (entry.forced or entry.address not in served)
    )


def is_owned(config: Config, address: Address) -> bool:
    """Whether the network owns that address: one of its aggregates has it."""
    return any(
        network.version == address.version and address in network for network in config.aggregates
    )


def _served(config: Config) -> frozenset[Address]:
    return frozenset(address for service in config.services for address in service.addresses)


def _hosts(bird: Bird, table: str) -> list[Address]:
    """The host routes of a table that carry the community BLACKHOLE (RFC 7999)."""
    reply = bird.ask(f"show route table {table} where {_TAGGED}")
    if reply.error is not None:
        raise BirdError(f"bird: {reply.error}")
    found: list[Address] = []
    for code, text in reply.lines:
        first = text.split(maxsplit=1)[:1]
        # Further routes of the same prefix begin with a space.
        if code != 1007 or not first or text[:1].isspace():
            continue
        try:
            network = ip_network(first[0])
        except ValueError:
            continue
        if network.prefixlen == network.max_prefixlen:
            found.append(network.network_address)
    return found


def _held(element: object) -> tuple[Address | None, int]:
    """An element as nft lists it, and its seconds: one with a time is an object of its own; one
    without, which an administrator has put in by hand, is the bare value."""
    inner = element.get("elem") if isinstance(element, dict) else {"val": element}
    value = inner.get("val") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not isinstance(value, str):
        return None, ENDLESS  # A range or a prefix: none of ours.
    return ip_address(value), int(inner.get("expires", ENDLESS))


def _element(verb: str, address: Address, seconds: int | None = None) -> str:
    time_ = "" if seconds is None else f" timeout {seconds}s"
    return f"{verb} element {TABLE} {SETS[address.version]} {{ {address}{time_} }}"


def _host(address: Address) -> str:
    return f"{address}/{address.max_prefixlen}"


def _key(address: Address) -> tuple[int, int]:
    return address.version, int(address)


def _names(addresses: Iterable[Address]) -> str:
    return ", ".join(str(address) for address in sorted(addresses, key=_key)) or "none"
