"""route(8) and netstat(1) -r: what a routing table has, and how it is changed."""

from __future__ import annotations

import os
import sys
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network

from tests.kit.openbsd.kernel import Kernel, Route, failed, opened, unknown
from tests.kit.openbsd.records import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

Network = IPv4Network | IPv6Network

_TABLES = 256
_FLAGS = {"U": "UP", "G": "GATEWAY", "H": "HOST", "B": "BLACKHOLE", "R": "REJECT", "l": "LOCAL",
          "S": "STATIC", "1": "PROTO1", "C": "CLONING", "c": "CLONED", "L": "LLINFO"}  # fmt: skip
_WITH_VALUE = frozenset({"-priority", "-mtu", "-label", "-ifp", "-ifa", "-prefixlen"})


@dataclass
class _Asked:
    """A command, as it was given."""

    table: int = 0
    quiet: bool = False
    family: int = 0
    host: bool | None = None
    blackhole: bool = False
    reject: bool = False
    priority: int = 8
    proto1: bool = False
    interface: bool = False
    through: str = ""
    length: str = ""
    words: list[str] = field(default_factory=list)


def main(arguments: list[str]) -> int:
    """One call of it."""
    asked, rest = _Asked(), list(arguments)
    named = _options(asked, rest)
    if not rest:
        _usage()
    verb = rest.pop(0)
    with opened() as kernel:
        if named and verb != "add" and asked.table not in kernel.tables:
            failed(f"route: routing table {asked.table}: No such file or directory")
        match verb:
            case "show":
                _family(asked, rest)
                print("Routing tables")
                _show(kernel, asked.table, asked.family)
                return 0
            case "get":
                return _get(kernel, _words(asked, rest))
            case "add":
                return _add(kernel, _words(asked, rest))
            case "delete" | "del":
                return _delete(kernel, _words(asked, rest))
            case "sourceaddr":
                return _source(kernel, asked, rest)
            case "exec" if rest:
                # Only tables matter to it, and none is known outside of the stand-ins.
                os.execvp(rest[0], rest)
            case "change" | "flush" | "monitor" | "nameserver":
                unknown("route", verb)
    return _usage(verb)


def netstat(arguments: list[str]) -> int:
    """``netstat -rn``, of one family and table."""
    rest, asked = list(arguments), _Asked()
    letters = protocol = ""
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "-p":
            protocol = rest.pop(0)
        elif word == "-f":
            asked.family = {"inet": 4, "inet6": 6}[rest.pop(0)]
        elif word == "-T":
            asked.table = int(rest.pop(0))
        else:
            letters += word[1:]
    if not rest and letters and set(letters) <= set("nva") and protocol == "tcp":
        return _connections()
    if rest or set(letters) - {"r", "n"} or "r" not in letters or protocol:
        unknown("netstat", arguments)
    with opened() as kernel:
        if asked.table not in kernel.tables:
            failed(f"netstat: no such table: {asked.table}")
        print("Routing tables")
        _show(kernel, asked.table, asked.family)
    return 0


def _connections() -> int:
    """With ``-v`` no address is cut short."""
    with opened() as kernel:
        print("Active Internet connections (including servers)")
        print(f"{'Proto':5} {'Recv-Q':>6} {'Send-Q':>6}  {'Local Address':22} "
              f"{'Foreign Address':22} (state)")  # fmt: skip
        for own, other, state in kernel.connections:
            print(f"{'tcp6' if ':' in own else 'tcp':5} {0:6} {0:6}  {own:22} {other:22} {state}")
    return 0


def _options(asked: _Asked, rest: list[str]) -> bool:
    named = False
    while rest and rest[0].startswith("-"):
        letters = rest.pop(0)[1:]
        for at, letter in enumerate(letters):
            if letter == "T":
                asked.table, named = _table(letters[at + 1 :] or rest.pop(0)), True
                break
            if letter == "q":
                asked.quiet = True
            elif letter not in "nvt":
                _usage()
    return named


def _table(word: str) -> int:
    if not word.isdigit():
        failed("route: invalid table id: invalid")
    if int(word) >= _TABLES:
        failed("route: invalid table id: too large")
    return int(word)


def _usage(word: str = "") -> NoReturn:
    botched = f"route: botched keyword: {word}\n" if word else ""
    failed(
        f"{botched}usage:\troute [-dnqtv] [-T rtable] command [[modifier ...] arg ...]\n"
        "commands: add, change, delete, exec, flush, get, monitor, nameserver, show, sourceaddr"
    )


def _family(asked: _Asked, rest: list[str]) -> None:
    for word in rest:
        if word not in ("-inet", "-inet6"):
            _usage(word.lstrip("-"))
        asked.family = 4 if word == "-inet" else 6


