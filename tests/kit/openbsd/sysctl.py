"""sysctl(8)."""

from __future__ import annotations

import sys
import time

from tests.kit.openbsd.kernel import Kernel, opened, unknown

DEFAULTS = {
    "kern.ostype": "OpenBSD",
    "kern.version": "OpenBSD",
    "net.inet.ip.forwarding": "0",
    "net.inet.ip.multipath": "0",
    "net.inet.ip.redirect": "1",
    "net.inet.ip.sourceroute": "0",
    "net.inet.ip.directed-broadcast": "0",
    "net.inet.ip.ttl": "64",
    "net.inet.icmp.rediraccept": "0",
    "net.inet.icmp.errppslimit": "100",
    "net.inet.icmp.maskrepl": "0",
    "net.inet.icmp.tstamprepl": "1",
    "net.inet.tcp.syncookies": "0",
    "net.inet.tcp.synuselimit": "100000",
    "net.inet.tcp.syncachelimit": "10255",
    "net.inet.tcp.mssdflt": "512",
    "net.inet.tcp.always_keepalive": "0",
    "net.inet6.ip6.forwarding": "0",
    "net.inet6.ip6.redirect": "1",
    "net.inet6.ip6.multipath": "0",
    "net.inet6.ip6.hlim": "64",
    "net.inet6.icmp6.errppslimit": "100",
    "kern.maxfiles": "7030",
    "kern.somaxconn": "128",
    "kern.seminfo.semmni": "10",
    "kern.shminfo.shmmax": "33554432",
    "kern.bufcachepercent": "20",
    "ddb.panic": "1",
    "ddb.console": "0",
    "machdep.allowaperture": "0",
    "hw.machine": "amd64",
    "hw.smt": "0",
}
"""Settings and their values after a boot; those that one would set on a router, and a few more."""
_FIXED = frozenset({"kern.ostype", "kern.version", "kern.boottime", "kern.osrelease", "hw.machine"})


def main(arguments: list[str]) -> int:
    """One call of it. What it cannot read or set is a warning, and it ends with 0 all the same."""
    rest, letters = list(arguments), ""
    while rest and rest[0].startswith("-"):
        letters += rest.pop(0)[1:]
    if set(letters) - set("naqwA"):
        unknown("sysctl", f"-{letters}")
    with opened() as kernel:
        for word in rest or [*kernel.sysctl, "kern.boottime", "kern.osrelease", "kern.hostname"]:
            _one(kernel, word, letters)
    return 0


def _one(kernel: Kernel, word: str, letters: str) -> None:
    name, sets, value = word.partition("=")
    known = _value(kernel, name)
    if known is None:
        level = ("top", "second", "third", "fourth")[min(name.count("."), 3)]
        _warn(f"{level} level name {name.rpartition('.')[2]} in {word} is invalid")
        return
    if not sets:
        if name == "kern.boottime" and "n" not in letters:
            known = time.ctime(int(known))
        print(known if "n" in letters else f"{name}={known}")
        return
    if name in _FIXED:
        _warn(f"{word}: Operation not permitted")
    elif known.lstrip("-").isdigit() and not value.lstrip("-").isdigit():
        _warn(f"{word}: illegal value: {value}")
    else:
        kernel.sysctl[name] = value
        if "q" not in letters:
            print(value if "n" in letters else f"{name}: {known} -> {value}")


def _warn(said: str) -> None:
    print(f"sysctl: {said}", file=sys.stderr)


def _value(kernel: Kernel, name: str) -> str | None:
    match name:
        case "kern.boottime":
            return str(kernel.boot)
        case "kern.osrelease":
            return kernel.release
        case "kern.hostname":
            return kernel.hostname
    return kernel.sysctl.get(name)
