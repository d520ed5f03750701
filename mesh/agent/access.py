"""Who may log in to the node before and after a change.

A change *narrows* access if a client that reached a port of sshd through the firewall no longer
does, or if a setting of sshd changes for somebody who may log in. Added networks and ports narrow
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import collapse_addresses, summarize_address_range
from itertools import pairwise
from typing import Protocol

from mesh.agent import log
from mesh.agent.daemons.kind import FileChange
from mesh.agent.host import CommandFailed, Host
from mesh.agent.ruleset import Address, Network
from mesh.agent.sshd import MAX_USERS, QUIET, Effective, User, asking, has_key, users
from mesh.agent.stage import Stage

MAX_PLACES = 6
"""How many networks are tested, each with one of its addresses: each takes a run of sshd for each
user."""
_SSH = "/etc/ssh/"

Ask = Callable[[str, Address | None], Effective]


class Rules(Protocol):
    """The rules of a firewall, as far as new connections to sshd are concerned."""

    @property
    def rules(self) -> frozenset[str]:
        """The texts of all rules."""
        ...

    def admits(self, source: Address, port: int, familiar: frozenset[str] = frozenset()) -> bool:
        """Whether a packet from ``source`` is accepted at that port. ``familiar`` are the rules of
        those that these are compared with."""
        ...

    def named(self, ports: Iterable[int]) -> frozenset[Network]:
        """The source networks of rules that accept one of these ports; all addresses for a rule
        without a source."""
        ...

    def refused(self) -> frozenset[Network]:
        """The source networks in rules that refuse."""
        ...


@dataclass(frozen=True, slots=True)
class LoginAccess:
    """The firewall and sshd, before or after a change."""

    ruleset: Rules
    sshd: Ask

    @property
    def ports(self) -> frozenset[int]:
        """The ports of sshd."""
        return self.sshd("root", None).ports


@dataclass(frozen=True, slots=True)
class Access:
    """The ways in to one node: the file of its firewall, how its rules are ``read`` from a path
    (which raises :class:`CommandFailed`), and the unit of sshd."""

    host: Host
    firewall: str
    read: Callable[[Host, str], Rules]
    unit: str

    def narrowed(self, stage: Stage, changes: Sequence[FileChange]) -> tuple[str, ...]:
        """The access that the staged changes take away, as text for the operator. Raises
        :class:`CommandFailed` if nobody could log in any more."""
        host = self.host
        firewall = next((c for c in changes if c.path == self.firewall), None)
        files = [change for change in changes if change.path.startswith(_SSH)]
        if firewall is None and not files:
            return ()
        try:
            before = self._now()
            ports = before.ports
            people = _people(host, before) if files else []
        except CommandFailed as error:
            # What is in force cannot be read, so nothing can be compared with it.
            log.warning("access", reason=error)
            return ()
        if not ports:
            return ()
        staged = stage.path(self.firewall)
        after = LoginAccess(
            before.ruleset if firewall is None else self.read(host, staged),
            _asker(lambda *c: _staged(stage, *c)) if files else before.sshd,
        )
        places = _places(before, after)
        came = _reached(before, places)
        if not came:
            return ()
        _refuse_closed(host, before, after, came, _reached(after, places), people)
        return tuple(lost(before, after, came[:MAX_PLACES], people))

    def admits(self, source: Address) -> bool:
        """Whether the files in place admit this source to a port of sshd."""
        now = self._now()
        return any(now.ruleset.admits(source, port) for port in now.ports)

    def permitted(self) -> tuple[tuple[Network, ...], tuple[int, ...], str]:
        """By the files in place: the networks that reach a port of sshd, those ports, and a user
        who may log in."""
        now = self._now()
        ports = [port for port in sorted(now.ports) if now.ruleset.named([port])]
        networks = _sorted(now.ruleset.named(ports))
        user = next(
            (
                user.name
                for user in _people(self.host, now)
                if any(_lets_in(self.host, now, [network[0]], [user]) for network in networks)
            ),
            "root",
        )
        return tuple(networks), tuple(ports), user

    def _now(self) -> LoginAccess:
        rules = self.read(self.host, self.firewall)
        return LoginAccess(rules, _asker(lambda *c: self.host.must(*c)))


def lost(
    before: LoginAccess, after: LoginAccess, places: Sequence[Address], people: Sequence[User]
) -> Iterator[str]:
    """The access that is taken away, as text. sshd is tested for ``people`` at ``places``."""
    yield from _closed(before, after)
    yield from _changed_settings(before, after, places, people)


def _staged(stage: Stage, *command: str) -> str:
    result = stage.run(*command, reads="/etc/ssh")
    if result.code != 0:
        raise CommandFailed(f"{command[0]} refuses: {result.why()}")
    return result.out


def _asker(run: Callable[..., str]) -> Ask:
    kept: dict[tuple[str, Address | None], Effective] = {}

    def ask(user: str, source: Address | None) -> Effective:
        if (user, source) not in kept:
            kept[user, source] = Effective(run(*asking(user, source)))
        return kept[user, source]

    return ask


def _places(before: LoginAccess, after: LoginAccess) -> list[Address]:
    """An address of each network that may log in before or after the change."""
    networks = before.ruleset.named(before.ports) | after.ruleset.named(after.ports)
    return [network[0] for network in _sorted(networks)]


def _reached(access: LoginAccess, places: Iterable[Address]) -> list[Address]:
    """The addresses that reach a port of sshd."""
    return [p for p in places if any(access.ruleset.admits(p, port) for port in access.ports)]


def _people(host: Host, before: LoginAccess) -> list[User]:
    """The users that have keys or a password. All if none has: keys may be stored elsewhere."""
    known = users(host)
    everywhere = before.sshd("root", None)
    able = [user for user in known if user.password or has_key(host, everywhere, user)]
    return (able or known)[:MAX_USERS]


def _refuse_closed(
    host: Host,
    before: LoginAccess,
    after: LoginAccess,
    came: Sequence[Address],
    reached: Sequence[Address],
    people: Sequence[User],
) -> None:
    """Raises CommandFailed if nobody could log in after the change, or a log-in would not be
    logged. ``came`` reach sshd before the change, and ``reached`` after it."""
    if not reached:
        raise CommandFailed(
            "nobody could log in any more: no rule of the firewall lets in to a port that sshd "
            f"listens at ({', '.join(map(str, sorted(after.ports))) or 'none'})"
        )
    if not people:
        return
    if after.sshd("root", None).one("loglevel").lower() in QUIET:
        raise CommandFailed("sshd: with this LogLevel its log does not show who logs in")
    if _lets_in(host, before, came, people) and not _lets_in(host, after, reached, people):
        raise CommandFailed(
            "nobody could log in any more: sshd refuses "
            f"{', '.join(user.name for user in people)} from "
            f"{', '.join(map(str, reached[:MAX_PLACES]))}"
        )


def _lets_in(
    host: Host, access: LoginAccess, places: Sequence[Address], people: Sequence[User]
) -> bool:
    for place in places[:MAX_PLACES]:
        for user in people:
            effective = access.sshd(user.name, place)
            if effective.lets_in(user, place, has_key(host, effective, user)):
                return True
    return False


def _closed(before: LoginAccess, after: LoginAccess) -> Iterator[str]:
    """The networks that no longer reach a port of sshd."""
    old_ports, new_ports = before.ports, after.ports
    old, new = before.ruleset.named(old_ports), after.ruleset.named(new_ports)
    edges = old | new | before.ruleset.refused() | after.ruleset.refused()
    for network in _sorted(old):
        for port in sorted(old_ports):
            shut = [
                piece
                for piece in _pieces(network, edges)
                if before.ruleset.admits(piece[0], port, after.ruleset.rules)
                and not (
                    port in new_ports and after.ruleset.admits(piece[0], port, before.ruleset.rules)
                )
            ]
            if shut:
                yield f"{_named(network, shut)} may log in no more" + (
                    f" (port {port})" if port != SSH else ""
                )


SSH = 22
MANY = 4
"""Up to so many parts of a network are named one by one."""
Piece = tuple[Address, Address]


def _pieces(network: Network, edges: Iterable[Network]) -> list[Piece]:
    """A network, split at the bounds of the others: all addresses of a piece are in the same
    ones."""
    low, high = int(network[0]), int(network[-1])
    cuts = {low, high + 1}
    for other in edges:
        if other.version == network.version:
            cuts |= {int(other[0]), int(other[-1]) + 1}
    inside = sorted(cut for cut in cuts if low <= cut <= high + 1)
    kind = type(network[0])
    return [(kind(first), kind(end - 1)) for first, end in pairwise(inside)]


def _named(network: Network, pieces: Sequence[Piece]) -> str:
    """Pieces of a network as a short text."""
    ranges = [list(summarize_address_range(low, high)) for low, high in pieces]
    merged = collapse_addresses(n for one in ranges for n in one)  # type: ignore[type-var]
    found = [str(one) for one in merged]
    return ", ".join(found) if len(found) <= MANY else f"a part of {network}"


def _changed_settings(
    before: LoginAccess, after: LoginAccess, places: Sequence[Address], people: Sequence[User]
) -> Iterator[str]:
    """The settings of sshd that change for somebody who may log in."""
    found: set[str] = set()
    for user in people:
        for place in places:
            found |= before.sshd(user.name, place).differing(after.sshd(user.name, place))
    if found:
        yield f"settings of sshd change: {', '.join(sorted(found))}"


def _sorted(networks: Iterable[Network]) -> list[Network]:
    return sorted(networks, key=lambda one: (one.version, int(one[0]), one.prefixlen))
