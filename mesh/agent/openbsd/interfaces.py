"""Tunnels and the loopback of our addresses: files of hostname.if(5), which netstart(8) reads at
each boot, and which are brought into force here without an outage of what does not change.

netstart ends with 0 whatever its commands did, so the interface is looked at afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_interface, ip_network
from itertools import pairwise

from mesh.agent import file_paths
from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind, Difference, FileChange
from mesh.agent.daemons.wireguard import LiveTunnel, parsed_dump
from mesh.agent.host import CommandFailed, Host
from mesh.agent.openbsd.hostname_if import InterfaceFile, Line, Peer, name_of, parsed
from mesh.agent.stage import Stage
from mesh.agent.tunnel_ports import as_ports_come_free
from mesh.trust.encoding import Malformed, unb64

_HEAD = re.compile(r"(\S+): flags=\w+<([^>]*)>.* mtu (\d+)")
_PORT = re.compile(rb"\blisten-port (\d+)")
_MISSING = "no such interface"


@dataclass(frozen=True, slots=True)
class LiveInterface:
    """An interface in the kernel."""

    up: bool
    mtu: str
    description: str
    addresses: frozenset[str]


def _validate(_: Stage, changes: Changes) -> None:
    for change in changes:
        if change.new is not None:
            parsed(change.path, change.new)


def _apply(node: ChangedNode, changes: Changes) -> None:
    for change in changes:
        if change.new is None:
            _destroy(node.host, name_of(change.path))
    staying = [change for change in changes if change.new is not None]
    for change in as_ports_come_free(staying, _PORT):
        _bring_up(node, parsed(change.path, change.new or b""), _before(change))


def _before(change: FileChange) -> InterfaceFile | None:
    try:
        return None if change.old is None else parsed(change.path, change.old)
    except CommandFailed:
        return None  # Of an earlier version, or not ours.


def _destroy(host: Host, name: str) -> None:
    done = host.run("ifconfig", name, "destroy")
    if live(host, name) is not None:
        raise CommandFailed(f"ifconfig {name} destroy: {done.why()}")


def _bring_up(node: ChangedNode, wanted: InterfaceFile, old: InterfaceFile | None) -> None:
    """Changes what differs, and reads it back."""
    host, said = node.host, ""
    if live(host, wanted.name) is None:
        done = host.run("sh", "/etc/netstart", wanted.name)
        said = f" ({done.why()})"
    else:
        if wanted.peer is not None:
            _set_peer(host, wanted.name, wanted.peer, None if old is None else old.peer)
        for address in () if old is None else old.addresses.keys() - wanted.addresses.keys():
            host.run("ifconfig", wanted.name, *_without(address))
        _repair(host, wanted, [line for _, line in _lines(host, wanted)])
    for line in () if said else wanted.routes:
        # Of one that is there it says that the file exists.
        host.run(*line)
    for line in () if old is None else set(old.routes) - set(wanted.routes):
        host.run(*("delete" if word == "add" else word for word in line))
    odd = [why for why, _ in _lines(host, wanted)]
    if wanted.peer is not None:
        odd += _odd(_tunnels(host).get(wanted.name), wanted.peer, _private(host))
    if odd:
        raise CommandFailed(f"interface {wanted.name}: {', '.join(odd)}{said}")


def _set_peer(host: Host, name: str, new: Peer, old: Peer | None) -> None:
    """A peer's new address is set alone. Of anything else wg(8) is told the whole, which leaves
    sessions with a peer that stays as they are."""
    if old is not None and (old.port, old.key, old.allowed) == (new.port, new.key, new.allowed):
        if old.endpoint != new.endpoint:
            host.must("wg", "set", name, "peer", new.key, "endpoint", new.endpoint)
        return
    inside = _tunnels(host).get(name)
    for key in () if inside is None else inside.peers.keys() - {new.key}:
        host.must("wg", "set", name, "peer", key, "remove")
    host.must(
        "wg", "set", name, "listen-port", new.port, "private-key", file_paths.WIREGUARD_KEY,
        "peer", new.key, "endpoint", new.endpoint, "allowed-ips", ",".join(sorted(new.allowed)),
    )  # fmt: skip


# --- what is in force ------------------------------------------------------------------------


def live(host: Host, name: str) -> LiveInterface | None:
    """An interface as the kernel has it; None if there is none."""
    shown = host.run("ifconfig", name)
    if shown.code != 0:
        if _MISSING in shown.err:
            return None
        raise CommandFailed(f"ifconfig {name}: {shown.why()}")
    up, mtu, description, addresses = False, "", "", set[str]()
    for line in shown.out.splitlines():
        words = line.split()
        if head := _HEAD.match(line):
            up, mtu = "UP" in head[2].split(","), head[3]
        elif words[:1] == ["description:"]:
            description = " ".join(words[1:])
        elif words[:1] in (["inet"], ["inet6"]):
            addresses.add(_address(words))
    return LiveInterface(up, mtu, description, frozenset(addresses))


def _address(words: Sequence[str]) -> str:
    """An address with its length, of ``inet A netmask 0x…`` or ``inet6 A%IF prefixlen N``; those
    of a point-to-point interface have ``-->`` and the other end before."""
    text = words[1].partition("%")[0]
    given = dict(pairwise(words))
    length = given.get("prefixlen")
    if length is None:
        length = str(int(given.get("netmask", "0xffffffff"), 16).bit_count())
    return str(ip_interface(f"{text}/{length}"))


def _without(address: str) -> Line:
    one = ip_interface(address)
    return ("inet" if one.version == 4 else "inet6", str(one.ip), "delete")


def _lines(host: Host, wanted: InterfaceFile) -> list[tuple[str, Line]]:
    """How an interface differs from its file, each with the arguments of ifconfig that repair
    it."""
    found = live(host, wanted.name)
    if found is None:
        return [("is missing", ())]
    odd: list[tuple[str, Line]] = []
    if wanted.mtu and found.mtu != wanted.mtu:
        odd.append((f"has an MTU of {found.mtu}", ("mtu", wanted.mtu)))
    if wanted.description and found.description != wanted.description:
        odd.append(("has another description", ("description", wanted.description)))
    for address, more in wanted.addresses.items():
        if address not in found.addresses:
            odd.append((f"lacks {address}", (*_added(address), *more)))
    if not found.up:
        odd.append(("is down", ("up",)))
    return odd


def _added(address: str) -> Line:
    one = ip_interface(address)
    if one.version == 4:
        return ("inet", "alias", str(one.ip), "netmask", str(one.netmask))
    return ("inet6", "alias", str(one.ip), "prefixlen", str(one.network.prefixlen))


def _repair(host: Host, wanted: InterfaceFile, lines: Sequence[Line]) -> None:
    for line in lines:
        host.must("ifconfig", wanted.name, *line)


def _tunnels(host: Host) -> Mapping[str, LiveTunnel]:
    return parsed_dump(host.must("wg", "show", "all", "dump"))


def _private(host: Host) -> str:
    text = (host.read(file_paths.WIREGUARD_KEY) or b"").decode("utf-8", "replace").strip()
    try:
        unb64(text, 32)
    except Malformed:
        # wg would print it in its error, which is logged and reported.
        raise CommandFailed(f"{file_paths.WIREGUARD_KEY}: is no WireGuard key") from None
    return text


def _odd(inside: LiveTunnel | None, peer: Peer, private: str) -> list[str]:
    """How a tunnel in the kernel differs from its file."""
    if inside is None:
        return ["is no tunnel"]
    found = []
    if inside.private != private:
        found.append("has another key")
    if inside.port != peer.port:
        found.append(f"listens on port {inside.port}")
    allowed = frozenset(str(ip_network(one)) for one in peer.allowed)
    if {key: networks for key, (networks, _) in inside.peers.items()} != {peer.key: allowed}:
        found.append("has another peer, or takes other addresses from it")
    return found


def _differences(node: ChangedNode, paths: Sequence[str]) -> Iterator[Difference]:
    host = node.host
    files = [parsed(path, host.read(path) or b"") for path in paths]
    inside = _tunnels(host) if any(one.peer is not None for one in files) else {}
    for wanted in files:
        lines = _lines(host, wanted)
        odd = [why for why, _ in lines]
        if wanted.peer is not None and odd != ["is missing"]:
            odd += _odd(inside.get(wanted.name), wanted.peer, _private(host))
        if odd:
            what = f"{'tunnel' if wanted.peer else 'interface'} {wanted.name}"
            yield Difference(what, ", ".join(odd), partial(_bring_up, node, wanted, None))


KIND = DaemonKind(
    name="interfaces",
    patterns=("/etc/hostname.wg[0-9]*", "/etc/hostname.lo1"),
    validate=_validate,
    apply=_apply,
    differences=_differences,
)
