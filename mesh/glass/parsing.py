"""Routes in BIRD's own lines, as its versions 2.16 to 3.1 print them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from mesh.foreign import printable

#   10.10.10.2/32        unicast [u_mia_vultr_1 1795993300 from fe80::3] * (100/57) [AS4200000002i]
# A further route of the same prefix has blanks in its place in BIRD 2.
_HEAD = re.compile(
    r"^(?P<prefix>[0-9a-fA-F][0-9a-fA-F.:]*/\d{1,3})?\s+(?P<dest>\w+)"
    r" \[(?P<session>[^\s\]]+) (?P<since>[^\]]*?)(?: from (?P<sender>[^\s\]]+))?\]"
    r"(?P<best> \*)? \((?P<preference>\d+)(?:/(?P<metric>[^)]*))?\)"
    r"(?: \[(?:AS(?P<origin>\d+))?[ie?]\])?\s*$"
)
_TABLE = re.compile(r"^Table (?P<name>\S+?):?$")
# 	via fe80::3 on wg-mia-vultr-1
_VIA = re.compile(r"^\s+via (?P<gateway>\S+) on (?P<interface>\S+)")
_DEVICE = re.compile(r"^\s+dev (?P<interface>\S+)")
# 	BGP.as_path: 4200000003 4200000002           3.1: bgp_path
_ATTRIBUTE = re.compile(r"^\s+(?:BGP\.|bgp_)?(?P<name>[a-z0-9_]+): ?(?P<text>.*)$")
_NAMES = {"path": "as_path"}
_CUT = "..."
"""How BIRD ends a value that is too long for its line."""
_ORIGINS = {"IGP": 0, "EGP": 1, "Incomplete": 2}
_COMMUNITY = re.compile(r"\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class Found:
    """A route as BIRD prints it: its table, where it leads, BIRD's mark of the best one, its
    preference, and its attributes by the names of BGP."""

    table: str
    prefix: str
    dest: str
    session: str
    since: float
    best: bool
    preference: int
    metric: int | None
    head_origin: int | None
    gateway: str = ""
    interface: str = ""
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> tuple[int, ...]:
        """The ASNs of the path from the nearest on, those of sets included."""
        numbers = re.findall(r"\d+", self._path)
        # The last one may be cut off within.
        return tuple(map(int, numbers[:-1] if self.path_is_cut else numbers))

    @property
    def path_is_cut(self) -> bool:
        """Whether BIRD prints only the beginning of the path."""
        return self._path.endswith(_CUT)

    @property
    def has_set(self) -> bool:
        """Whether the path has an AS_SET, or a part of a confederation."""
        return any(mark in self._path for mark in "{(")

    @property
    def origin(self) -> int | None:
        """The last ASN of the path, None without a path and for a set."""
        if self.head_origin is not None or self.path_is_cut:
            return self.head_origin
        last = self._path.split()[-1:]
        return int(last[0]) if last and last[0].isdigit() else None

    @property
    def next_hop(self) -> str:
        """The next hop of BGP, without the address that stands for none."""
        hops = [text for text in self.attributes.get("next_hop", "").split() if text != "::"]
        return hops[0] if hops else ""

    @property
    def local_pref(self) -> int | None:
        """The local preference."""
        return self.number("local_pref")

    @property
    def igp_metric(self) -> int | None:
        """The cost of the way to the next hop."""
        return self.number("igp_metric") if self.metric is None else self.metric

    @property
    def origin_code(self) -> int:
        """How the route came into BGP: 0 for IGP, 1 for EGP, 2 for others."""
        return _ORIGINS.get(self.attributes.get("origin", ""), 2)

    @property
    def communities(self) -> tuple[str, ...]:
        """Communities, large and extended ones as BGP writes them: ``20473:300``."""
        found: list[str] = []
        for name in ("community", "large_community", "ext_community"):
            for inside in _COMMUNITY.findall(self.attributes.get(name, "")):
                found.append(":".join(part.strip() for part in inside.split(",")))
        return tuple(found)

    def number(self, name: str) -> int | None:
        """A number among the attributes."""
        text = self.attributes.get(name, "")
        return int(text) if re.fullmatch(r"\d{1,10}", text) else None

    @property
    def _path(self) -> str:
        return self.attributes.get("as_path", "")


def parsed(lines: Iterable[tuple[int, str]]) -> Iterator[Found]:
    """The routes in a reply to ``show route ... all``; lines that are none of theirs are passed
    over."""
    table, prefix = "", ""
    rest: Found | None = None
    for code, raw in lines:
        text = raw if raw.isprintable() else "\t" * raw.startswith("\t") + printable(raw)
        if code >= 8000:
            continue
        if named := _TABLE.match(text):
            table = named["name"]
        elif head := _HEAD.match(text):
            if rest is not None:
                yield rest
            prefix = head["prefix"] or prefix
            rest = _begun(table, prefix, head)
        elif rest is not None:
            rest = _with(rest, text)
    if rest is not None:
        yield rest


def _begun(table: str, prefix: str, head: re.Match[str]) -> Found:
    metric = head["metric"] or ""
    return Found(
        table,
        prefix,
        head["dest"],
        head["session"],
        float(head["since"]) if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", head["since"]) else 0.0,
        bool(head["best"]),
        int(head["preference"]),
        int(metric) if re.fullmatch(r"\d{1,10}", metric) else None,
        int(head["origin"]) if head["origin"] else None,
    )


def _with(found: Found, text: str) -> Found:
    if via := _VIA.match(text):
        # Of several next hops the first one stands for all.
        if found.gateway:
            return found
        return replace(found, gateway=via["gateway"], interface=via["interface"])
    if device := _DEVICE.match(text):
        return replace(found, interface=device["interface"])
    if attribute := _ATTRIBUTE.match(text):
        name = _NAMES.get(attribute["name"], attribute["name"])
        found.attributes.setdefault(name, attribute["text"].strip())
    return found