def _words(asked: _Asked, rest: list[str]) -> _Asked:
    while rest:
        word = rest.pop(0)
        if word in _WITH_VALUE and not rest:
            _usage(word.lstrip("-"))
        match word:
            case "-inet" | "-inet6":
                asked.family = 4 if word == "-inet" else 6
            case "-net" | "-host":
                asked.host = word == "-host"
            case "-blackhole":
                asked.blackhole = True
            case "-reject":
                asked.reject = True
            case "-iface" | "-interface" | "-cloning":
                asked.interface = True
            case "-proto1":
                asked.proto1 = True
            case "-priority":
                asked.priority = int(rest.pop(0))
            case "-ifp" | "-ifa":
                asked.through = rest.pop(0)
            case "-prefixlen":
                asked.length = rest.pop(0)
            case "-label" | "-mtu" | "-mpath" | "-static":
                unknown("route", word)
            case _ if word.startswith("-"):
                _usage(word.lstrip("-"))
            case _:
                asked.words.append(word)
    return asked


def _network(asked: _Asked, word: str) -> Network:
    if word == "default":
        return ip_network("::/0" if asked.family == 6 else "0.0.0.0/0")
    try:
        return ip_network(f"{word}/{asked.length}" if asked.length else word, strict=False)
    except ValueError:
        failed(f"route: {word}: no address associated with name")


def _get(kernel: Kernel, asked: _Asked) -> int:
    wanted = _network(asked, asked.words[0])
    found = _best(kernel, asked.table, wanted)
    if found is None:
        # It says so, and ends with 0.
        print("route: writing to routing socket: No such process", file=sys.stderr)
        return 0
    to = "default" if wanted.prefixlen == 0 else str(wanted.network_address)
    mask = "default" if found.destination in ("0.0.0.0/0", "::/0") else (
        str(ip_network(found.destination).netmask)
    )  # fmt: skip
    host = "H" in found.flags
    print(f"   route to: {to}")
    where = "default" if mask == "default" else str(ip_network(found.destination).network_address)
    print(f"destination: {where}")
    if not host:
        print(f"       mask: {mask}")
    if "G" in found.flags:
        print(f"    gateway: {found.gateway}")
    print(f"  interface: {found.interface}")
    print(f" if address: {_own(kernel, found)}")
    print(f"   priority: {found.priority} ({'static' if found.priority == 8 else 'connected'})")
    print(f"      flags: <{','.join(_FLAGS[f] for f in found.flags)},DONE>")
    print("     use       mtu    expire")
    print(f"{0:8} {0:9} {0:9} ")
    return 0


def _own(kernel: Kernel, route: Route) -> str:
    """The machine's address that the kernel would take on the route's interface."""
    interface = kernel.interfaces[route.interface]
    six = ":" in route.destination
    held = [ip_interface(each) for each in (interface.inet6 if six else interface.inet)]
    if six and route.gateway.startswith("fe80:"):
        local = [each for each in held if each.is_link_local]
        return f"{local[0].ip}%{route.interface}" if local else "::"
    fit = [each for each in held if not each.is_link_local]
    return str(fit[0].ip) if fit else ""


def _best(kernel: Kernel, table: int, wanted: Network) -> Route | None:
    if wanted.prefixlen == 0:
        fit = [r for r in kernel.routes if r.table == table and r.destination == str(wanted)]
        return min(fit, key=lambda r: r.priority) if fit else None
    fit = [
        each
        for each in _entries(kernel, table)
        if ip_network(each.destination).version == wanted.version
        and wanted.network_address in ip_network(each.destination)
    ]
    return max(fit, key=lambda r: (ip_network(r.destination).prefixlen, -r.priority), default=None)


def _add(kernel: Kernel, asked: _Asked) -> int:
    if len(asked.words) < 2:
        failed("route: writing to routing socket: Invalid argument")
    network, gateway = _network(asked, asked.words[0]), asked.words[1]
    if asked.table not in kernel.tables:
        kernel.tables.append(asked.table)
    said = f"add {_what(network, asked)} {asked.words[0]}: gateway {gateway}"
    interface = asked.through or _towards(kernel, gateway)
    if interface is None:
        return _refused(asked, f"{said}: Network is unreachable")
    same = (asked.table, str(network), asked.priority)
    if any((r.table, r.destination, r.priority) == same for r in kernel.routes):
        return _refused(asked, f"{said}: File exists")
    flags = "U" + ("" if asked.interface else "G")
    flags += "H" if network.prefixlen == network.max_prefixlen else ""
    flags += ("R" if asked.reject else "") + ("B" if asked.blackhole else "") + "S"
    flags += "1" if asked.proto1 else ""
    route = Route(asked.table, str(network), gateway, interface, flags, asked.priority)
    kernel.routes.append(route)
    if not asked.quiet:
        print(said)
    return 0


