"""WireGuard: parsed strictly (`wg-quick strip` accepts anything), and changed without an outage.

`wg syncconf` keeps unchanged peers. It deletes a private key that is not in its input, so the key
is added to the configuration in memory. The MTU belongs to the link.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import PurePosixPath

from mesh.agent import file_paths
from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind, Difference
from mesh.agent.host import CommandFailed
from mesh.agent.stage import Stage
from mesh.agent.tunnel_ports import as_ports_come_free
from mesh.trust.encoding import Malformed, unb64

_LOAD_KEY = f"wg set %i private-key {file_paths.WIREGUARD_KEY}"
_NAME_PEER = re.compile(r"ip link set dev %i alias [a-z0-9-]{1,32}")
_LISTEN_PORT = re.compile(rb"^ListenPort *= *([0-9]+)", re.MULTILINE)
Section = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A configuration of wg-quick: settings of the interface and of each peer."""

    interface: Section
    peers: tuple[Section, ...]


def parsed(path: str, text: str) -> Tunnel:
    """A tunnel's file. Raises CommandFailed for an unknown key or a wrong value."""
    sections: list[tuple[str, list[tuple[str, str]]]] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].strip()
        if line in ("[Interface]", "[Peer]"):
            sections.append((line, []))
        elif line:
            key, equals, value = (part.strip() for part in line.partition("="))
            if not equals or not sections or not _fits(sections[-1][0], key, value):
                raise CommandFailed(f"{path}:{number}: not a tunnel's setting, or a wrong value")
            sections[-1][1].append((key, value))
    interfaces = [tuple(rows) for name, rows in sections if name == "[Interface]"]
    peers = tuple(tuple(rows) for name, rows in sections if name == "[Peer]")
    if len(interfaces) != 1 or not all("PublicKey" in dict(peer) for peer in peers):
        raise CommandFailed(f"{path}: one interface and peers with a public key are needed")
    return Tunnel(interfaces[0], peers)


def endpoints(path: str, text: str) -> tuple[str, ...]:
    """The addresses of the peers in a tunnel's file; none in a file that is refused."""
    try:
        peers = parsed(path, text).peers
    except CommandFailed:
        return ()
    places = (dict(peer).get("Endpoint", "").rpartition(":")[0] for peer in peers)
    return tuple(place.strip("[]") for place in places if place)


def _fits(section: str, key: str, value: str) -> bool:
    try:
        return _fits_kind(section, key, value)
    except (ValueError, Malformed):
        return False


def _fits_kind(section: str, key: str, value: str) -> bool:
    if section == "[Interface]":
        if key == "Address":
            return all(ip_interface(one.strip()) for one in value.split(","))
        # The only commands load the key and name the peer, and wg-quick sets no routes.
        if key == "PostUp":
            return value == _LOAD_KEY or _NAME_PEER.fullmatch(value) is not None
        numbers = {"ListenPort": 65535, "MTU": 65535}
        if key == "Table":
            return value == "off"
        return key in numbers and value.isdigit() and 1 <= int(value) <= numbers[key]
    if key == "PublicKey":
        return len(unb64(value, 32)) == 32
    if key == "Endpoint":
        match = re.fullmatch(r"(?:\[([0-9a-f:]+)\]|([0-9.]+)):([0-9]{1,5})", value)
        return (
            match is not None
            and not ip_address(match[1] or match[2]).is_unspecified
            and 1 <= int(match[3]) <= 65535
        )
    if key == "AllowedIPs":
        return all(ip_network(one.strip()) for one in value.split(","))
    return key == "PersistentKeepalive" and value.isdigit() and int(value) <= 65535


def _validate(_: Stage, changes: Changes) -> None:
    for change in changes:
        if change.new is not None:
            parsed(change.path, change.new.decode("utf-8", "replace"))


