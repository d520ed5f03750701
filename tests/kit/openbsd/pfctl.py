"""pfctl(8): the rules as text, and tables of addresses."""

from __future__ import annotations

import re
import sys
import time
from ipaddress import IPv4Network, IPv6Network, ip_network

from tests.kit.openbsd import rulesets
from tests.kit.openbsd.kernel import Kernel, Pf, Table, failed, opened, path, unknown
from tests.kit.openbsd.rulesets import Loaded, Wrong

_COMMANDS = ("kill", "flush", "add", "delete", "expire", "replace", "show", "test", "zero", "load")
_SHOWN = ("Tables", "all", "info", "rules", "states")
_NO_TABLE = 255
_USAGE = """\
usage: pfctl [-deghNnPqrvz] [-a anchor] [-D macro=value] [-F modifier]
\t[-f file] [-i interface] [-K key] [-k key] [-L statefile] [-o level]
\t[-p device] [-S statefile] [-s modifier [-R id]]
\t[-t table -T command [address ...]] [-V rdomain] [-x level]"""


class Options:
    """What is given before any address."""

    def __init__(self, arguments: list[str]) -> None:
        self.letters = ""
        self.given: dict[str, str] = {}
        rest = list(arguments)
        while rest and rest[0].startswith("-") and rest[0] != "-":
            word = rest.pop(0)[1:]
            while word:
                letter, word = word[0], word[1:]
                if letter in "fFsTtDaikKoxp":
                    if not word and not rest:
                        failed(f"pfctl: option requires an argument -- {letter}\n{_USAGE}")
                    self.given[letter], word = word or rest.pop(0), ""
                elif letter in "deghNnPqrvz":
                    self.letters += letter
                else:
                    failed(f"pfctl: unknown option -- {letter}\n{_USAGE}")
        self.addresses = rest
        if strange := set(self.given) & set("DaikKoxp"):
            unknown("pfctl", f"-{min(strange)}")
        if ("t" in self.given) != ("T" in self.given):
            failed(_USAGE)
        if self.addresses and "T" not in self.given:
            failed(_USAGE)

    @property
    def quiet(self) -> bool:
        """Whether only errors and warnings are said."""
        return "q" in self.letters

    @property
    def dry(self) -> bool:
        """Whether nothing is changed."""
        return "n" in self.letters

    def say(self, text: str) -> None:
        """What was done, on the standard error."""
        if not self.quiet:
            print(f"{text}{' (dummy)' if self.dry and 'T' in self.given else ''}", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """One call of it, in pfctl's own order: disable, flush, tables, load, show, enable."""
    options = Options(arguments)
    if not arguments:
        failed(_USAGE)
    with opened() as kernel:
        if "d" in options.letters:
            _switch(kernel.pf, False, options)
        if "F" in options.given:
            _flush(kernel.pf, options)
        if "T" in options.given:
            return _tables(kernel.pf, options)
        if "f" in options.given:
            _load(kernel, options)
        if "s" in options.given:
            _show(kernel.pf, options)
        if "e" in options.letters:
            _switch(kernel.pf, True, options)
    return 0


def _switch(pf: Pf, on: bool, options: Options) -> None:
    if pf.enabled == on:
        failed("pfctl: pf already enabled" if on else "pfctl: pf not enabled")
    pf.enabled = on
    options.say("pf enabled" if on else "pf disabled")


def _flush(pf: Pf, options: Options) -> None:
    match options.given["F"]:
        case "rules":
            pf.rules = []
            options.say("rules cleared")
        case "Tables":
            options.say(f"{len(pf.tables)} tables deleted.")
            pf.tables = {}
        case "states":
            options.say("0 states cleared")
        case other:
            unknown("pfctl", f"-F {other}")


def _load(kernel: Kernel, options: Options) -> None:
    name = options.given["f"]
    if name == "-":
        name, content = "stdin", sys.stdin.read()
    else:
        try:
            content = path(name).read_text()
        except OSError as error:
            failed(f"{name}: {error.strerror}\npfctl: cannot open the main config file!: "
                   f"{error.strerror}")  # fmt: skip
    try:
        loaded = rulesets.read(content)
    except Wrong as wrong:
        said = f"{name}:{wrong.line}: {wrong.why}"
        end = "" if options.dry else "\npfctl: Syntax error in config file: pf rules not loaded"
        failed(said + end)
    if "v" in options.letters:
        print("\n".join([*loaded.settings, *loaded.rules]))
    if options.dry:
        return
    # The kernel has tables of routes or has them not; the file alone does not show it.
    if any(table not in kernel.tables for table in loaded.rtables):
        failed("pfctl: DIOCADDRULE: Device busy")
    _put(kernel.pf, loaded)


def _put(pf: Pf, loaded: Loaded) -> None:
    """A ruleset takes the place of the one before. Tables that the file fills are filled anew; a
    table that persists keeps what it has; others are gone when no rule names them."""
    for name, defined in loaded.tables.items():
        table = pf.tables.setdefault(name, Table())
        table.persist, table.const = defined.persist, defined.const
        if defined.filled:
            now = time.time()
            known = table.addresses
            table.addresses = {a: known.get(a, now) for a in map(_entry, defined.addresses)}
    for name in loaded.named - set(pf.tables):
        pf.tables[name] = Table()
    pf.tables = {n: t for n, t in pf.tables.items() if t.persist or n in loaded.named}
    pf.rules = list(loaded.rules)
    pf.loads += 1


def _show(pf: Pf, options: Options) -> None:
    modifier = options.given["s"]
    match next((each for each in _SHOWN if each.startswith(modifier)), ""):
        case "rules":
            for line in pf.rules:
                print(line)
        case "info":
            state = "Enabled" if pf.enabled else "Disabled"
            since = f"Status: {state} for 0 days 00:10:00"
            print(f"{since:<43} Debug: err\n\nState Table                          Total")
            print("  current entries                        0")
        case "Tables":
            for name, table in sorted(pf.tables.items()):
                flags = f"-{'p' if table.persist else '-'}a-{'r' if pf.rules else '-'}--"
                print(f"{flags}\t{name}" if "v" in options.letters else name)
        case "states":
            pass
        case _:
            unknown("pfctl", f"-s {modifier}")


def _tables(pf: Pf, options: Options) -> int:
    command = options.given["T"]
    verb = next((each for each in _COMMANDS if each.startswith(command)), "")
    name = options.given["t"]
    if not verb:
        failed(_USAGE)
    if len(name) >= 32:
        failed(_USAGE)
    given = _addresses(options, numbers=verb == "expire")
    if name not in pf.tables:
        if verb not in ("add", "replace"):
            failed("pfctl: Table does not exist.", _NO_TABLE)
        options.say("1 table created.")
    # A dry run and one that fails change nothing.
    table = pf.tables.get(name, Table(persist=True))
    held = dict(table.addresses)
    if table.const and verb in ("add", "delete", "replace", "flush", "kill", "expire"):
        failed("pfctl: Operation not permitted.", _NO_TABLE)
    code = _change(verb, held, given, options)
    if verb == "kill":
        options.say("1 table deleted.")
        if not options.dry:
            del pf.tables[name]
    elif not options.dry:
        table.addresses = held
        pf.tables[name] = table
    return code


def _change(verb: str, held: dict[str, float], given: list[str], options: Options) -> int:
    now, before = time.time(), set(held)
    match verb:
        case "show":
            if given:
                failed(_USAGE)
            for entry in sorted(held, key=_order):
                print(f"   {entry}")
        case "add":
            held.update({entry: now for entry in given if entry not in held})
            options.say(f"{len(set(held) - before)}/{len(given)} addresses added.")
        case "delete":
            for entry in given:
                held.pop(entry, None)
            options.say(f"{len(before - set(held))}/{len(given)} addresses deleted.")
        case "replace":
            kept = {entry: held.get(entry, now) for entry in given}
            held.clear()
            held.update(kept)
            said = [(len(set(held) - before), "added"), (len(before - set(held)), "deleted")]
            for count, what in said:
                if count:
                    options.say(f"{count} addresses {what}.")
            if not any(count for count, _ in said):
                options.say("no changes.")
        case "flush":
            held.clear()
            options.say(f"{len(before)} addresses deleted.")
        case "expire":
            for entry in [e for e, since in held.items() if since <= now - int(given[0])]:
                del held[entry]
            options.say(f"{len(before - set(held))}/{len(before)} addresses expired.")
        case "test":
            found = [a for a in given if _within(a, held)]
            options.say(f"{len(found)}/{len(given)} addresses match.")
            return 0 if len(found) == len(given) else 2
        case "zero":
            held.update(dict.fromkeys(held, now))
            options.say("1 table/stats cleared.")
    return 0


def _addresses(options: Options, numbers: bool) -> list[str]:
    if numbers:
        if len(options.addresses) != 1 or not options.addresses[0].isdigit():
            failed("pfctl: illegal number: invalid")
        return options.addresses
    words = list(options.addresses)
    if "f" in options.given:
        name = options.given["f"]
        content = sys.stdin.read() if name == "-" else path(name).read_text()
        words += re.sub("#.*", "", content).split()
    return [_entry(word) for word in words]


def _entry(word: str) -> str:
    """An address or network as a table has it."""
    try:
        network = ip_network(word.lstrip("!"), strict=False)
    except ValueError:
        failed(f"no IP address found for {word}\npfctl: cannot add {word}".splitlines()[0])
    whole = network.prefixlen == network.max_prefixlen
    return ("!" if word.startswith("!") else "") + str(
        network.network_address if whole else network
    )


def _order(entry: str) -> tuple[int, IPv4Network | IPv6Network]:
    network = ip_network(entry.lstrip("!"))
    return network.version, network


def _within(address: str, held: dict[str, float]) -> bool:
    """Whether a table matches: its longest entry decides, and may be negated."""
    wanted = ip_network(address)
    fit = [
        entry
        for entry in held
        if ip_network(entry.lstrip("!")).version == wanted.version
        and wanted.network_address in ip_network(entry.lstrip("!"))
    ]
    best = max(fit, key=lambda e: ip_network(e.lstrip("!")).prefixlen, default="!")
    return not best.startswith("!")
