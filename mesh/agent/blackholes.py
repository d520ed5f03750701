"""Blackholes: the operator's order to discard packets for an address under attack (RTBH).

    the operator's order, verified here ──┬─► BIRD: iBGP (a reflector), upstreams
                                          └─► firewall ◄── a peer's announcement over iBGP

The firewall of every node drops packets for such an address before input and forward, from any
interface: a blackhole route has no effect on a node where the address is bound. An entry ends by
itself: in nftables by its timeout; in BIRD, and in a firewall without timeouts, because this loop
checks the time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from mesh.agent import file_paths, log
from mesh.agent.config import Config
from mesh.agent.host import CommandFailed, Host
from mesh.agent.network import LONGEST, Network
from mesh.bird.client import Bird, BirdError
from mesh.limits import MAX_BLACKHOLES
from mesh.trust.documents import Blackhole, BlackholeOrder

Address = IPv4Address | IPv6Address

TICK = 1.0
"""Seconds between two looks at the time, and at BIRD's routes."""
RECONCILE = 2.0
"""Seconds between two looks at the firewall itself, while there are blackholes."""
PEER_TIMEOUT = 30
"""Timeout in the firewall of an address that only a peer announces, in seconds: renewed while its
route exists."""
SLACK = 3
"""Seconds by which the firewall's time may differ from the order's."""
COMPLAINTS = 60.0
"""Seconds between two warnings about the same thing."""

IBGP = "mate*"
"""The names of BIRD's iBGP sessions. Their import policy depends on the forced entries, and BIRD
applies it to known routes again only on a reload."""

_TAGGED = "source = RTS_BGP && (65535, 666) ~ bgp_community"


@dataclass(frozen=True, slots=True)
class BlackholeFiles:
    """The files that BIRD includes."""

    files: tuple[tuple[str, bytes], ...]

    @staticmethod
    def of(entries: Iterable[Blackhole]) -> BlackholeFiles:
        """The routes to originate; forced ones also as ROAs, which a filter can look up."""
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
        """Whether the files have these contents."""
        return all((host.read(path) or b"") == content for path, content in self.files)

    def change_forced(self, host: Host) -> bool:
        """Whether the forced addresses differ from those in the files."""
        forced = file_paths.FORCED.values()
        return any(
            path in forced and (host.read(path) or b"") != content for path, content in self.files
        )

    def write(self, host: Host) -> None:
        """Writes the files."""
        for path, content in self.files:
            host.write(path, content, 0o644)