def _apply(node: ChangedNode, changes: Changes) -> None:
    """Updates running tunnels; new ones come up with their unit."""
    for change in as_ports_come_free(changes, _LISTEN_PORT):
        unit = _unit(node, change.path)
        if change.new is None or unit is None or unit not in node.running:
            continue
        new = parsed(change.path, change.new.decode())
        old = None if change.old is None else parsed(change.path, change.old.decode())
        if old is None or _fixed(old) != _fixed(new):
            node.manager.restart(unit)
            continue
        name = PurePosixPath(change.path).stem
        _set(node, name, old, new)
        mtu = dict(new.interface).get("MTU")
        if mtu is not None and mtu != dict(old.interface).get("MTU"):
            node.host.must("ip", "link", "set", "dev", name, "mtu", mtu)


def _set(node: ChangedNode, name: str, old: Tunnel, new: Tunnel) -> None:
    """A peer's new address is set alone: at every `wg syncconf` wireguard-go closes its socket with
    what has come in, and opens another one."""
    if _without_endpoints(old) != _without_endpoints(new):
        _sync(node, name, new)
        return
    for before, peer in zip(old.peers, new.peers, strict=True):
        if before != peer:
            row = dict(peer)
            key, endpoint = row["PublicKey"], row["Endpoint"]
            node.host.must("wg", "set", name, "peer", key, "endpoint", endpoint)


def _without_endpoints(tunnel: Tunnel) -> tuple[str | None, tuple[Section, ...]]:
    """A tunnel's port and its peers, but where these are."""
    peers = tuple(
        tuple((key, value if key != "Endpoint" else "") for key, value in peer)
        for peer in tunnel.peers
    )
    return dict(tunnel.interface).get("ListenPort"), peers


def _sync(node: ChangedNode, name: str, tunnel: Tunnel) -> None:
    node.host.must("wg", "syncconf", name, "/dev/stdin", given=_wg(tunnel, _private(node)))


def _private(node: ChangedNode) -> str:
    text = (node.host.read(file_paths.WIREGUARD_KEY) or b"").decode("utf-8", "replace").strip()
    try:
        unb64(text, 32)
    except Malformed:
        # wg would print it in its error, which is logged and reported.
        raise CommandFailed(f"{file_paths.WIREGUARD_KEY}: is no WireGuard key") from None
    return text


def _unit(node: ChangedNode, path: str) -> str | None:
    name = PurePosixPath(path).stem
    return next((unit for unit in node.units if unit.endswith(f"@{name}.service")), None)


def _fixed(tunnel: Tunnel) -> Section:
    """The settings that only wg-quick sets, when the interface comes up."""
    return tuple(row for row in tunnel.interface if row[0] not in ("ListenPort", "MTU"))


def _wg(tunnel: Tunnel, private: str) -> str:
    ports = [row for row in tunnel.interface if row[0] == "ListenPort"]
    lines = ["[Interface]", f"PrivateKey = {private}", *(f"{k} = {v}" for k, v in ports)]
    for peer in tunnel.peers:
        lines += ["[Peer]", *(f"{key} = {value}" for key, value in peer)]
    return "\n".join(lines) + "\n"


# --- what is in force ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KernelInterface:
    """A network interface in the kernel."""

    up: bool
    mtu: int
    addresses: frozenset[str]


@dataclass(frozen=True, slots=True)
class LiveTunnel:
    """A WireGuard interface in the kernel: key, port, and each peer's allowed networks and
    keepalive (``off`` or seconds). Not its endpoint, which WireGuard updates."""

    private: str = field(repr=False)
    port: str
    peers: Mapping[str, tuple[frozenset[str], str]]


