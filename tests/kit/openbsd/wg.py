"""wg(8) of the package wireguard-tools."""

from __future__ import annotations

import base64
import binascii
import os
import re
import sys
from ipaddress import ip_address, ip_network

from tests.kit.openbsd.kernel import (
    Kernel,
    Wireguard,
    WireguardPeer,
    failed,
    opened,
    path,
    unknown,
)

_PRIME = 2**255 - 19
_COLUMNS = ("latest-handshakes", "transfer", "endpoints", "allowed-ips", "peers", "listen-port",
            "public-key", "private-key", "persistent-keepalive")  # fmt: skip


def main(arguments: list[str]) -> int:
    """One call of it."""
    match arguments:
        case ["genkey"]:
            print(base64.b64encode(_clamped(os.urandom(32))).decode())
        case ["pubkey"]:
            print(public(sys.stdin.read().strip()))
        case ["show", *words]:
            with opened() as kernel:
                _show(kernel, words)
        case ["set", name, *words]:
            with opened() as kernel:
                _set(_interface(kernel, name, "modify"), words)
                _ports(kernel)
        case ["syncconf" | "setconf" | "addconf" as verb, name, file]:
            content = sys.stdin.read() if file == "/dev/stdin" else _text(file)
            with opened() as kernel:
                _conf(_interface(kernel, name, "modify"), content, verb)
                _ports(kernel)
        case []:
            unknown("wg", "no subcommand")
        case _:
            failed(f"Invalid subcommand: `{arguments[0]}'\nUsage: wg <cmd> [<args>]")
    return 0


def public(private: str) -> str:
    """The public key of a private one (RFC 7748)."""
    scalar = int.from_bytes(_clamped(_key(private)), "little")
    x2, z2, x3, z3, swap = 1, 0, 9, 1, 0
    for bit in reversed(range(255)):
        now = scalar >> bit & 1
        if swap ^ now:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % _PRIME, b * b % _PRIME, d * a % _PRIME, c * b % _PRIME
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % _PRIME, 9 * (da - cb) ** 2 % _PRIME
        x2, z2 = aa * bb % _PRIME, e * (aa + 121665 * e) % _PRIME
    if swap:
        x2, z2 = x3, z3
    number = x2 * pow(z2, _PRIME - 2, _PRIME) % _PRIME
    return base64.b64encode(number.to_bytes(32, "little")).decode()


def _clamped(key: bytes) -> bytes:
    return bytes([key[0] & 248, *key[1:31], key[31] & 127 | 64])


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        failed(f"Key is not the correct length or format: `{text}'")
    return key


def _text(file: str) -> str:
    try:
        return path(file).read_text()
    except OSError as error:
        failed(f"fopen: {error.strerror}")


def _interface(kernel: Kernel, name: str, what: str) -> Wireguard:
    interface = kernel.interfaces.get(name)
    if interface is None or interface.wireguard is None:
        failed(f"Unable to {what} interface: No such file or directory")
    return interface.wireguard


def _ports(kernel: Kernel) -> None:
    """Each wg(4) that is up has a socket of its own."""
    ports = [
        each.wireguard.port
        for each in kernel.interfaces.values()
        if each.wireguard is not None and each.wireguard.port
    ]
    if len(ports) != len(set(ports)):
        failed("Unable to modify interface: Address already in use")


def _set(wireguard: Wireguard, words: list[str]) -> None:
    peer, key, rest = None, "", list(words)
    while rest:
        word = rest.pop(0)
        if word == "remove" and peer is not None:
            wireguard.peers.pop(key, None)
            continue
        if not rest:
            failed(f"Invalid argument: {word}")
        value = rest.pop(0)
        match word:
            case "listen-port" if peer is None:
                wireguard.port = _number(value, 65535)
            case "private-key" if peer is None:
                _own(wireguard, _text(value).strip())
            case "fwmark":
                unknown("wg", word)
            case "peer":
                _key(value)
                key, peer = value, wireguard.peers.setdefault(value, WireguardPeer())
            case "endpoint" | "allowed-ips" | "persistent-keepalive" if peer is not None:
                _peer(peer, word, value)
            case "preshared-key":
                unknown("wg", word)
            case _:
                failed(f"Invalid argument: {word}")


def _own(wireguard: Wireguard, private: str) -> None:
    _key(private)
    wireguard.private, wireguard.public = private, public(private)


