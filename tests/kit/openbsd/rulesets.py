"""A pf.conf(5), as far as a stand-in of pfctl has to read it: macros and lists are put in, tables
and routing tables are known, and a line that begins as no rule does is wrong."""

from __future__ import annotations

import re

from tests.kit.openbsd.records import dataclass, field

_BEGIN = frozenset({"pass", "block", "match", "set", "table", "anchor", "antispoof", "queue"})
_KNOWN = """
    pass block match in out quick log on inet inet6 proto from to port user group no state keep
    modulate synproxy flags any all self icmp-type icmp6-type code drop return return-rst
    return-icmp rtable scrub max-mss no-df min-ttl random-id reassemble tos set prio tag tagged
    received-on label max-pkt-rate once allow-opts probability urpf-failed egress rdr-to nat-to
    divert-to divert-packet max-mss sloppy no-route pflow floating if-bound route-to reply-to
    dup-to overload flush global source-track max-src-conn max-src-conn-rate max-src-nodes
    max-src-states fragment least-states binat-to static-port round-robin weight delay
    skip timeout limit optimization block-policy ruleset-optimization state-policy loginterface
    fingerprints hostid debug state-defaults syncookies default timeouts states adaptive"""
_WORDS = frozenset(_KNOWN.split())


_VALUE = re.compile(r"[0-9a-f.:/%*-]+|[<>=!]*[0-9:><=-]+|<[^>]*>|\"[^\"]*\"|[A-Z]+/[A-Z]+|tcp|udp")
_NAMED = frozenset(
    ["on", "proto", "user", "group", "port", "icmp-type", "icmp6-type", "code", "label", "tag",
     "tagged", "received-on", "skip"]
)  # fmt: skip
"""After these a name stands."""


class Wrong(Exception):
    """A line that pfctl refuses."""

    def __init__(self, line: int, why: str = "syntax error") -> None:
        super().__init__(f"{line}: {why}")
        self.line = line
        self.why = why


@dataclass
class Defined:
    """A table as the file defines it."""

    persist: bool
    const: bool
    filled: bool
    addresses: list[str] = field(default_factory=list)


@dataclass
class Loaded:
    """What a file says, in the form that is printed."""

    rules: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    tables: dict[str, Defined] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    rtables: set[int] = field(default_factory=set)


def read(content: str) -> Loaded:
    """A file. Raises :class:`Wrong`."""
    loaded, macros = Loaded(), dict[str, str]()
    for number, line in _lines(content):
        if found := re.fullmatch(r'(\w+)\s*=\s*(?:"([^"]*)"|(\S+))', line):
            macros[found[1]] = _expanded(number, found[2] or found[3] or "", macros)
            loaded.settings.append(f'{found[1]} = "{macros[found[1]]}"')
            continue
        text = " ".join(_expanded(number, line, macros).split())
        _statement(loaded, number, text)
    for name in loaded.named:
        if not re.fullmatch(r"[\w.:-]{1,31}", name):
            raise Wrong(0, "table name too long, max 31 chars")
    return loaded


def _lines(content: str) -> list[tuple[int, str]]:
    """Statements with their numbers. A backslash and an open brace go on in the next line."""
    found: list[tuple[int, str]] = []
    open_text = ""
    for number, line in enumerate(content.splitlines(), 1):
        text = re.sub(r"#.*", "", line).rstrip()
        open_text = f"{open_text} {text.removesuffix(chr(92))}".strip()
        if text.endswith("\\") or open_text.count("{") > open_text.count("}"):
            continue
        if open_text:
            found.append((number, open_text))
        open_text = ""
    if open_text:
        raise Wrong(len(content.splitlines()) + 1)
    return found


