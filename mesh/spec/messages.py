"""Error messages for values of the wrong type or form, in place of the parser's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.spec import known
from mesh.spec.examples import for_example
from mesh.spec.ids import LONGEST
from mesh.spec.model import SECTIONS
from mesh.spec.problems import Problem, shown
from mesh.spec.providers import EXAMPLE
from mesh.spec.traffic import ToAs, TrafficRule, options
from mesh.spec.types import InvalidValue

ASN = (
    "an ASN is a whole number from 1 to 4294967295",
    "give the number that your RIR assigned to you, as 27218",
)
NUMBER = (
    "a node's number is a whole number from 1 to 9999",
    "give a number that was never used",
)
NUMERIC = (
    "greater_than_equal",
    "less_than_equal",
    "int_parsing",
    "int_parsing_size",
    "int_from_float",
    "int_type",
)
LINGER = (
    "a node lingers a whole number of seconds from 0 to 600",
    "give the seconds alone, for example 30",
)
FORM = "string_pattern_mismatch"
LONG = "string_too_long"

UNKNOWN = "extra_forbidden"

PFSYNC = (
    "pfsync(4) copies states of the filter, not connections: the rules for anycast addresses keep "
    "no states, and a connection that comes to another node ends with it or without it",
    "remove it; docs/openbsd.md says when it would help",
)

OF_KEY: dict[tuple[str, str], tuple[str, str]] = {
    **{("asn", kind): ASN for kind in NUMERIC},
    **{("number", kind): NUMBER for kind in NUMERIC},
    **{("linger", kind): LINGER for kind in NUMERIC},
    ("node", FORM): (
        "a node's id is <region>-<provider>-<n>, in small letters",
        f"write it so, for example lax-{EXAMPLE}-1",
    ),
    ("node", LONG): (
        f"a node's id has at most {LONGEST} characters",
        "shorten its region's id or its provider's name",
    ),
    ("region", FORM): (
        "a region's id has two to eight small letters and digits, a letter first",
        "write it so, for example lax",
    ),
    ("slot", FORM): (
        "a slot's name is <provider>-<n>, in small letters",
        f"write it so, for example {EXAMPLE}-1",
    ),
    ("path", FORM): ("a path begins with / and has no space in it", "write it as /health"),
    ("pfsync", UNKNOWN): PFSYNC,
    ("rule", UNKNOWN): (
        "a rule has no option of that name",
        f"use one of {', '.join(options(TrafficRule))}",
    ),
    ("toAs", UNKNOWN): (
        "there is no such action towards an AS",
        f"use one of {', '.join(options(ToAs))}",
    ),
    ("rule name", FORM): (
        "a rule's name has small letters, digits and hyphens, a letter first",
        "write it so, for example keep-new-york-light",
    ),
    ("rule name", "missing"): (
        "every rule has a name, which bird.conf and errors use",
        "add one, for example name: keep-new-york-light",
    ),
    ("rule", "model_type"): (
        "a rule is a map of options",
        "write it as - name: less-here, with its options below",
    ),
    ("rule", "tuple_type"): (
        "this is not a list",
        "begin each rule with a hyphen: - name: less-here",
    ),
    ("target", "greater_than_equal"): ("AS0 is reserved (RFC 7607)", "give another ASN"),
    ("session", FORM): (
        "a session's name has small letters, digits and hyphens, a letter first",
        "write it so, for example name: transit",
    ),
    ("session", LONG): ("a session's name has at most 32 characters", "shorten it"),
    ("interface", FORM): (
        "an interface's name has at most 15 letters, digits, dots and hyphens",
        "write it as `ip link` shows it on the server, for example interface: eth1",
    ),
    ("blackhole", FORM): (
        "a community is two or three numbers with colons between them",
        'write it between quotes as the neighbor documents it, for example blackhole: "64510:666"',
    ),
    ("password", "bool_parsing"): (
        "this is neither true nor false, and a password has no place in the stack file",
        "write true; `mesh check` shows the command that sets it as a secret",
    ),
    ("host's session", "model_type"): (
        "this is not a map",
        "write one session here as a map, and further ones in upstreams of the node",
    ),
    ("content", FORM): (
        "this is not the path of a directory beside the stack file",
        "write it without .. and without / at the beginning, for example site",
    ),
    ("unit", FORM): (
        "this is not the name of a systemd service",
        "write it as `systemctl` shows it, for example caddy.service",
    ),
    ("host name", FORM): (
        "this is not a host name in small letters, without wildcards, scheme and port",
        "write it so, for example www.example.net; a name with other letters as xn--…",
    ),
    ("host", FORM): (
        "this is no host name",
        "write it without scheme, port and path, for example www.example.net",
    ),
    ("ca", FORM): (
        "this is no certificate as PEM",
        "write `ca: |`, and below it the file of the authority, with its BEGIN and END lines",
    ),
    ("name", FORM): (
        "this is no name in DNS",
        "write it as in a zone, for example example.net",
    ),
    ("command", FORM): (
        "this is not the name of a file in /etc/anycast-mesh/checks of a node",
        "write the name alone, and what the program is called with as arguments",
    ),
    ("receiver", FORM): (
        "a receiver's name has small letters, digits and hyphens, a letter first",
        "write it so, for example pager",
    ),
    ("mail", FORM): ("this is no address for mail", "write it as noc@example.net"),
    ("mail server", FORM): (
        "this is no mail server with its port",
        "write it as smtp.example.net:587",
    ),
    ("channel", FORM): ("this is no channel of Slack", 'write it between quotes, as "#noc"'),
    ("receiver's secret", UNKNOWN): (
        "what a receiver keeps to itself is a secret of the stack",
        "remove it, and give it by `pulumi config set --secret mesh:alertReceiver-` with the name "
        "of the receiver behind",
    ),
    ("service", FORM): (
        "a service's name has small letters, digits and hyphens, a letter first",
        "write it so, for example web",
    ),
}
"""Reason and cure by the kind of key (:func:`_kind`) and the parser's type of error."""