class Blackholes:
    """Keeps BIRD and the firewall in line with the orders in force."""

    def __init__(
        self, host: Host, bird: Bird, network: Network, changed: Callable[[], None]
    ) -> None:
        self._host, self._bird, self._network, self._changed = host, bird, network, changed
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._config: Config | None = None
        self._order: BlackholeOrder | None = None
        self._configured: BlackholeFiles | None = None
        self._needs_reload = False
        """Whether BIRD has to apply its import policy to known routes again."""
        self._from_peers: frozenset[Address] = frozenset()
        self._in_firewall: dict[Address, int] | None = None
        self._looked = 0.0
        self._complaints: dict[str, tuple[str, float]] = {}
        self.obeyed = 0
        """The number of the order that is in force here."""
        self.discarded_packets = 0
        """Packets discarded since the ruleset was loaded, as last seen."""

    # --- called by the agent -----------------------------------------------------------------

    def watch(self, config: Config) -> None:
        """Uses this configuration from now on."""
        with self._lock:
            self._config = config
        self._wake.set()

    def obey(self, order: BlackholeOrder) -> None:
        """Applies this order of the operator from now on."""
        with self._lock:
            self._order = order
        self._wake.set()

    @property
    def active(self) -> tuple[tuple[Address, Blackhole | None], ...]:
        """The addresses that the firewall discards, each with the operator's entry; None where only
        a peer announces it."""
        with self._lock:
            order = self._order
        entries = {} if order is None else {entry.address: entry for entry in order.entries}
        found = (self._in_firewall or {}).items()
        return tuple((address, entries.get(address) if until else None) for address, until in found)

    def run(self, stop: threading.Event) -> None:
        """Runs until ``stop`` is set."""
        while not stop.is_set():
            try:
                self.look()
            except Exception as error:
                # Later rounds still end entries and apply the next order.
                self._warn("blackholes", f"{type(error).__name__}: {error}")
            self._wake.wait(TICK)
            self._wake.clear()

    def look(self) -> None:
        """One round: brings the entries in force into BIRD and the firewall."""
        with self._lock:
            config, order = self._config, self._order
        if config is None:
            return  # Entries of an earlier agent stay until there is a configuration.
        now = time.time()
        entries = () if order is None else in_force(config, order, now)
        in_bird = self._configure(BlackholeFiles.of(entries), bool(entries))
        wanted = dict.fromkeys(self._announced_by_peers(config), 0)
        wanted |= {entry.address: entry.until for entry in entries}
        in_firewall = self._discard(wanted, now)
        if order is not None and in_bird and in_firewall and self.obeyed != order.number:
            log.info("blackholes", number=order.number, addresses=_names(wanted))
            self.obeyed = order.number
            self._changed()

    def _announced_by_peers(self, config: Config) -> frozenset[Address]:
        """The blackholes that BIRD has accepted from peers; those of the last look if BIRD does not
        answer."""
        try:
            found = frozenset(
                address
                for version in (4, 6)
                for address in _hosts(self._bird, f"master{version}")
                if is_owned(config, address) and address not in _served(config)
            )
        except BirdError as error:
            self._warn("bird", str(error))
            return self._from_peers
        # At most as many as an order may have.
        found = frozenset(sorted(found, key=_key)[:MAX_BLACKHOLES])
        if found != self._from_peers:
            log.info("blackholes-heard", addresses=_names(found))
        self._from_peers = found
        return found

    # --- BIRD --------------------------------------------------------------------------------

    def _configure(self, files: BlackholeFiles, news: bool) -> bool:
        """Configures BIRD; whether it runs with these files."""
        in_place = files.are_written(self._host)
        if in_place and (files == self._configured or (self._configured is None and not news)):
            self._configured = files
            return True
        if not self._bird.changing.acquire(blocking=False):
            return False
        try:
            self._needs_reload |= files.change_forced(self._host)
            files.write(self._host)
            self._bird.configure()
            if self._needs_reload:
                self._bird.reload_in(IBGP)
                self._needs_reload = False
        except BirdError as error:
            self._configured = None
            self._warn("bird", str(error))
            return False
        finally:
            self._bird.changing.release()
        self._configured = files
        return True

    # --- the firewall ------------------------------------------------------------------------

    def _discard(self, wanted: Mapping[Address, int], now: float) -> bool:
        """Updates the firewall's sets; whether they are as wanted. ``wanted`` maps an address to
        the second when its entry ends, and to 0 if only a peer announces it."""
        recent = not wanted or time.monotonic() - self._looked < RECONCILE
        if wanted == self._in_firewall and recent:
            return True
        held = self._read()
        if held is None:
            self._in_firewall = {}
            return not wanted
        remove = [str(address) for address in held if address not in wanted]
        add: dict[str, int] = {}
        for address, until in wanted.items():
            left = held.get(address)
            # With a wrong clock the time left may exceed the firewall's range.
            seconds = min(max(1, round(until - now)), LONGEST) if until else PEER_TIMEOUT
            if left is not None:
                if abs(left - seconds) <= SLACK if until else left > PEER_TIMEOUT // 2:
                    continue
                remove.append(str(address))
            add[str(address)] = seconds
        if add or remove:
            refusal = self._network.discard(add, remove)
            if refusal:
                self._warn("firewall", refusal)
                return False
        self._looked, self._in_firewall = time.monotonic(), dict(wanted)
        return True

    def _read(self) -> dict[Address, int] | None:
        """The addresses that the firewall discards, with the seconds left; None if it has no place
        for them."""
        try:
            found = self._network.discarded()
        except CommandFailed as error:
            self._warn("firewall", str(error))
            return None
        self.discarded_packets = found.packets
        return {ip_address(address): seconds for address, seconds in found.left.items()}

    def _warn(self, what: str, reason: str) -> None:
        """Logs a reason once; another one after COMPLAINTS, since it may contain a time or a
        number that changes every second."""
        last, when = self._complaints.get(what, ("", -COMPLAINTS))
        now = time.monotonic()
        if last != reason and now - when >= COMPLAINTS:
            self._complaints[what] = (reason, now)
            log.warning("blackholes", where=what, reason=reason[:500])


def in_force(config: Config, order: BlackholeOrder, now: float) -> tuple[Blackhole, ...]:
    """The entries to apply: addresses of the network, and a service's address only if forced."""
    served = _served(config)
    return tuple(
        entry
        for entry in order.in_force(now)
        if is_owned(config, entry.address) and (entry.forced or entry.address not in served)
    )


def is_owned(config: Config, address: Address) -> bool:
    """Whether one of the network's aggregates contains the address."""
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


def _host(address: Address) -> str:
    return f"{address}/{address.max_prefixlen}"


def _key(address: Address) -> tuple[int, int]:
    return address.version, int(address)


def _names(addresses: Iterable[Address]) -> str:
    return ", ".join(str(address) for address in sorted(addresses, key=_key)) or "none"
