"""What may be asked of the looking glass: typed questions, parsed from the text of a request.

Every value becomes an address, a prefix, or a name of a list before anything is done with it. What
BIRD and other nodes are asked is written from these values and never from the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import parse_qsl, urlencode

from mesh.foreign import printable
from mesh.glass.answers import Mistake
from mesh.glass.network import Network, Node
from mesh.glass.words import REASONS, sessions

Target = IPv4Address | IPv6Address | IPv4Network | IPv6Network
ALL = "all"
"""Every node of the plan."""
MAX_QUERY = 4096
"""Characters of a query string."""
MAX_FIELDS = 12
TABLE = re.compile(r"^(?P<kind>master|internet|services|replies)(?P<version>[46])(_\d{1,6})?$")
"""Tables that a look-up may name."""
_SHOWN = 80
"""Characters of a bad value that an error repeats."""


class Unanswerable(Exception):
    """A question that is not answered, with the status of HTTP for it."""

    def __init__(self, status: int, mistake: Mistake) -> None:
        super().__init__(f"{mistake.key}: {mistake.reason}")
        self.status, self.mistake = status, mistake


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteQuestion:
    """The routes to an address, or of a prefix. ``node`` is an id or ``all``, ``table`` one of
    BIRD's or empty for each that can hold the answer; ``more`` asks for more-specifics too."""

    target: Target
    node: str = ALL
    table: str = ""
    more: bool = False

    @property
    def asked(self) -> dict[str, str]:
        """The same as parameters."""
        found = {"for": str(self.target), "node": self.node}
        found |= {"table": self.table} if self.table else {}
        return found | ({"more": "1"} if self.more else {})

    @property
    def version(self) -> int:
        """The family, as 4 or 6."""
        return self.target.version

    @property
    def prefix(self) -> IPv4Network | IPv6Network:
        """The target as a prefix."""
        return ip_network(self.target)

    @property
    def is_address(self) -> bool:
        """Whether an address was asked for, to which the longest match leads."""
        return isinstance(self.target, IPv4Address | IPv6Address)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedQuestion:
    """The refused routes of ``node`` (an id or ``all``): of a ``session`` by BIRD's name, empty for
    all, and for a ``reason`` by its number, None for all."""

    node: str
    session: str = ""
    reason: int | None = None

    @property
    def asked(self) -> dict[str, str]:
        """The same as parameters."""
        found = {"node": self.node} | ({"session": self.session} if self.session else {})
        return found | ({} if self.reason is None else {"reason": str(self.reason)})


@dataclass(frozen=True, slots=True, kw_only=True)
class WayQuestion:
    """The way from the node ``start`` to the node ``end``."""

    start: str
    end: str

    @property
    def asked(self) -> dict[str, str]:
        """The same as parameters."""
        return {"from": self.start, "to": self.end}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshQuestion:
    """What ``node`` (an id or ``all``) says of itself."""

    node: str = ALL

    @property
    def asked(self) -> dict[str, str]:
        """The same as parameters."""
        return {} if self.node == ALL else {"node": self.node}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceQuestion:
    """Who serves the service ``name``."""

    name: str

    @property
    def asked(self) -> dict[str, str]:
        """The same as parameters."""
        return {"service": self.name}


Question = RouteQuestion | RefusedQuestion | WayQuestion | MeshQuestion | ServiceQuestion


def query(asked: Mapping[str, str]) -> str:
    """Parameters as a query string."""
    return urlencode(asked)


def mistake(key: str, value: str, reason: str, cure: str, status: int = 400) -> Unanswerable:
    """The error for a value of a parameter; what it repeats of the value is printable."""
    return Unanswerable(status, Mistake(key=key, value=printable(value)[:_SHOWN], reason=reason,
                                        cure=cure))  # fmt: skip


def parameters(text: str, known: Collection[str]) -> dict[str, str]:
    """The parameters of a query string, without empty ones. Each is known and is there once."""
    if len(text) > MAX_QUERY:
        raise mistake("query", text, f"has {len(text)} characters", f"at most {MAX_QUERY}")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        cure = f"at most {MAX_FIELDS} parameters, in UTF-8"
        raise mistake("query", text, "is no list of parameters", cure) from None
    found: dict[str, str] = {}
    for key, value in pairs:
        if key not in known:
            cure = f"one of: {', '.join(sorted(known))}" if known else "this page takes none"
            raise mistake(printable(key)[:_SHOWN], value, "is no parameter here", cure)
        if key in found:
            raise mistake(key, value, "is there twice", "give it once")
        found[key] = value
    return {key: value for key, value in found.items() if value}


