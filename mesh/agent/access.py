"""Who may log in to the node, before a change and after it: what is lost, and whether somebody is
left.

A change *narrows* where somebody got through the firewall to a port of sshd's before and does not
any more, or where sshd itself does anything otherwise for those who may come. Networks and ports
that are added narrow nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import collapse_addresses, summarize_address_range
from itertools import pairwise

from mesh.agent import log
from mesh.agent.daemons import nftables
from mesh.agent.daemons.kind import Change
from mesh.agent.host import CommandFailed, Host
from mesh.agent.ruleset import Address, Network, Ruleset
from mesh.agent.sshd import MAX_USERS, QUIET, Effective, User, asking, has_key, users
from mesh.agent.stage import Stage

MAX_PLACES = 6
"""How many of the networks are asked about, each at one of its addresses: each costs a run of sshd
for each user."""
_SSH = "/etc/ssh/"

Ask = Callable[[str, Address | None], Effective]


@dataclass(frozen=True, slots=True)
class Doors:
    """The firewall and sshd as they are at one time."""

    ruleset: Ruleset
    sshd: Ask

    @property
    def ports(self) -> frozenset[int]:
        """Where sshd listens."""
        return self.sshd("root", None).ports


def loaded(host: Host, path: str) -> Ruleset:
    """The ruleset of a file, as nft understands it."""
    text = nftables.alone(host, path)
    try:
        return Ruleset(text)
    except ValueError as error:
        raise CommandFailed(f"{path}: {error}") from None


def narrowed(host: Host, stage: Stage, changes: Sequence[Change]) -> tuple[str, ...]:
    """What the changes on stage take from those who may log in, in words; nothing where they take
    nothing. :class:`CommandFailed` where somebody may log in now, and nobody could then."""
    firewall = next((c for c in changes if c.path == nftables.RULESET), None)
    files = [change for change in changes if change.path.startswith(_SSH)]
    if firewall is None and not files:
        return ()
    try:
        before = Doors(loaded(host, nftables.RULESET), _asker(lambda *c: host.must(*c)))
        people = _people(host, before) if files else []
    except CommandFailed as error:
        # What is in force cannot be judged: nothing is lost that was known.
        log.warning("access", reason=error)
        return ()
    after = Doors(
        before.ruleset if firewall is None else loaded(host, stage.path(nftables.RULESET)),
        _asker(lambda *c: _staged(stage, *c)) if files else before.sshd,
    )
    places = _places(before, after)
    came = _reached(before, places)
    if not came:
        return ()
    _refuse_closed(host, before, after, came, _reached(after, places), people)
    return tuple(lost(before, after, came[:MAX_PLACES], people))


def lost(
    before: Doors, after: Doors, places: Sequence[Address], people: Sequence[User]
) -> Iterator[str]:
    """What is taken from those who may come, in words; ``people`` and ``places`` are whom sshd is
    asked about, and from where."""
    yield from _shut(before, after)
    yield from _otherwise(before, after, places, people)


def comes_by_a_way_in(host: Host, source: Address) -> bool:
    """Whether the firewall and sshd of the files in place let somebody in from there."""
    ports = Effective(host.must(*asking("root", None))).ports
    ruleset = loaded(host, nftables.RULESET)
    return any(ruleset.admits(source, port) for port in ports)


def ways_in(host: Host) -> tuple[tuple[Network, ...], tuple[int, ...], str]:
    """By the files in place: the networks from which one gets to a port of sshd's, those ports, and
    a user who may log in."""
    doors = Doors(loaded(host, nftables.RULESET), _asker(lambda *c: host.must(*c)))
    ports = [port for port in sorted(doors.ports) if doors.ruleset.named([port])]
    networks = _sorted(doors.ruleset.named(ports))
    user = next(
        (
            user.name
            for user in _people(host, doors)
            if any(_lets_in(host, doors, [network[0]], [user]) for network in networks)
        ),
        "root",
    )
    return tuple(networks), tuple(ports), user


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


def _places(before: Doors, after: Doors) -> list[Address]:
    """An address of each network that may log in, before or afterwards."""
    networks = before.ruleset.named(before.ports) | after.ruleset.named(after.ports)
    return [network[0] for network in _sorted(networks)]


def _reached(doors: Doors, places: Iterable[Address]) -> list[Address]:
    """Those from which one gets to a port of sshd's."""
    return [p for p in places if any(doors.ruleset.admits(p, port) for port in doors.ports)]


