"""ifconfig(8), for the kinds of interfaces that a node has: lo, wg, and a provider's vio."""

from __future__ import annotations

import re
import sys
import time
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from tests.kit.openbsd import real
from tests.kit.openbsd.kernel import Interface, Kernel, Wireguard, failed, opened, unknown

_BORN = {"lo": 32768, "wg": 1420}
"""The kinds that can be created, with the MTU that they have then."""
_LARGEST = {"lo": 32768, "wg": 9000, "vio": 9216}
_WITH_VALUE = frozenset(
    ["mtu", "description", "descr", "group", "-group", "netmask", "prefixlen", "pltime", "vltime"]
)
_PLAIN = frozenset(
    {"up", "down", "alias", "-alias", "delete", "-description", "-descr", "autoconf"}
)
_REAL = re.compile(
    r"-?(wg\w+|rdomain|rtlabel|lladdr|media\w*|debug|arp|broadcast|priority|llprio|temporary|eui64"
    r"|autoconf|tso|lro|soii|anycast|tentative|link[012])"
)
"""Words of the manual page that no node uses."""


def main(arguments: list[str]) -> int:
    """One call of it."""
    with opened() as kernel:
        if not arguments or arguments in (["-a"], ["-A"]):
            for name in kernel.interfaces:
                _show(kernel, name, arguments == ["-A"])
            return 0
        if arguments[0].startswith("-"):
            unknown("ifconfig", arguments[0])
        name, words = arguments[0], arguments[1:]
        if len(name) >= 16:
            failed(f"ifconfig: interface name '{name}' too long")
        if not words or words in (["inet"], ["inet6"]):
            return _list(kernel, name, words)
        _configure(kernel, name, words)
        real.follow(kernel)
    return 0


def _list(kernel: Kernel, name: str, families: list[str]) -> int:
    if name[-1].isdigit():
        found = [name] if name in kernel.interfaces else []
    else:
        # A group, or else all interfaces whose names begin so.
        found = [n for n, each in kernel.interfaces.items() if name in each.groups]
        found = found or [n for n in kernel.interfaces if re.fullmatch(rf"{name}[0-9]+", n)]
    if not found:
        failed(f"{name}: no such interface")
    for each in found:
        _show(kernel, each, True, families)
    return 0


def _configure(kernel: Kernel, name: str, words: list[str]) -> None:
    if words[0] == "create":
        _create(kernel, name)
        words = words[1:]
    elif words[0] == "destroy":
        _destroy(kernel, name)
        return
    elif name not in kernel.interfaces and _kind(name) in _BORN:
        # Whatever is set on an interface that can be created creates it.
        _create(kernel, name)
    if words:
        _set(kernel, name, words)


def _create(kernel: Kernel, name: str) -> None:
    kind = _kind(name)
    if name in kernel.interfaces:
        failed("ifconfig: SIOCIFCREATE: File exists")
    if kind not in _BORN:
        failed("ifconfig: SIOCIFCREATE: Invalid argument")
    made = Interface(kernel.index(), _BORN[kind], groups=[kind])
    made.wireguard = Wireguard() if kind == "wg" else None
    kernel.interfaces[name] = made


def _destroy(kernel: Kernel, name: str) -> None:
    kind = _kind(name)
    if kind not in _BORN:
        failed("ifconfig: SIOCIFDESTROY: Invalid argument")
    if name not in kernel.interfaces:
        failed("ifconfig: SIOCIFDESTROY: Device not configured")
    if name == "lo0":
        failed("ifconfig: SIOCIFDESTROY: Operation not permitted")
    del kernel.interfaces[name]
    kernel.routes = [each for each in kernel.routes if each.interface != name]