def route(given: Mapping[str, str], network: Network) -> RouteQuestion | None:
    """``for``, ``node``, ``table`` and ``more``; None where nothing is asked yet."""
    if "for" not in given:
        for key in set(given) & {"table", "more"}:
            raise mistake("for", "", f"is missing beside {key}", "an address or a prefix")
        return None
    wanted = target(given["for"])
    return RouteQuestion(
        target=wanted,
        node=node_or_all(given.get("node", ALL), network),
        table=table(given.get("table", ""), wanted),
        more=flag("more", given.get("more", "")),
    )


def refused(given: Mapping[str, str], network: Network) -> RefusedQuestion | None:
    """``node``, ``session`` and ``reason``; None where nothing is asked yet."""
    if not given:
        return None
    where = node_or_all(given.get("node", ALL), network)
    return RefusedQuestion(
        node=where,
        session=_session(given.get("session", ""), where, network),
        reason=_reason(given.get("reason", "")),
    )


def way(given: Mapping[str, str], network: Network) -> WayQuestion | None:
    """``from`` and ``to``; None where nothing is asked yet."""
    if not given:
        return None
    for key in ("from", "to"):
        if key not in given:
            raise mistake(key, "", "is missing", _nodes(network))
    return WayQuestion(
        start=node("from", given["from"], network).id, end=node("to", given["to"], network).id
    )


def service(name: str, network: Network) -> ServiceQuestion:
    """A service of the plan."""
    known = [each.name for each in network.services]
    if name not in known:
        cure = f"one of: {', '.join(known)}" if known else "the plan has no service"
        raise mistake("service", name, "is no service of the plan", cure, 404)
    return ServiceQuestion(name=name)


def target(text: str) -> Target:
    """An address or a prefix."""
    cure = "an address as 192.0.2.1 or 2001:db8::1, or a prefix as 192.0.2.0/24"
    if "%" in text:
        raise mistake("for", text, "has a zone", "the address without % and what follows")
    address, slash, length = text.partition("/")
    try:
        if not slash:
            return _plain(ip_address(address), text)
        if not re.fullmatch(r"[0-9]{1,3}", length):
            raise ValueError
        wanted = ip_network(text, strict=False)
    except ValueError:
        raise mistake("for", text, "is neither an address nor a prefix", cure) from None
    if wanted.network_address != ip_address(address):
        raise mistake("for", text, "has bits beyond its length", f"{wanted}")
    _plain(wanted.network_address, text)
    return wanted


def _plain(address: IPv4Address | IPv6Address, text: str) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise mistake("for", text, "is an IPv4 address in the form of IPv6",
                      f"{address.ipv4_mapped}")  # fmt: skip
    return address


def table(text: str, wanted: Target) -> str:
    """A table of BIRD of the family of what is looked up, or none."""
    if not text:
        return ""
    found = TABLE.match(text) if text.isascii() else None
    if found is None or found[0] != text:
        cure = "master, internet, services or replies, with 4 or 6"
        raise mistake("table", text, "is no table that can be asked", cure)
    if int(found["version"]) != wanted.version:
        other = f"{found['kind']}{wanted.version}{found[3] or ''}"
        raise mistake("table", text, f"has no routes of IPv{wanted.version}", other)
    return text


def flag(key: str, text: str) -> bool:
    """``1`` for yes."""
    if text not in ("", "0", "1"):
        raise mistake(key, text, "is neither 0 nor 1", "1, or nothing")
    return text == "1"


def node(key: str, text: str, network: Network) -> Node:
    """A node of the plan."""
    if text not in network.by_id:
        raise mistake(key, text, "is no node of the plan", _nodes(network), 404)
    return network.by_id[text]


def node_or_all(text: str, network: Network) -> str:
    """The id of a node of the plan, or ``all``."""
    return ALL if text == ALL else node("node", text, network).id


def _nodes(network: Network) -> str:
    ids = [each.id for each in network.nodes]
    return f"one of: {', '.join(ids[:20])}{', ...' if len(ids) > 20 else ''}"


def _session(text: str, where: str, network: Network) -> str:
    if not text:
        return ""
    nodes = network.nodes if where == ALL else (network.by_id[where],)
    if not any(text in sessions(each, network) for each in nodes):
        cure = "a session that the page of the node shows"
        raise mistake("session", text, "is no session of the plan there", cure, 404)
    return text


def _reason(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) not in REASONS:
        cure = f"a number of: {', '.join(map(str, REASONS))}"
        raise mistake("reason", text, "is no reason of the list", cure)
    return int(text)