OF_TYPE: dict[str, tuple[str, str]] = {
    "missing": ("the key is missing", "add it"),
    UNKNOWN: ("the key is unknown here", "remove it, or correct its spelling"),
    "greater_than_equal": ("it is less than {ge}", "give a value from {ge} on"),
    "less_than_equal": ("it is more than {le}", "give a value of at most {le}"),
    FORM: ("it is not of the form {pattern}", "write it as its provider shows it"),
    "string_too_short": ("it is empty", "write a text"),
    "too_short": ("at least {min_length} is needed", "add one"),
    "int_parsing": ("this is not a whole number", "give a whole number"),
    "int_from_float": ("this is not a whole number", "give a whole number"),
    "int_type": ("this is not a whole number", "give a whole number"),
    "float_parsing": ("this is not a number", "give a number"),
    "float_type": ("this is not a number", "give a number"),
    "bool_parsing": ("this is neither true nor false", "write true or false"),
    "bool_type": ("this is neither true nor false", "write true or false"),
    "literal_error": ("it is none of {expected}", "write {expected}"),
    "enum": ("it is none of {expected}", "write {expected}"),
    "string_type": ("this is not text", "put it between quotes"),
    "tuple_type": ("this is not a list", "put what it holds in brackets: [...]"),
    "dict_type": ("this is not a map", "write a map"),
    "model_type": ("this is not a map", "write a map"),
    "ip_v4_network": ("this is not an IPv4 network", "write it as 192.0.2.0/24"),
    "ip_v6_network": ("this is not an IPv6 network", "write it as 2001:db8::/32"),
    "ip_v4_address": ("this is not an IPv4 address", "write it as 192.0.2.1"),
    "ip_v4_interface": ("this is not an IPv4 address", "write it as 192.0.2.2 or 192.0.2.2/30"),
    "ip_v6_interface": ("this is not an IPv6 address", "write it as 2001:db8::2/64"),
    "ip_v6_address": ("this is not an IPv6 address", "write it as 2001:db8::1"),
}
"""Reason and cure for other keys; names in braces are limits of the key's type."""