def _expanded(number: int, text: str, macros: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in macros:
            raise Wrong(number, f"macro '{match[1]}' not defined")
        return macros[match[1]]

    return re.sub(r"\$(\w+)", value, text)


def _statement(loaded: Loaded, number: int, text: str) -> None:
    word = text.split()[0]
    if word not in _BEGIN or text.count("{") != text.count("}") or text.count('"') % 2:
        raise Wrong(number)
    if word == "table":
        _table(loaded, number, text)
    elif word in ("set", "queue", "anchor"):
        # Interfaces are printed as a list, also one alone.
        loaded.settings.append(re.sub(r"^set skip on (\w+)$", r"set skip on { \1 }", text))
    else:
        _rule(loaded, number, text)


def _table(loaded: Loaded, number: int, text: str) -> None:
    found = re.fullmatch(
        r"table <([\w.:-]+)>((?: persist| const| counters)*)(?: (\{[^}]*\}))?", text
    )
    if found is None or len(found[1]) > 31:
        raise Wrong(number)
    addresses = re.split(r"[\s,]+", found[3].strip("{} ")) if found[3] else []
    flags = found[2].split()
    held = [each for each in addresses if each]
    defined = Defined("persist" in flags, "const" in flags, found[3] is not None, held)
    loaded.tables[found[1]] = defined
    head = text.partition(" {")[0]
    ends = [each.removesuffix("/32") if "." in each else each.removesuffix("/128") for each in held]
    loaded.settings.append(f"{head} {{ {' '.join(ends)} }}" if found[3] is not None else head)


def _rule(loaded: Loaded, number: int, text: str) -> None:
    for table in re.findall(r"<([^>]*)>", text):
        loaded.named.add(table)
    for table in re.findall(r"\brtable (\d+)", text):
        if int(table) > 255:
            raise Wrong(number, "invalid rtable id")
        loaded.rtables.add(int(table))
    _known(number, text)
    loaded.rules += [_normal(each) for each in _crossed(text)]


def _known(number: int, text: str) -> None:
    """Words that are neither pf's own nor what may follow one of them."""
    keyword = ""
    for word in re.findall(r'"[^"]*"|<[^>]*>|[^\s,(){}]+', text):
        bare = word.strip("!=")
        if bare in _WORDS:
            keyword = bare
        elif bare and not _VALUE.fullmatch(bare) and keyword not in _NAMED:
            raise Wrong(number)


def _crossed(text: str) -> list[str]:
    """A rule with lists is one rule for each choice."""
    found = re.search(r"\{([^}]*)\}", text)
    if found is None:
        return [text]
    items = [item for item in re.split(r"\s*,\s*|\s+", found[1].strip()) if item]
    return [
        rule
        for item in items
        for rule in _crossed(f"{text[: found.start()]}{item}{text[found.end() :]}")
    ]


def _normal(rule: str) -> str:
    """As pfctl prints it: what is understood is said."""
    text = re.sub(r"\bport (\d+)(?![\d:])", r"port = \1", " ".join(rule.split()))
    text = re.sub(r"\b(user|group) (\w+)", r"\1 = \2", text)
    text = text.replace(" from any to any ", " all ").removesuffix(" from any to any")
    if text.startswith("block") and not text.startswith(("block drop", "block return")):
        text = text.replace("block", "block drop", 1)
    words = text.split()
    if not {"from", "to", "all"} & set(words):
        text = _all(words)
    text = _ends(text)
    if text.startswith("pass") and "no state" not in text and "flags" not in text:
        tcp = "proto tcp" in text or "proto" not in text
        at = re.search(r" (label|tag|tagged|rtable|scrub|set|max-pkt-rate) ", text)
        end = at.start() if at else len(text)
        text = f"{text[:end]} flags S/SA{text[end:]}" if tcp else text
    return text


def _ends(text: str) -> str:
    """Both ends are printed where one is given."""
    if " to " not in text:
        found = re.search(r" from (?:! )?\S+(?: port (?:= )?\S+)?", text)
        return text if found is None else f"{text[: found.end()]} to any{text[found.end() :]}"
    return text if " from " in text else text.replace(" to ", " from any to ", 1)


def _all(words: list[str]) -> str:
    """``all`` stands where addresses would."""
    ends = ("no", "keep", "modulate", "flags", "scrub", "rtable", "label", "icmp-type",
            "icmp6-type", "user", "set", "tag", "tagged", "allow-opts", "max-pkt-rate")  # fmt: skip
    at = next((i for i, word in enumerate(words) if word.lstrip("(") in ends), len(words))
    return " ".join([*words[:at], "all", *words[at:]])