def _differences(node: ChangedNode, paths: Sequence[str]) -> Iterator[Difference]:
    if not paths:
        return
    links = dict(_links(node))
    live = parsed_dump(node.host.must("wg", "show", "all", "dump"))
    for path in paths:
        unit, name = _unit(node, path), PurePosixPath(path).stem
        if unit is None or unit not in node.running:
            continue  # One unit of several that do not run.
        tunnel = parsed(path, (node.host.read(path) or b"").decode("utf-8", "replace"))
        link, inside = links.get(name), live.get(name)
        what = f"tunnel {name}"
        if link is None or inside is None:
            yield Difference(what, "is missing", partial(node.manager.restart, unit))
            continue
        lines = list(_lines(name, link, tunnel))
        odd = _odd(inside, tunnel, _private(node))
        if odd or lines:
            why = ", ".join([*odd, *(why for why, _ in lines)])
            yield Difference(what, why, partial(_mend, node, name, tunnel if odd else None, lines))


def _links(node: ChangedNode) -> Iterator[tuple[str, KernelInterface]]:
    for one in json.loads(node.host.must("ip", "-json", "address", "show") or "[]"):
        addresses = frozenset(
            f"{each['local']}/{each['prefixlen']}"
            for each in one.get("addr_info", ())
            if "local" in each
        )
        yield (
            one["ifname"],
            KernelInterface("UP" in one.get("flags", ()), int(one.get("mtu", 0)), addresses),
        )


def parsed_dump(text: str) -> dict[str, LiveTunnel]:
    """The interfaces in ``wg show all dump``: lines of tab-separated fields, five for an interface
    and nine for a peer, both with the interface's name first."""
    found: dict[str, LiveTunnel] = {}
    peers: dict[str, dict[str, tuple[frozenset[str], str]]] = {}
    for row in (line.split("\t") for line in text.splitlines()):
        if len(row) == 5:
            found[row[0]] = LiveTunnel(row[1], row[3], peers.setdefault(row[0], {}))
        elif len(row) == 9:
            networks = frozenset(row[4].split(",")) - {"(none)"}
            peers.setdefault(row[0], {})[row[1]] = (networks, row[8])
    return found


def _odd(live: LiveTunnel, tunnel: Tunnel, private: str) -> list[str]:
    """How an interface differs from its file."""
    peers = {
        dict(peer)["PublicKey"]: (
            frozenset(str(ip_network(one.strip())) for one in _listed(peer, "AllowedIPs")),
            _keepalive(peer),
        )
        for peer in tunnel.peers
    }
    found = []
    if live.private != private:
        found.append("has another key")
    if live.port != dict(tunnel.interface).get("ListenPort", live.port):
        found.append(f"listens on port {live.port}")
    if dict(live.peers) != peers:
        found.append("has another peer, or takes other addresses from it")
    return found


def _keepalive(peer: Section) -> str:
    seconds = dict(peer).get("PersistentKeepalive", "0")
    return seconds if int(seconds) else "off"


def _listed(section: Section, key: str) -> list[str]:
    return [one for name, value in section if name == key for one in value.split(",")]


def _lines(name: str, link: KernelInterface, tunnel: Tunnel) -> Iterator[tuple[str, str]]:
    """How the link differs from its file, each with the line of ip that repairs it. Addresses come
    last: a link-local one is removed when the interface goes down."""
    if not link.up:
        yield "is down", f"link set dev {name} up"
    mtu = dict(tunnel.interface).get("MTU")
    if mtu is not None and int(mtu) != link.mtu:
        yield f"has an MTU of {link.mtu}", f"link set dev {name} mtu {mtu}"
    for text in _listed(tunnel.interface, "Address"):
        address = str(ip_interface(text.strip()))
        if address not in link.addresses:
            yield f"lacks {address}", f"address replace {address} dev {name}"


def _mend(
    node: ChangedNode, name: str, tunnel: Tunnel | None, lines: Sequence[tuple[str, str]]
) -> None:
    if tunnel is not None:
        _sync(node, name, tunnel)
    if lines:
        given = "".join(f"{line}\n" for _, line in lines)
        node.host.must("ip", "-batch", "-", given=given)


KIND = DaemonKind(
    name="wireguard",
    patterns=("/etc/wireguard/wg-*.conf",),
    validate=_validate,
    apply=_apply,
    differences=_differences,
)
