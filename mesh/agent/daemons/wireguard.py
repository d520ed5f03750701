"""WireGuard: parsed strictly (`wg-quick strip` passes anything), and changed without a pause.

`wg syncconf` leaves peers that did not change alone. It wipes a private key that it is not given,
so the key goes in with the configuration, in memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import PurePosixPath

from mesh.agent import places
from mesh.agent.daemons.kind import Changes, Kind, Node
from mesh.agent.host import CommandFailed
from mesh.agent.stage import Stage
from mesh.trust.encoding import Malformed, unb64

_POST_UP = f"wg set %i private-key {places.WIREGUARD_KEY}"
Section = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A configuration of wg-quick: keys and values of the interface and of each peer."""

    interface: Section
    peers: tuple[Section, ...]


def parsed(path: str, text: str) -> Tunnel:
    """A tunnel's file, every key known and every value of its kind."""
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


def _fits(section: str, key: str, value: str) -> bool:
    try:
        return _fits_kind(section, key, value)
    except (ValueError, Malformed):
        return False


def _fits_kind(section: str, key: str, value: str) -> bool:
    if section == "[Interface]":
        if key == "Address":
            return all(ip_interface(one.strip()) for one in value.split(","))
        # A tunnel runs no command but the one that reads its key; and BIRD routes, not wg-quick.
        fixed = {"Table": "off", "PostUp": _POST_UP}
        numbers = {"ListenPort": 65535, "MTU": 65535}
        if key in fixed:
            return value == fixed[key]
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


def _apply(node: Node, changes: Changes) -> None:
    """Tunnels that run get the difference; new ones come up with their unit."""
    for change in changes:
        unit = _unit(node, change.path)
        if change.new is None or unit is None or unit not in node.running:
            continue
        new = parsed(change.path, change.new.decode())
        old = None if change.old is None else parsed(change.path, change.old.decode())
        if old is None or _fixed(old) != _fixed(new):
            node.manager.restart(unit)
            continue
        private = (node.host.read(places.WIREGUARD_KEY) or b"").decode().strip()
        name = PurePosixPath(change.path).stem
        node.host.must("wg", "syncconf", name, "/dev/stdin", given=_wg(new, private))


def _unit(node: Node, path: str) -> str | None:
    name = PurePosixPath(path).stem
    return next((unit for unit in node.units if unit.endswith(f"@{name}.service")), None)


def _fixed(tunnel: Tunnel) -> Section:
    """What only wg-quick sets, when the interface comes up."""
    return tuple(row for row in tunnel.interface if row[0] != "ListenPort")


def _wg(tunnel: Tunnel, private: str) -> str:
    ports = [row for row in tunnel.interface if row[0] == "ListenPort"]
    lines = ["[Interface]", f"PrivateKey = {private}", *(f"{k} = {v}" for k, v in ports)]
    for peer in tunnel.peers:
        lines += ["[Peer]", *(f"{key} = {value}" for key, value in peer)]
    return "\n".join(lines) + "\n"


KIND = Kind(
    name="wireguard",
    patterns=("/etc/wireguard/wg-*.conf",),
    validate=_validate,
    apply=_apply,
)
