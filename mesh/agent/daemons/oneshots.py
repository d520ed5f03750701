"""What our oneshot units set up: addresses of dummy0, and routing rules.

The units' own commands give the wanted state. Other addresses and rules are left alone.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from ipaddress import ip_interface
from typing import Any

from mesh.agent.daemons.kind import ChangedNode, Difference
from mesh.agent.host import Host

DUMMY, REPLIES = "anycast-mesh-dummy.service", "anycast-mesh-replies.service"
_ALONE = 'family=$1; shift; for line; do $line; done; exec ip -json "$family" rule'
Line = tuple[str, ...]


def differences(node: ChangedNode, paths: Sequence[str]) -> Iterator[Difference]:
    """What is missing, if the unit has run."""
    for path in paths:
        unit = path.rpartition("/")[2]
        if unit in (DUMMY, REPLIES) and unit in node.running:
            lines = started(node.host.read(path) or b"")
            yield from (_addresses if unit == DUMMY else _rules)(node, lines)


def started(unit: bytes) -> tuple[Line, ...]:
    """The commands that a unit starts, as arguments."""
    lines = (line.partition("=") for line in unit.decode("utf-8", "replace").splitlines())
    return tuple(
        tuple(shlex.split(value.removeprefix("-"))) for key, _, value in lines if key == "ExecStart"
    )


def _run(host: Host, line: Line) -> None:
    host.must(*line)


def _addresses(node: ChangedNode, lines: Sequence[Line]) -> Iterator[Difference]:
    """Missing addresses one by one, or the missing interface."""
    wanted = {line[3]: line for line in lines if line[1:3] == ("address", "replace")}
    shown = node.host.run("ip", "-json", "address", "show", "dev", "dummy0")
    found = json.loads(shown.out or "[]") if shown.code == 0 else []
    if not found or "UP" not in found[0].get("flags", ()):
        why = "is down" if found else "is missing"
        yield Difference("interface dummy0", why, partial(node.manager.restart, DUMMY))
        return
    live = {
        f"{one['local']}/{one['prefixlen']}"
        for one in found[0].get("addr_info", ())
        if "local" in one and not one.get("tentative") and not one.get("dadfailed")
    }
    for address, line in wanted.items():
        if str(ip_interface(address)) not in live:
            what = f"address {address.partition('/')[0]} on dummy0"
            yield Difference(what, "is missing", partial(_run, node.host, line))


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