SHOWN_BY_EXAMPLE = ("missing", "too_short", "tuple_type", "dict_type", "model_type")
"""Types of errors whose cure has an example of the key."""

LISTS_OF_NODES = ("reflectors", "registries", "without")


def problem(key: str, path: tuple[str, ...], item: Mapping[str, Any]) -> Problem:
    """The problem at ``path`` below ``mesh:KEY``; ``item`` is an error as pydantic lists it."""
    kind, limits = item["type"], item.get("ctx", {})
    error = limits.get("error")
    if isinstance(error, InvalidValue):
        reason, cure = str(error), error.cure
    elif texts := OF_KEY.get((_kind(key, path), kind)) or OF_TYPE.get(kind):
        reason, cure = (text.format_map(limits) for text in texts)
        if texts is OF_TYPE[UNKNOWN]:
            cure = known.cure(key, path) or cure
    else:
        reason, cure = item["msg"], "give a value of that form"
    if kind in SHOWN_BY_EXAMPLE:
        cure = for_example(cure, key, *path)
    value = "unset" if kind == "missing" else shown(item["input"])
    if _kind(key, path) in ("password", "receiver's secret"):
        value = "[secret]"
    return Problem(".".join([f"mesh:{key}", *path]), value, reason, cure)


def unknown(key: str, value: object) -> Problem:
    """The problem of ``mesh:KEY``, which is none of the stack file's keys."""
    reason, cure = "the key is unknown", f"use one of {', '.join(SECTIONS)}"
    if key == "pfsync":
        reason, cure = PFSYNC
    return Problem(f"mesh:{key}", shown(value), reason, cure)


def is_node_id(key: str, path: tuple[str, ...]) -> bool:
    """Whether the value at that path is a node's id, as a key or in a list."""
    return _kind(key, path) == "node"


def _kind(key: str, path: tuple[str, ...]) -> str:
    """The kind of a value that has messages of its own; empty for all others."""
    if key in LISTS_OF_NODES:
        return "node"
    if key == "services" and path[1:2] == ("nodes",):
        return "node"
    if key == "monitoring":
        return _of_monitoring(path)
    if key == "asn":
        return "asn"
    if key == "drain":
        return path[-1] if path else ""
    if path[-1:] == ("path",):
        return "path"
    if key == "services" and path[1:2] == ("checks",):
        return path[-1]
    if key == "services" and len(path) > 1:
        return {"content": "content", "unit": "unit", "names": "host name"}.get(path[1], "")
    if key == "traffic":
        return _of_a_rule(path)
    if len(path) == 1:
        return {"nodes": "node", "regions": "region", "services": "service"}.get(key, "")
    if key == "regions" and path[1:2] == ("slots",):
        return "slot"
    if key == "nodes":
        return _of_a_node(path[1:])
    return ""


def _of_a_node(path: tuple[str, ...]) -> str:
    """The same within a node."""
    match path:
        case ("number", *_):
            return "number"
        case ("pfsync",) | (_, "pfsync"):
            return "pfsync"
        case ("host", "upstream"):
            return "host's session"
        case ("upstreams", _, "name"):
            return "session"
        case ("upstreams", _, "interface" | "blackhole" | "password" as last):
            return last
        case ("host", "upstream", "blackhole" | "password" as last):
            return last
    return ""


def _of_monitoring(path: tuple[str, ...]) -> str:
    """The same within ``mesh:monitoring``."""
    match path:
        case ("nodes", _):
            return "node"
        case ("receivers", _) | ("watchdog",):
            return "receiver"
        case ("receivers", _, "to" | "from"):
            return "mail"
        case ("receivers", _, "server"):
            return "mail server"
        case ("receivers", _, "channel"):
            return "channel"
        case ("receivers", _, "url" | "key" | "routingKey" | "token" | "password" | "secret"):
            return "receiver's secret"
    return ""


def _of_a_rule(path: tuple[str, ...]) -> str:
    """The same within a rule of ``mesh:traffic``."""
    if path[1:2] == ("toAs",):
        return "target" if path[-1] == "asn" else "toAs"
    return "rule name" if path[-1:] == ("name",) else "rule"
