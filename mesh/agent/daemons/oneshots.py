"""What our oneshot units set up: addresses of dummy0 and lo, and routing rules.

The units' own commands give the wanted state. Other addresses and rules are left alone.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from ipaddress import ip_interface
from typing import Any

from mesh.agent.daemons.kind import ChangedNode, Difference
from mesh.agent.host import CommandFailed, Host

DUMMY, REPLIES = "anycast-mesh-dummy.service", "anycast-mesh-replies.service"
SERVICES = "anycast-mesh-services.service"
_ALONE = 'family=$1; shift; for line; do $line; done; exec ip -json "$family" rule'
Line = tuple[str, ...]


def differences(node: ChangedNode, paths: Sequence[str]) -> Iterator[Difference]:
    """What is missing, if the unit has run."""
    for path in paths:
        unit = path.rpartition("/")[2]
        if unit in _LOOKS and unit in node.running:
            yield from _LOOKS[unit](node, started(node.host.read(path) or b""))


def clear(host: Host, old: bytes | None, new: bytes | None) -> None:
    """Removes what the unit of services has set up by its old file and not by its new one."""
    kept, left = started(new or b""), started(old or b"")
    gone = [
        ("address", "del", address, "dev", device)
        for device, address in sorted(_wanted(left).keys() - _wanted(kept).keys())
    ]
    if gone:
        lines = "".join(f"{shlex.join(line)}\n" for line in gone)
        host.run("ip", "-force", "-batch", "-", given=lines)
    for family, (first, *_) in _tables(left).items():
        if family not in _tables(kept):
            rule = ("preference", "0", "lookup", first, "protocol", "kernel")
            host.run("ip", family, "rule", "del", *rule)


def started(unit: bytes) -> tuple[Line, ...]:
    """The commands that a unit starts, as arguments."""
    lines = (line.partition("=") for line in unit.decode("utf-8", "replace").splitlines())
    return tuple(
        tuple(shlex.split(value.removeprefix("-"))) for key, _, value in lines if key == "ExecStart"
    )


def _run(host: Host, line: Line) -> None:
    host.must(*line)


def _wanted(lines: Sequence[Line]) -> Mapping[tuple[str, str], Line]:
    """By interface and address, the commands that bind addresses."""
    return {
        (line[5], str(ip_interface(line[3]))): line
        for line in lines
        if line[1:3] == ("address", "replace")
    }


def _dummy(node: ChangedNode, lines: Sequence[Line]) -> Iterator[Difference]:
    """Missing addresses one by one, or the missing interface."""
    found = _shown(node.host, "dummy0")
    if not found or "UP" not in found[0].get("flags", ()):
        why = "is down" if found else "is missing"
        yield Difference("interface dummy0", why, partial(node.manager.restart, DUMMY))
        return
    yield from _addresses(node, lines, found)


def _services(node: ChangedNode, lines: Sequence[Line]) -> Iterator[Difference]:
    """Missing addresses one by one, and rules that are not all there or not in order."""
    yield from _addresses(node, lines, _shown(node.host, "lo"))
    for family, wanted in _tables(lines).items():
        live = _looked_up(node.host, family, wanted)
        if live != wanted:
            why = f"look up {', '.join(live) or 'none'} instead of {', '.join(wanted)}"
            own = [line for line in lines if line[1] == family]
            mend = partial(_put_in_order, node.host, family, own, wanted)
            # Always: a host without its rule for bound addresses hears nobody.
            yield Difference(f"IPv{family[1:]} rules of preference 0", why, mend, vital=True)


def _shown(host: Host, device: str) -> list[dict[str, Any]]:
    shown = host.run("ip", "-json", "address", "show", "dev", device)
    found: list[dict[str, Any]] = json.loads(shown.out or "[]") if shown.code == 0 else []
    return found


def _addresses(
    node: ChangedNode, lines: Sequence[Line], found: list[dict[str, Any]]
) -> Iterator[Difference]:
    live = {
        f"{one['local']}/{one['prefixlen']}"
        for link in found
        for one in link.get("addr_info", ())
        if "local" in one and not one.get("tentative") and not one.get("dadfailed")
    }
    for (device, address), line in _wanted(lines).items():
        if address not in live:
            what = f"address {address.partition('/')[0]} on {device}"
            yield Difference(what, "is missing", partial(_run, node.host, line))


def _tables(lines: Sequence[Line]) -> dict[str, list[str]]:
    """By family, the tables of the rules of preference 0 in their order."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line[2:6] == ("rule", "add", "preference", "0") and line[-1] == "kernel":
            found.setdefault(line[1], []).append(line[line.index("lookup") + 1])
    return found


def _looked_up(host: Host, family: str, wanted: Sequence[str]) -> list[str]:
    """The tables of the rules of preference 0 that match every packet, of those that are wanted."""
    rules = json.loads(host.must("ip", "-json", family, "rule") or "[]")
    return [
        rule["table"]
        for rule in rules
        if rule["priority"] == 0
        and rule.keys() <= {"priority", "src", "table", "protocol"}
        and rule.get("table") in wanted
    ]


def _put_in_order(host: Host, family: str, lines: Sequence[Line], wanted: list[str]) -> None:
    # Of these commands some fail where a rule is there already, or is not.
    reasons = [done.why() for line in lines if (done := host.run(*line)).code]
    if _looked_up(host, family, wanted) != wanted:
        raise CommandFailed(f"ip rule: {'; '.join(reasons) or 'still not in order'}")


def _rules(node: ChangedNode, lines: Sequence[Line]) -> Iterator[Difference]:
    """Missing rules one by one, by their priority."""
    for family, wanted in _made(node.host, tuple(lines)).items():
        live = json.loads(node.host.must("ip", "-json", family, "rule") or "[]")
        for line, rule in wanted:
            if rule not in live:
                what = f"IPv{family[1:]} rule {rule['priority']}"
                yield Difference(what, "is missing", partial(_run, node.host, line))


@lru_cache(maxsize=2)
def _made(host: Host, lines: tuple[Line, ...]) -> dict[str, list[tuple[Line, dict[str, Any]]]]:
    """By family, each command with the rule that it makes, in a network namespace without rules: in
    the JSON of this node's version of ip."""
    texts = [shlex.join(line) for line in lines]
    made: dict[str, list[tuple[Line, dict[str, Any]]]] = {}
    for family in sorted({line[1] for line in lines}):
        own = [(line, text) for line, text in zip(lines, texts, strict=True) if line[1] == family]
        given = (family, *(text for _, text in own))
        shown = json.loads(host.must("unshare", "--net", "--", "sh", "-ec", _ALONE, "sh", *given))
        by_priority = {str(rule["priority"]): rule for rule in shown}
        made[family] = [(line, by_priority[line[line.index("priority") + 1]]) for line, _ in own]
    return made


_LOOKS: Mapping[str, Callable[[ChangedNode, Sequence[Line]], Iterator[Difference]]] = {
    DUMMY: _dummy,
    REPLIES: _rules,
    SERVICES: _services,
}
"""How the live state is compared, by unit."""