def _set(kernel: Kernel, name: str, words: list[str]) -> None:
    family, rest = "inet", list(words)
    if rest[0] in ("inet", "inet6"):
        family = rest.pop(0)
    interface = kernel.interfaces.get(name)
    if interface is None:
        failed("ifconfig: SIOCGIFFLAGS: Device not configured")
    address, length, adds, alias, deprecated = "", "", True, False, False
    while rest:
        word = rest.pop(0)
        if word in _WITH_VALUE:
            if not rest:
                failed(f"ifconfig: '{word}' requires argument")
            value = rest.pop(0)
            if word in ("netmask", "prefixlen"):
                length = value
            elif word in ("pltime", "vltime"):
                deprecated = _lifetime(family, word, value) or deprecated
            else:
                _change(name, interface, word, value)
        elif word in ("-alias", "delete"):
            adds = False
        elif word == "alias":
            alias = True
        elif word in _PLAIN:
            _flag(interface, family, word)
        elif _REAL.fullmatch(word):
            unknown("ifconfig", word)
        elif not address:
            address = word
        else:
            failed(f"ifconfig: {word}: bad value")
    if address:
        full = _full(family, address, length)
        _address(interface, family, full, adds, alias)
        interface.deprecated = [each for each in interface.deprecated if each != full]
        interface.deprecated += [full] if deprecated and adds else []
    elif not adds:
        # `ifconfig wg1 inet delete` takes the first address away.
        _first(interface, family)


def _lifetime(family: str, word: str, value: str) -> bool:
    """Whether an address is deprecated from the start."""
    if family != "inet6":
        failed(f"ifconfig: {word} not allowed for this address family")
    if value != "infty" and not value.isdigit():
        failed(f"ifconfig: invalid {word}: {value}")
    return (word, value) == ("pltime", "0")


def _change(name: str, interface: Interface, word: str, value: str) -> None:
    match word:
        case "mtu":
            if not value.isdigit():
                failed(f"ifconfig: mtu {value}: invalid")
            if not 0 < int(value) <= _LARGEST[_kind(name)]:
                # A warning: it ends with 0.
                print("ifconfig: SIOCSIFMTU: Invalid argument", file=sys.stderr)
            else:
                interface.mtu = int(value)
        case "group":
            if value[-1].isdigit():
                failed("ifconfig: setifgroup: group names may not end in a digit")
            if value not in interface.groups:
                interface.groups.append(value)
        case "-group":
            if value not in interface.groups:
                failed("ifconfig: SIOCDIFGROUP: No such file or directory")
            interface.groups.remove(value)
        case _:
            interface.description = value


def _flag(interface: Interface, family: str, word: str) -> None:
    match word:
        case "up" | "down":
            interface.up = word == "up"
        case "autoconf" if family == "inet":
            interface.autoconf4 = True
        case "autoconf":
            interface.autoconf6 = True
        case _:
            interface.description = ""


def _full(family: str, address: str, length: str) -> str:
    """An address with its length, as the kernel would have it."""
    given, _, written = address.partition("/")
    given = given.partition("%")[0]
    length = written or length
    try:
        if family == "inet":
            return str(IPv4Interface(f"{given}/{_masked(length) or _classful(given)}"))
        return str(IPv6Interface(f"{given}/{length or 64}"))
    except ValueError:
        failed(f"ifconfig: {address}: bad value")


def _masked(length: str) -> str:
    return str(IPv4Interface(f"0/{int(length, 16)}")) if length.startswith("0x") else length


def _classful(address: str) -> int:
    first = int(address.partition(".")[0]) if address.partition(".")[0].isdigit() else 0
    return 8 if first < 128 else 16 if first < 192 else 24


def _address(interface: Interface, family: str, address: str, adds: bool, alias: bool) -> None:
    held = interface.inet if family == "inet" else interface.inet6
    same = [each for each in held if each.partition("/")[0] == address.partition("/")[0]]
    if not adds:
        if not same:
            failed("ifconfig: SIOCDIFADDR: Can't assign requested address")
        held.remove(same[0])
        return
    if family == "inet" and not alias and held and not same:
        # Without `alias` the first IPv4 address makes place.
        held.pop(0)
    for each in same:
        held.remove(each)
    held.append(address)
    interface.up = True