def _people(host: Host, before: Doors) -> list[User]:
    """Who might log in: the users that have keys or a password. Root where nobody has, for keys may
    come from elsewhere."""
    known = users(host)
    everywhere = before.sshd("root", None)
    able = [user for user in known if user.password or has_key(host, everywhere, user)]
    return (able or known)[:MAX_USERS]


def _refuse_closed(
    host: Host,
    before: Doors,
    after: Doors,
    came: Sequence[Address],
    reached: Sequence[Address],
    people: Sequence[User],
) -> None:
    """Raises where the change leaves nobody who could log in, or could be seen to. One gets to
    sshd from ``came`` before it, and from ``reached`` afterwards."""
    if not reached:
        raise CommandFailed(
            "nobody could log in any more: no rule of the firewall lets in to a port that sshd "
            f"listens at ({', '.join(map(str, sorted(after.ports))) or 'none'})"
        )
    if not people:
        return
    if after.sshd("root", None).one("loglevel").lower() in QUIET:
        raise CommandFailed("sshd: with this LogLevel its log does not say who logs in")
    if _lets_in(host, before, came, people) and not _lets_in(host, after, reached, people):
        raise CommandFailed(
            "nobody could log in any more: sshd refuses "
            f"{', '.join(user.name for user in people)} from "
            f"{', '.join(map(str, reached[:MAX_PLACES]))}"
        )


def _lets_in(host: Host, doors: Doors, places: Sequence[Address], people: Sequence[User]) -> bool:
    for place in places[:MAX_PLACES]:
        for user in people:
            effective = doors.sshd(user.name, place)
            if effective.lets_in(user, place, has_key(host, effective, user)):
                return True
    return False


def _shut(before: Doors, after: Doors) -> Iterator[str]:
    """From where a port of sshd's is reached no more."""
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
"""So many networks that are parts of one are named one by one."""
Piece = tuple[Address, Address]


def _pieces(network: Network, edges: Iterable[Network]) -> list[Piece]:
    """A network cut up at every end of another: what is in a piece is in the same networks."""
    low, high = int(network[0]), int(network[-1])
    cuts = {low, high + 1}
    for other in edges:
        if other.version == network.version:
            cuts |= {int(other[0]), int(other[-1]) + 1}
    inside = sorted(cut for cut in cuts if low <= cut <= high + 1)
    kind = type(network[0])
    return [(kind(first), kind(end - 1)) for first, end in pairwise(inside)]


def _named(network: Network, pieces: Sequence[Piece]) -> str:
    """Pieces of a network in few words."""
    ranges = [list(summarize_address_range(low, high)) for low, high in pieces]
    merged = collapse_addresses(n for one in ranges for n in one)  # type: ignore[type-var]
    found = [str(one) for one in merged]
    return ", ".join(found) if len(found) <= MANY else f"a part of {network}"


def _otherwise(
    before: Doors, after: Doors, places: Sequence[Address], people: Sequence[User]
) -> Iterator[str]:
    """The settings of sshd that are others for somebody who may come."""
    found: set[str] = set()
    for user in people:
        for place in places:
            found |= before.sshd(user.name, place).differing(after.sshd(user.name, place))
    if found:
        yield f"sshd does otherwise: {', '.join(sorted(found))}"


def _sorted(networks: Iterable[Network]) -> list[Network]:
    return sorted(networks, key=lambda one: (one.version, int(one[0]), one.prefixlen))