def _delete(kernel: Kernel, asked: _Asked) -> int:
    network = _network(asked, asked.words[0])
    fit = [r for r in kernel.routes if (r.table, r.destination) == (asked.table, str(network))]
    fit = [r for r in fit if len(asked.words) < 2 or r.gateway == asked.words[1]]
    said = f"delete {_what(network, asked)} {asked.words[0]}"
    if not fit:
        return _refused(asked, f"{said}: not in table")
    kernel.routes.remove(fit[0])
    if not asked.quiet:
        print(said)
    return 0


def _refused(asked: _Asked, said: str) -> int:
    if not asked.quiet:
        print(said)
    return 1


def _what(network: Network, asked: _Asked) -> str:
    host = network.prefixlen == network.max_prefixlen if asked.host is None else asked.host
    return "host" if host else "net"


def _towards(kernel: Kernel, gateway: str) -> str | None:
    plain, _, zone = gateway.partition("%")
    if zone:
        return zone if zone in kernel.interfaces else None
    address = ip_address(plain)
    for name, interface in kernel.interfaces.items():
        for own in interface.inet + interface.inet6:
            if address in ip_interface(own).network and interface.up:
                return name
    return None


def _source(kernel: Kernel, asked: _Asked, rest: list[str]) -> int:
    if not rest:
        for family in ("inet", "inet6"):
            print(f"Preferred source address set to {kernel.sources.get(family, 'default')}")
        return 0
    words = [word for word in rest if word not in ("-inet", "-inet6", "-ifp")]
    if len(words) != 1:
        _usage("sourceaddr")
    if words[0] == "default":
        kernel.sources.clear()
        return 0
    held = [
        str(ip_interface(own).ip)
        for interface in kernel.interfaces.values()
        for own in interface.inet + interface.inet6
    ]
    if words[0] not in held:
        failed("route: sourceaddr: Can't assign requested address")
    kernel.sources["inet6" if ":" in words[0] else "inet"] = words[0]
    return 0


def _entries(kernel: Kernel, table: int) -> list[Route]:
    """The table's routes, and in table 0 those that addresses of interfaces make."""
    made = [each for each in kernel.routes if each.table == table]
    for name, interface in kernel.interfaces.items() if table == 0 else ():
        for own in map(ip_interface, interface.inet + interface.inet6):
            loopback = name.startswith("lo")
            address = f"{own.ip}/{own.network.max_prefixlen}"
            made.append(Route(0, address, str(own.ip), name, "UHl", 1))
            if own.network.prefixlen < own.network.max_prefixlen and not loopback:
                made.append(Route(0, str(own.network), str(own.ip), name, "UC", 4))
    return made


def _show(kernel: Kernel, table: int, family: int) -> None:
    for version in (4, 6):
        rows = [
            each
            for each in _entries(kernel, table)
            if ip_network(each.destination).version == version
        ]
        if family in (0, version) and rows:
            _section(kernel, version, rows)


def _section(kernel: Kernel, version: int, rows: list[Route]) -> None:
    first, second = (18, 18) if version == 4 else (39, 29)
    title = "Internet" if version == 4 else "Internet6"
    columns = f"{'Refs':>5} {'Use':>8} {'Mtu':>5}  {'Prio':>4} Iface"
    print(f"\n{title}:\n{'Destination':{first}} {'Gateway':{second}} {'Flags':6} {columns}")
    for each in sorted(rows, key=lambda r: (ip_network(r.destination), r.priority)):
        network = ip_network(each.destination)
        gateway = each.gateway if "G" in each.flags or "l" in each.flags else each.interface
        if each.gateway.startswith("fe80:") and "%" not in each.gateway:
            gateway = f"{each.gateway}%{each.interface}"
        print(
            f"{_short(network, each):{first}} {gateway:{second}} {each.flags:6} "
            f"{0:5} {0:8} {'-':>5}   {each.priority:3} {each.interface:5}"
        )


def _short(network: Network, route: Route) -> str:
    if network.prefixlen == 0:
        return "default"
    if network.prefixlen == network.max_prefixlen:
        zone = f"%{route.interface}" if network.network_address.is_link_local else ""
        return f"{network.network_address}{zone}" if zone else str(network.network_address)
    if network.version == 6:
        return str(network)
    # Bytes of the host part that are zero are left out.
    octets = str(network.network_address).split(".")[: max(1, (network.prefixlen + 7) // 8)]
    return f"{'.'.join(octets)}/{network.prefixlen}"
