"""A YAML or JSON text, read as the engine reads it.

The engine uses gopkg.in/yaml.v3, PyYAML follows YAML 1.1. They differ in plain scalars: to the
engine ``no``, ``on`` and ``12:30`` are text, ``1e3`` is a number and ``010`` is eight. So PyYAML
only parses here, and :func:`_scalar` resolves values (yaml.v3: resolve.go, decode.go).
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import yaml

PLAIN = "!plain"
"""Tag of a scalar that has neither quotes nor a tag."""
LONGEST = 200_000
"""Limit of values in one document, each use of an alias counted."""
STANDARD = "tag:yaml.org,2002:"
MERGE = "<<"

PLAIN_VALUES: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
INTEGER = re.compile(
    r"(?P<sign>[-+]?)(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<two>[01]+)|0[oO]?(?P<eight>[0-7]+)"
    r"|(?P<ten>0|[1-9][0-9]*))"
)
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
MOMENT = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:(?P<t>[Tt ])([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.([0-9]{1,9}))?"
    r"(?P<zone>Z|[-+][0-9]{2}:[0-9]{2})?)?"
)
TAGGED: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}
"""Types of a scalar under a standard tag."""


class ParseError(ValueError):
    """The text is not valid YAML or JSON; the message has the place and the reason."""


def read_yaml(text: bytes) -> Any:
    """The first document in a YAML text; None where there is none. Maps have keys of text."""
    try:
        loader = _Composer(text.removeprefix(b"\xef\xbb\xbf"))
        try:
            node = loader.get_node() if loader.check_node() else None
        finally:
            loader.dispose()
        return None if node is None else _Values().of(node)
    except yaml.YAMLError as error:
        raise ParseError(_where(error)) from None
    except UnicodeDecodeError as error:
        raise ParseError(f"byte {error.start}: {error.reason}") from None
    except RecursionError:
        raise ParseError("maps and lists are nested too deeply") from None


def read_json(text: str | bytes) -> Any:
    """A JSON text; a duplicate key is an error."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ParseError("maps and lists are nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ParseError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise ParseError(f"byte {error.start}: {error.reason}") from None


class DuplicateKey(ParseError):
    """A key occurs twice in one JSON map: json.loads would silently take the second."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DuplicateKey(f"the key {key} is set twice")
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise ParseError(f"{name} is no number that JSON knows")


class _Composer(yaml.SafeLoader):
    """Parses and composes, and does not resolve plain scalars."""

    yaml_implicit_resolvers = {None: [(PLAIN, re.compile(""))]}  # noqa: RUF012  (PyYAML's name)


class _Values:
    """Values of one document."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._count = 0

    def of(self, node: yaml.Node) -> Any:
        self._count += 1
        if self._count > LONGEST:
            raise _wrong(node, "aliases make this document too large")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) in self._open:
            raise _wrong(node, "this alias is part of what it stands for")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.of(each) for each in node.value]
            return self._map(node)
        finally:
            self._open.discard(id(node))

    def _map(self, node: yaml.Node) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                merged.append(value_node)
                continue
            key = self._key(key_node)
            if key in found:
                raise _wrong(key_node, f"the key {key} is set twice")
            found[key] = self.of(value_node)
        if len(merged) > 1:
            raise _wrong(node, f"the key {MERGE} is set twice")
        for value_node in merged:
            maps = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for each in maps:
                if not isinstance(each, yaml.MappingNode):
                    raise _wrong(value_node, f"{MERGE} takes a map, or a list of maps")
                # The map's own keys come first, then those of the earlier map.
                found |= {k: v for k, v in self.of(each).items() if k not in found}
        return found

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise _wrong(node, "a key is text")
        value = _scalar(node)
        if value is None:
            return "<nil>"  # as Go prints it
        return text(value)


def text(value: bool | int | float | str) -> str:
    """A scalar as the engine passes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return re.sub(r"e-0(?=[0-9]$)", "e-", str(value))


def number(value: float) -> int | float:
    """A number as the engine's JSON has it: one without a fraction is an integer."""
    if value.is_integer() and abs(value) < 1e21:
        return int(format(Decimal(repr(value)), "f").partition(".")[0])
    return value


def _is_merge(node: yaml.Node) -> bool:
    tags = (PLAIN, f"{STANDARD}merge")
    return isinstance(node, yaml.ScalarNode) and node.value == MERGE and node.tag in tags


def _scalar(node: yaml.ScalarNode) -> Any:
    if node.tag == PLAIN:
        value = _plain(node.value, dates=True)
    elif node.tag.removeprefix(STANDARD) in TAGGED:
        value = _plain(node.value, dates=False)
        kind = node.tag.removeprefix(STANDARD)
        if not isinstance(value, TAGGED[kind]) or (kind != "bool" and isinstance(value, bool)):
            raise _wrong(node, f"this is no value of the type {kind}")
    else:
        return str(node.value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _wrong(node, "the engine cannot pass an infinite number")
        return number(value)
    return value


def _plain(scalar: str, *, dates: bool) -> Any:
    """The value of a scalar without quotes."""
    if scalar in PLAIN_VALUES:
        return PLAIN_VALUES[scalar]
    if scalar[0] not in "+-.0123456789":
        return scalar
    if dates and (moment := _moment(scalar)) is not None:
        return moment
    digits = scalar if scalar[0] == "." else scalar.replace("_", "")
    if (integer := _integer(digits)) is not None:
        return integer
    if FLOAT.fullmatch(digits) and math.isfinite(value := float(digits)):
        return value
    return scalar


def _integer(digits: str) -> int | None:
    """A number of 64 bits, signed or not; None for a larger one."""
    found = INTEGER.fullmatch(digits)
    if found is None:
        return None
    bases = {"hex": 16, "two": 2, "eight": 8, "ten": 10}
    name = next(name for name in bases if found[name] is not None)
    value = int(found["sign"] + found[name], bases[name])
    limit = 2**63 if found["sign"] else 2**64
    return value if -(2**63) <= value < limit else None


def _moment(scalar: str) -> str | None:
    """A date as the engine writes it back as text; None where it is none."""
    found = MOMENT.fullmatch(scalar)
    if found is None or ((found["t"] == " ") and found["zone"]) or (
        found["t"] in ("T", "t") and not found["zone"]
    ):  # fmt: skip
        return None
    year, month, day, _, hour, minute, second, fraction, zone = found.groups()
    offset = timedelta(0)
    if zone and zone != "Z":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6])) * (
            -1 if zone[0] == "-" else 1
        )
    try:
        clock = (int(hour or 0), int(minute or 0), int(second or 0))
        at = datetime(int(year), int(month), int(day), *clock, tzinfo=timezone(offset))
    except ValueError:
        return None
    rest = f".{fraction}".rstrip("0") if fraction and fraction.strip("0") else ""
    name = "UTC" if at.tzinfo == UTC else at.strftime("%z")
    return f"{at:%Y-%m-%d %H:%M:%S}{rest} {at:%z} {name}"


def _wrong(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _where(error: yaml.YAMLError) -> str:
    """Line, column and the parser's error."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error)
    what = getattr(error, "problem", None) or "cannot be read"
    return f"line {mark.line + 1}, column {mark.column + 1}: {what}"
