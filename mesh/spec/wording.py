"""What a value of the wrong shape is told: in words of the network's, not of the parser's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.spec.examples import for_example
from mesh.spec.problems import Problem, shown
from mesh.spec.providers import EXAMPLE
from mesh.spec.traffic import Rule, ToAs, options
from mesh.spec.types import Refused

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
FORM = "string_pattern_mismatch"
LONG = "string_too_long"

UNKNOWN = "extra_forbidden"

OF_KEY: dict[tuple[str, str], tuple[str, str]] = {
    **{("asn", kind): ASN for kind in NUMERIC},
    **{("number", kind): NUMBER for kind in NUMERIC},
    ("node", FORM): (
        "a node is called <region>-<provider>-<n>, in small letters",
        f"write it so, for example lax-{EXAMPLE}-1",
    ),
    ("node", LONG): (
        "a node id has at most 12 characters, since wg-<id> names an interface",
        "shorten it: a region's id has two to eight characters",
    ),
    ("region", FORM): (
        "a region's id has two to eight small letters and digits, a letter first",
        "write it so, for example lax",
    ),
    ("slot", FORM): (
        "a slot is called <provider>-<n>, in small letters",
        f"write it so, for example {EXAMPLE}-1",
    ),
    ("path", FORM): ("a path begins with / and has no space in it", "write it as /health"),
    ("rule", UNKNOWN): (
        "a rule has no option of that name",
        f"use one of {', '.join(options(Rule))}",
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
        "every rule has a name, which bird.conf and errors call it by",
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
    ("target", "greater_than_equal"): ("AS0 is reserved (RFC 7607)", "give the AS that is meant"),
    ("service", FORM): (
        "a service's name has small letters, digits and hyphens, a letter first",
        "write it so, for example web",
    ),
}
"""Reason and cure by what the key is (:func:`_what`) and the parser's type of error."""

OF_TYPE: dict[str, tuple[str, str]] = {
    "missing": ("the key is missing", "add it"),
    "extra_forbidden": ("the key is unknown here", "remove it, or mend its spelling"),
    "greater_than_equal": ("it is less than {ge}", "give a value from {ge} on"),
    "less_than_equal": ("it is more than {le}", "give a value of at most {le}"),
    FORM: ("it is not of the form {pattern}", "write it as its provider shows it"),
    "too_short": ("at least {min_length} is needed", "add one"),
    "int_parsing": ("this is not a whole number", "give a whole number"),
    "int_from_float": ("this is not a whole number", "give a whole number"),
    "int_type": ("this is not a whole number", "give a whole number"),
    "float_parsing": ("this is not a number", "give a number"),
    "float_type": ("this is not a number", "give a number"),
    "bool_parsing": ("this is neither true nor false", "write true or false"),
    "bool_type": ("this is neither true nor false", "write true or false"),
    "literal_error": ("it is none of {expected}", "write {expected}"),
    "string_type": ("this is not text", "put it between quotes"),
    "tuple_type": ("this is not a list", "put what it holds in brackets: [...]"),
    "dict_type": ("this is not a map", "write a map"),
    "model_type": ("this is not a map", "write a map"),
    "ip_v4_network": ("this is not an IPv4 network", "write it as 192.0.2.0/24"),
    "ip_v6_network": ("this is not an IPv6 network", "write it as 2001:db8::/32"),
    "ip_v4_address": ("this is not an IPv4 address", "write it as 192.0.2.1"),
    "ip_v6_address": ("this is not an IPv6 address", "write it as 2001:db8::1"),
}
"""Reason and cure for whatever key; names in braces are the limits that the type states."""

SHOWN_BY_EXAMPLE = ("missing", "too_short", "tuple_type", "dict_type", "model_type")
"""Types of errors that say too little without an example of the key."""

LISTS_OF_NODES = ("reflectors", "registries", "without")


def problem(key: str, path: tuple[str, ...], item: Mapping[str, Any]) -> Problem:
    """What is wrong at ``path`` below ``mesh:KEY``; ``item`` is an error as pydantic lists it."""
    kind, limits = item["type"], item.get("ctx", {})
    error = limits.get("error")
    if isinstance(error, Refused):
        reason, cure = str(error), error.cure
    elif words := OF_KEY.get((_what(key, path), kind)) or OF_TYPE.get(kind):
        reason, cure = (text.format_map(limits) for text in words)
    else:
        reason, cure = item["msg"], "give a value of that form"
    if kind in SHOWN_BY_EXAMPLE:
        cure = for_example(cure, key, *path)
    value = "unset" if kind == "missing" else shown(item["input"])
    return Problem(".".join([f"mesh:{key}", *path]), value, reason, cure)


def is_node_id(key: str, path: tuple[str, ...]) -> bool:
    """Whether a node's id stands there, as a key or in a list."""
    return _what(key, path) == "node"


def _what(key: str, path: tuple[str, ...]) -> str:
    """What a value is called, where its shape is known by a name of its own."""
    if key in LISTS_OF_NODES:
        return "node"
    if key == "services" and path[1:2] == ("nodes",):
        return "node"
    if key == "asn":
        return "asn"
    if path[-1:] == ("path",):
        return "path"
    if key == "traffic":
        return _of_a_rule(path)
    if len(path) == 1:
        return {"nodes": "node", "regions": "region", "services": "service"}.get(key, "")
    if key == "regions" and path[1:2] == ("slots",):
        return "slot"
    if key == "nodes" and path[1:2] == ("number",):
        return "number"
    return ""


def _of_a_rule(path: tuple[str, ...]) -> str:
    """The same within a rule of ``mesh:traffic``."""
    if path[1:2] == ("toAs",):
        return "target" if path[-1] == "asn" else "toAs"
    return "rule name" if path[-1:] == ("name",) else "rule"
