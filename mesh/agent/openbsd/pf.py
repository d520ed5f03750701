"""pf: the whole ruleset in one transaction, which has to admit SSH.

pf prints rules in a form of its own, and leaves a file that it refuses out with an exit code; it
does not read back what it has loaded. After each load the number of rules in the kernel and the
contents of the file's tables are compared with what ``pfctl -nv`` makes of the file, and the form
in which the kernel shows them is kept: whatever differs from it later was changed by somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from ipaddress import ip_network

from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind, Difference
from mesh.agent.host import CommandFailed, Host
from mesh.agent.openbsd.pf_rules import RULE, PfRules, Table
from mesh.agent.stage import Stage
from mesh.trust.encoding import sha256

RULES = "/etc/pf.conf"
SSH_PORT = 22
_AUTOMATIC = re.compile(r"<__automatic_[^>]*>")
"""The tables that pfctl's optimizer makes: their names differ from load to load."""
_SHOWN: dict[tuple[Host, str], tuple[str, tuple[str, ...]]] = {}
"""By file: its digest, and the rules that the kernel has shown after the file was loaded."""


def parsed(host: Host, path: str) -> PfRules:
    """The rules of a file, as pf parses it. Raises CommandFailed if it refuses the file."""
    done = host.run("pfctl", "-nvf", path)
    if done.code != 0:
        raise CommandFailed(f"{RULES}: pfctl refuses: {_without_rules(done.err or done.out)}")
    try:
        return PfRules(done.out)
    except (ValueError, IndexError) as error:
        raise CommandFailed(f"{RULES}: {error}") from None


def _without_rules(text: str) -> str:
    """Errors, without the rules that are printed before the wrong one."""
    lines = [line.strip() for line in text.splitlines()]
    return "; ".join(one for one in lines if one and not RULE.match(one))[:500] or "no reason"


def _validate(stage: Stage, changes: Changes) -> None:
    for change in changes:
        if change.new is None:
            raise CommandFailed(f"{change.path}: a node without a firewall is refused")
        _need_ssh(parsed(stage.host, stage.path(change.path)))


def _need_ssh(rules: PfRules) -> None:
    """Raises CommandFailed unless SSH is let in from somewhere."""
    for network in rules.named([SSH_PORT]) or ():
        if any(rules.admits(one, SSH_PORT) for one in (network[0], network[-1])):
            return
    raise CommandFailed(f"{RULES}: no rule lets SSH in; the operator would be locked out")


def _apply(node: ChangedNode, changes: Changes) -> None:
    for change in changes:
        if change.new is not None:
            load(node.host, change.path)


def load(host: Host, path: str) -> None:
    """Puts a file into force, and reads it back. Raises CommandFailed if other rules are in force
    then, or none."""
    said = host.run("pfctl", "-f", path)
    if said.code != 0:
        raise CommandFailed(f"{path}: pfctl does not load it: {_without_rules(said.err)}")
    if not _is_enabled(host):
        # Of a pf that is enabled already it says that as an error.
        host.run("pfctl", "-e")
        if not _is_enabled(host):
            raise CommandFailed("pf: is disabled, and cannot be enabled")
    wanted, rules = parsed(host, path), _in_force(host)
    why = _tables_differ(host, wanted)
    if len(rules) != len(wanted.lines):
        why = f"{len(rules)} rules are in force, and not {len(wanted.lines)}"
    if why:
        raise CommandFailed(f"{path}: after it was loaded, {why}: {_without_rules(said.err)}")
    _need_ssh(PfRules("\n".join((*rules, *_definitions(wanted)))))
    _SHOWN[host, path] = (sha256(host.read(path) or b""), rules)


def _definitions(rules: PfRules) -> Iterator[str]:
    for name, table in rules.tables.items():
        words = (*map(str, table.networks), *(f"!{one}" for one in table.excepted))
        yield f"table <{name}> {{ {' '.join(words)} }}"


def _is_enabled(host: Host) -> bool:
    return "Status: Enabled" in host.must("pfctl", "-si")


def _in_force(host: Host) -> tuple[str, ...]:
    """The rules in the kernel, in their order."""
    text = host.must("pfctl", "-sr")
    return tuple(
        _AUTOMATIC.sub("<__automatic>", line.strip())
        for line in text.splitlines()
        if RULE.match(line.strip())
    )


# --- what is in force ------------------------------------------------------------------------


def _differences(node: ChangedNode, paths: Sequence[str]) -> Iterator[Difference]:
    """The whole ruleset is repaired at once: the file is loaded again, which leaves states and the
    agent's tables as they are."""
    for path in paths:
        if why := _why(node.host, path):
            yield Difference("firewall", why, partial(load, node.host, path), vital=True)


def _why(host: Host, path: str) -> str:
    if not _is_enabled(host):
        return "pf is disabled"
    digest = sha256(host.read(path) or b"")
    wanted, live = _wanted(host, path, digest), _in_force(host)
    known = _SHOWN.get((host, path))
    if known is None or known[0] != digest:
        # Of another run of the agent. If pf shows rules in another form than before they are
        # loaded, this loads them once more.
        known = (digest, tuple(_AUTOMATIC.sub("<__automatic>", one) for one in wanted.lines))
    if live == known[1]:
        _SHOWN[host, path] = known
        return _tables_differ(host, wanted)
    return _rules_differ(known[1], live)


@lru_cache(maxsize=2)
def _wanted(host: Host, path: str, _: str) -> PfRules:
    return parsed(host, path)


def _rules_differ(wanted: tuple[str, ...], live: tuple[str, ...]) -> str:
    if not live:
        return "no rule is in force"
    for verb, some in (
        ("is missing", [one for one in wanted if one not in live]),
        ("was added", [one for one in live if one not in wanted]),
    ):
        if some:
            more = f", and {len(some) - 1} more" if len(some) > 1 else ""
            return f"{some[0]} {verb}{more}"
    return "the rules are in another order, or more often there"


def _tables_differ(host: Host, wanted: PfRules) -> str:
    """How tables differ from what the file says that they have; empty if they do not."""
    for name, table in wanted.tables.items():
        if not table.filled:
            continue
        shown = host.run("pfctl", "-t", name, "-T", "show")
        if shown.code != 0:
            # One that no rule names is made only if it persists.
            if any(f"<{name}>" in line for line in wanted.lines):
                return f"table {name} is missing"
            continue
        if _contents(shown.out) != _entries(table):
            return f"table {name} has other addresses"
    return ""


def _entries(table: Table) -> frozenset[str]:
    return frozenset((*map(str, table.networks), *(f"!{one}" for one in table.excepted)))


def _contents(text: str) -> frozenset[str]:
    """The addresses in what ``pfctl -T show`` prints: one in a line, an excepted one after ``!``,
    a network with its length and an address without."""
    found = set()
    for line in text.splitlines():
        word = line.strip()
        negated = word.startswith("!")
        try:
            network = ip_network(word.lstrip("! "), strict=False)
        except ValueError:
            continue
        found.add(f"{'!' if negated else ''}{network}")
    return frozenset(found)


KIND = DaemonKind(
    name="pf",
    patterns=(RULES,),
    validate=_validate,
    apply=_apply,
    differences=_differences,
    first=True,
)