def _first(interface: Interface, family: str) -> None:
    held = interface.inet if family == "inet" else interface.inet6
    if not held:
        failed("ifconfig: SIOCDIFADDR: Can't assign requested address")
    held.pop(0)


def _kind(name: str) -> str:
    return name.rstrip("0123456789")


def _show(kernel: Kernel, name: str, everything: bool, families: list[str] | None = None) -> None:
    each = kernel.interfaces[name]
    print(f"{name}: flags={_flags(name, each)} mtu {each.mtu}")
    if each.lladdr:
        print(f"\tlladdr {each.lladdr}")
    if each.description:
        print(f"\tdescription: {each.description}")
    print(f"\tindex {each.index} priority 0 llprio 3")
    if each.wireguard is not None:
        _show_wireguard(each.wireguard, everything)
    groups = list(each.groups)
    if any(r.interface == name and _is_default(r.destination) for r in kernel.routes):
        groups.append("egress")
    if groups:
        print(f"\tgroups: {' '.join(groups)}")
    if each.lladdr:
        print("\tmedia: Ethernet autoselect")
        print(f"\tstatus: {'active' if each.up else 'no carrier'}")
    for address in each.inet if families != ["inet6"] else []:
        print(f"\t{_inet(address, name)}")
    for address in each.inet6 if families != ["inet"] else []:
        print(f"\t{_inet6(address, name, each)}")


def _is_default(destination: str) -> bool:
    return destination in ("0.0.0.0/0", "::/0")


def _flags(name: str, each: Interface) -> str:
    bits = {
        "UP": 0x1 if each.up else 0,
        "BROADCAST": 0 if _kind(name) == "lo" else 0x2,
        "LOOPBACK": 0x8 if _kind(name) == "lo" else 0,
        "RUNNING": 0x40 if each.up else 0,
        "NOARP": 0x80 if _kind(name) == "wg" else 0,
        "SIMPLEX": 0x800 if each.lladdr else 0,
        "MULTICAST": 0x8000,
        "AUTOCONF6": 0x200000 if each.autoconf6 else 0,
        "AUTOCONF4": 0x800000 if each.autoconf4 else 0,
    }
    return f"{sum(bits.values()):x}<{','.join(word for word, bit in bits.items() if bit)}>"


def _inet(text: str, name: str) -> str:
    address = ip_interface(text)
    mask = f"0x{int(address.network.netmask):08x}"
    tail = "" if _kind(name) == "lo" or address.network.prefixlen == 32 else (
        f" broadcast {address.network.broadcast_address}"
    )  # fmt: skip
    return f"inet {address.ip} netmask {mask}{tail}"


def _inet6(text: str, name: str, each: Interface) -> str:
    address = ip_interface(text)
    if address.is_link_local:
        where = f"{address.ip}%{name} prefixlen {address.network.prefixlen}"
        return f"inet6 {where} scopeid 0x{each.index:x}"
    auto = " autoconf pltime 604752 vltime 2591952" if each.autoconf6 else ""
    auto = " deprecated pltime 0 vltime infty" if text in each.deprecated else auto
    return f"inet6 {address.ip} prefixlen {address.network.prefixlen}{auto}"


def _show_wireguard(wireguard: Wireguard, everything: bool) -> None:
    if wireguard.port:
        print(f"\twgport {wireguard.port}")
    if wireguard.public:
        print(f"\twgpubkey {wireguard.public}")
    for key, peer in wireguard.peers.items() if everything else ():
        print(f"\twgpeer {key}")
        if peer.endpoint:
            host, _, port = peer.endpoint.rpartition(":")
            print(f"\t\twgendpoint {host.strip('[]')} {port}")
        print(f"\t\ttx: {peer.sent}, rx: {peer.received}")
        if peer.handshake:
            print(f"\t\tlast handshake: {int(time.time()) - peer.handshake} seconds ago")
        for allowed in peer.allowed:
            print(f"\t\twgaip {allowed}")