def _peer(peer: WireguardPeer, word: str, value: str) -> None:
    match word:
        case "endpoint":
            found = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+):(\d+)", value)
            if found is None:
                failed(f"Unable to find port of endpoint: `{value}'")
            try:
                ip_address(found[1].strip("[]").partition("%")[0])
            except ValueError:
                failed(f"Name or service not known: `{value}'")
            _number(found[2], 65535)
            peer.endpoint = value
        case "allowed-ips":
            try:
                entries = [e.strip() for e in value.split(",") if e.strip()]
                peer.allowed = [str(ip_network(e, strict=False)) for e in entries]
            except ValueError:
                failed(f"AllowedIP has nonzero host part or is invalid: `{value}'")
        case _:
            peer.keepalive = 0 if value == "off" else _number(value, 65535)


def _number(text: str, most: int) -> int:
    if not text.isdigit() or int(text) > most:
        failed(f"Unable to parse port: `{text}'")
    return int(text)


def _conf(wireguard: Wireguard, content: str, verb: str) -> None:
    """A file of wg(8): ``syncconf`` leaves what a peer has had, ``setconf`` begins anew."""
    made, section, peer = Wireguard(), "", WireguardPeer()
    for line in content.splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if text.lower() in ("[interface]", "[peer]"):
            section = text.lower()
            continue
        name, _, value = (part.strip() for part in text.partition("="))
        match section, name.lower():
            case "[interface]", "privatekey":
                _own(made, value)
            case "[interface]", "listenport":
                made.port = _number(value, 65535)
            case "[peer]", "publickey":
                _key(value)
                peer = made.peers[value] = WireguardPeer()
            case "[peer]", "endpoint" | "persistentkeepalive":
                _peer(peer, {"endpoint": name.lower()}.get(name.lower(), "keepalive"), value)
            case "[peer]", "allowedips":
                before = list(peer.allowed)
                _peer(peer, "allowed-ips", value)
                peer.allowed = before + peer.allowed
            case _:
                failed(f"Line unrecognized: `{re.sub(r'[ ]+', '', text)}'\n"
                       "Configuration parsing error")  # fmt: skip
    _taken(wireguard, made, verb)


def _taken(wireguard: Wireguard, made: Wireguard, verb: str) -> None:
    if made.private:
        wireguard.private, wireguard.public = made.private, made.public
    elif verb == "setconf":
        wireguard.private = wireguard.public = ""
    wireguard.port = made.port or (0 if verb != "addconf" else wireguard.port)
    if verb == "addconf":
        wireguard.peers.update(made.peers)
        return
    before, wireguard.peers = wireguard.peers, made.peers
    for key in set(before) & set(made.peers) if verb == "syncconf" else ():
        old, new = before[key], made.peers[key]
        new.endpoint = new.endpoint or old.endpoint
        new.handshake, new.received, new.sent = old.handshake, old.received, old.sent


def _show(kernel: Kernel, words: list[str]) -> None:
    known = {n: each.wireguard for n, each in kernel.interfaces.items() if each.wireguard}
    match words:
        case ["interfaces"]:
            print(" ".join(known))
        case ["all", "dump"]:
            for name, each in known.items():
                _dump(f"{name}\t", each)
        case [name, "dump"]:
            _dump("", _interface(kernel, name, "access"))
        case ["all", column] if column in _COLUMNS:
            for name, each in known.items():
                _column(f"{name}\t", each, column)
        case [name, column] if column in _COLUMNS:
            _column("", _interface(kernel, name, "access"), column)
        case [] | [_]:
            unknown("wg", "show for people")
        case _:
            failed("Usage: wg show { <interface> | all | interfaces } [public-key | private-key | "
                   "listen-port | fwmark | peers | preshared-keys | endpoints | allowed-ips | "
                   "latest-handshakes | transfer | persistent-keepalive | dump]")  # fmt: skip


def _dump(prefix: str, each: Wireguard) -> None:
    none = "(none)"
    print(f"{prefix}{each.private or none}\t{each.public or none}\t{each.port}\toff")
    for key, peer in each.peers.items():
        allowed, keepalive = ",".join(peer.allowed) or none, peer.keepalive or "off"
        print(f"{prefix}{key}\t{none}\t{peer.endpoint or none}\t{allowed}\t{peer.handshake}"
              f"\t{peer.received}\t{peer.sent}\t{keepalive}")  # fmt: skip


def _column(prefix: str, each: Wireguard, column: str) -> None:
    match column:
        case "listen-port" | "public-key" | "private-key":
            own = {"listen-port": str(each.port), "public-key": each.public}
            print(f"{prefix}{own.get(column, each.private) or '(none)'}")
            return
    for key, peer in each.peers.items():
        values = {
            "latest-handshakes": str(peer.handshake),
            "transfer": f"{peer.received}\t{peer.sent}",
            "endpoints": peer.endpoint or "(none)",
            "allowed-ips": " ".join(peer.allowed) or "(none)",
            "persistent-keepalive": str(peer.keepalive or "off"),
        }
        print(f"{prefix}{key}" if column == "peers" else f"{prefix}{key}\t{values[column]}")
