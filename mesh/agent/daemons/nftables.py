"""nftables: the whole ruleset in one transaction, which has to admit SSH."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind, Difference
from mesh.agent.host import CommandFailed, Host
from mesh.agent.ruleset import Ruleset
from mesh.agent.ruleset_id import ruleset_id
from mesh.agent.stage import Stage
from mesh.trust.encoding import sha256

RULESET = "/etc/nftables.conf"
OPENED = "opened by the agent"
"""The comment of rules that the agent adds (:mod:`mesh.agent.registry_port`)."""
SSH_PORT = 22


def _validate(stage: Stage, changes: Changes) -> None:
    for change in changes:
        if change.new is None:
            raise CommandFailed(f"{change.path}: a node without a firewall is refused")
        stage.must("nft", "-c", "-f", stage.path(change.path), reads="/etc/nftables.conf")


def _apply(node: ChangedNode, changes: Changes) -> None:
    for change in changes:
        if change.new is not None:
            node.host.must("nft", "-f", change.path)
    if any(change.new is not None for change in changes) and not lets_in_ssh(
        node.host.must("nft", "-j", "list", "ruleset")
    ):
        raise CommandFailed(f"{RULESET}: no rule lets SSH in; the operator would be locked out")


def lets_in_ssh(ruleset: str) -> bool:
    """Whether a rule of the ruleset (nft's JSON) accepts TCP port 22."""
    rules = (entry.get("rule") for entry in json.loads(ruleset).get("nftables", []))
    return any(rule is not None and _accepts_ssh(rule.get("expr", [])) for rule in rules)


def _accepts_ssh(expressions: list[dict[str, Any]]) -> bool:
    port = any(
        expression.get("match", {}).get("left", {})
        == {"payload": {"protocol": "tcp", "field": "dport"}}
        and _names(expression["match"].get("right"), SSH_PORT)
        for expression in expressions
    )
    return port and any("accept" in expression for expression in expressions)


def _names(value: Any, port: int) -> bool:
    if isinstance(value, dict):
        return any(_names(inner, port) for inner in value.get("set", []))
    return bool(value == port)


# --- what is in force ------------------------------------------------------------------------

Table = tuple[str, str]
"""Family and name."""
_ALONE = 'nft -f "$1" && exec nft -j list ruleset'
"""For a shell in a network namespace without rules."""
_RIGHT: dict[tuple[Host, str], tuple[str, int]] = {}
"""By file: its digest and the kernel's ruleset number when both agreed. The ruleset is listed again
when one of them has changed."""
_MADE_ANEW = (("inet", "mesh"),)
"""Tables that the file deletes before it makes them."""
_OF_THE_MOMENT = frozenset(("handle", "packets", "bytes", "used", "expires"))


def _differences(node: ChangedNode, paths: Sequence[str]) -> Iterator[Difference]:
    """The whole ruleset is repaired at once: the file is loaded again."""
    for path in paths:
        digest, number = sha256(node.host.read(path) or b""), _number(node.host)
        if number is not None and _RIGHT.get((node.host, path)) == (digest, number):
            continue
        tables = _wanted(node.host, path, f"{digest} {_nft(node.host)}")
        odd = {
            " ".join(table): why
            for table, wanted in tables.items()
            if (why := _why(wanted, _live(node.host, table, wanted), table in _MADE_ANEW))
        }
        if odd:
            reason = "; ".join(f"table {table} {why}" for table, why in sorted(odd.items()))
            yield Difference("firewall", reason, partial(_load, node.host, path), vital=True)
        elif number is not None:
            _RIGHT[node.host, path] = (digest, number)


def _number(host: Host) -> int | None:
    """The number of the ruleset that the host's commands see; None if theirs is not ours."""
    return None if host.prefix else ruleset_id()


def _nft(host: Host) -> str:
    """Identifies the nft program: another version may list the same rules in another form."""
    try:
        status = host.path("/usr/sbin/nft").stat()
    except OSError:
        return ""
    return f"{status.st_ino} {status.st_mtime_ns}"


def _load(host: Host, path: str) -> None:
    host.must("nft", "-f", path)


def alone(host: Host, path: str) -> str:
    """The ruleset of a file in nft's JSON, loaded in an empty network namespace. Raises
    CommandFailed if nft refuses it."""
    return host.must("unshare", "--net", "--", "sh", "-ec", _ALONE, "sh", path)


def loaded(host: Host, path: str) -> Ruleset:
    """The ruleset of a file, as nft parses it."""
    text = alone(host, path)
    try:
        return Ruleset(text)
    except ValueError as error:
        raise CommandFailed(f"{path}: {error}") from None


@lru_cache(maxsize=2)
def _wanted(host: Host, path: str, _: str) -> Mapping[Table, tuple[str, ...]]:
    """The objects of a file of this digest by table, in the form of this node's nft."""
    tables: dict[Table, list[dict[str, Any]]] = {}
    for entry in _entries(alone(host, path)):
        (value,) = entry.values()
        name = value["name"] if "table" in entry else value["table"]
        tables.setdefault((value["family"], name), []).append(entry)
    return {table: compared(entries) for table, entries in tables.items()}


def _live(host: Host, table: Table, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The objects of a table in the kernel; none if it does not exist. Elements of sets that
    packets fill are not listed, since there may be tens of thousands; other sets are listed one by
    one then."""
    sets = [one["set"] for one in map(json.loads, wanted) if "set" in one]
    terse = ("-t",) if any(fills(one) for one in sets) else ()
    done = host.run("nft", *terse, "-j", "list", "table", *table)
    if done.code != 0:
        if host.run("nft", "-j", "list", "tables").code != 0:
            raise CommandFailed(f"nft: {done.why()}")
        return ()
    entries = _entries(done.out)
    if terse:
        entries = [one for one in entries if "set" not in one or fills(one["set"])]
        for one in sets:
            if not fills(one):
                shown = host.run("nft", "-j", "list", "set", *table, one["name"])
                entries += _entries(shown.out) if shown.code == 0 else []
    return compared(entries)


def fills(one: Mapping[str, Any]) -> bool:
    """Whether a set (nft's JSON) has elements from packets, or with a timeout."""
    flags = one.get("flags", ())
    # From nft 1.1.4 on a single flag is not a list.
    named = {flags} if isinstance(flags, str) else set(flags)
    return "timeout" in one or bool({"timeout", "dynamic"} & named)


def compared(entries: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Objects of a table as texts for comparison: without handles, counters, dynamic elements, and
    the agent's own rules. Rules keep their order; all else is sorted."""
    found: list[str] = []
    rules: list[str] = []
    for entry in entries:
        ((kind, value),) = entry.items()
        if value.get("comment") == OPENED:
            continue
        if kind == "set" and fills(value):
            value = {key: inner for key, inner in value.items() if key != "elem"}
        text = json.dumps({kind: _still(value)}, sort_keys=True)
        (rules if kind == "rule" else found).append(text)
    return (*sorted(found), *rules)


def _still(value: Any) -> Any:
    """A value without counters and the like; sets are sorted."""
    if isinstance(value, dict):
        return {
            key: sorted((_still(one) for one in inner), key=json.dumps)
            if key in ("set", "elem") and isinstance(inner, list)
            else _still(inner)
            for key, inner in value.items()
            if key not in _OF_THE_MOMENT or isinstance(inner, (dict, list))
        }
    if isinstance(value, list):
        return [_still(one) for one in value]
    return value


def _why(wanted: tuple[str, ...], live: tuple[str, ...], made_anew: bool) -> str:
    """How a table differs; empty if it does not. A table that is not ``made_anew`` by the file may
    have more objects: loading the file removes none."""
    if not made_anew:
        live = tuple(one for one in live if one in wanted)
    if wanted == live:
        return ""
    if not live:
        return "is missing"
    lacks = [one for one in wanted if one not in live]
    odd = [one for one in live if one not in wanted]
    for verb, some in (("lacks", lacks), ("has beside", odd)):
        if some:
            more = f" and {len(some) - 1} more" if len(some) > 1 else ""
            return f"{verb} {_named(some[0])}{more}"
    return "has its rules in another order"


def _named(text: str) -> str:
    ((kind, value),) = json.loads(text).items()
    return f"a rule of chain {value['chain']}" if kind == "rule" else f"{kind} {value['name']}"


def _entries(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text or "{}").get("nftables", [])
    return [one for one in found if "metainfo" not in one]


KIND = DaemonKind(
    name="nftables",
    patterns=(RULESET,),
    validate=_validate,
    apply=_apply,
    differences=_differences,
    first=True,
)
