"""``configuration.md``: every key of the stack file, from the models in :mod:`mesh.spec`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import EnumType
from functools import reduce
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mesh.reference import docstrings
from mesh.reference.markdown import anchor, begun, bullets, fenced, link, page, prose
from mesh.spec import alerting, examples, model, secrets, traffic, types, vrps
from mesh.spec.providers import EXAMPLE, PROVIDERS, existing
from mesh.spec.section import Section

SPECIAL: tuple[tuple[str, Any, Any], ...] = (
    ("Region id", model, "RegionId"),
    ("Slot name", model, "SlotName"),
    ("Slot", types, "Slot"),
    ("Node id", model, "NodeId"),
    ("Name", model, "Name"),
    ("IPv4 prefixes", model, "Aggregates4"),
    ("IPv6 prefixes", model, "Aggregates6"),
    ("Rule name", traffic, "RuleName"),
    ("Addresses of IPv4", types, "Addresses4"),
    ("Addresses of IPv6", types, "Addresses6"),
    ("SSH host key", model, "HostKey"),
    ("Folder", model, "Folder"),
    ("Host name", model, "HostName"),
    ("Unit name", model, "UnitName"),
    ("Community", traffic, "RawCommunity"),
    ("Mail address", alerting, "MailAddress"),
    ("Mail server", alerting, "MailServer"),
    ("Mail account", alerting, "MailUser"),
    ("Slack channel", alerting, "Channel"),
    ("VRP list", vrps, "VrpDemand"),
    ("RTR server", vrps, "RtrServer"),
)
"""Types of values that are explained once, at the end: heading, module and name there."""

ENTRY = {
    "regions": "REGION", "nodes": "NODE", "services": "SERVICE", "links": "LINK", "given": "REGION",
    "receivers": "RECEIVER",
}  # fmt: skip
"""Placeholders in a path for the name of a map's entry."""

PLAIN = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    str: "text",
    IPv4Address: "IPv4 address",
    IPv6Address: "IPv6 address",
    IPv4Interface: "IPv4 address, with the length of its subnet or without",
    IPv6Interface: "IPv6 address, with the length of its subnet or without",
    IPv4Network: "IPv4 network",
    IPv6Network: "IPv6 network",
}

LONGEST = 90
"""Characters of an example on one line."""

INTRODUCTION = """\
A network is described by the file of its Pulumi stack, `Pulumi.<stack>.yaml`. Its keys stand \
under `config:`, and each begins with `mesh:`. `mesh check --stack <stack>` lists the problems \
of the file; an unknown key is an error, and so is one that stands outside `config:`. This is \
the smallest valid file:"""

READING = """\
In this page a dot means one level deeper: `mesh:tunnels.port` is the key `port` in the map \
`mesh:tunnels`. A name in capitals is one that you choose: `NODE` is the id of a node. `[]` means \
each entry of a list. A *required* key has to be in its map where that map is there; every other \
key may be left out, and has its default then."""

SECRETS = """\
A secret is encrypted in the stack file. `pulumi config set --secret KEY` asks for its value and \
writes it. As plain text in the file it is an error. `mesh check` lists the secrets that a stack \
needs, and warns of a missing one; a preview stops there."""

OTHERS = """\
Keys that do not begin with `mesh:` are those of Pulumi's providers, or without a namespace the \
project's own. `mesh check` warns of `services:` in place of `mesh:services:`, unless \
`Pulumi.yaml` declares it. These the mesh reads itself:"""


@dataclass(frozen=True)
class Key:
    """One key: its path from ``mesh:`` on as shown, and as in the examples; the type of its value,
    its description, its default (PydanticUndefined for a required key), and what else there is to
    say."""

    path: str
    example: tuple[str, ...]
    hint: Any
    description: str
    default: Any
    notes: tuple[str, ...] = ()


def text() -> str:
    """The page."""
    return page(_blocks())


def _blocks() -> Iterator[str]:
    yield from begun("Configuration", "the models in `mesh/spec`")
    yield INTRODUCTION
    smallest = "".join(_example(name) + "\n" for name in examples.REQUIRED)
    yield fenced(_block({"config": yaml.safe_load(smallest)}), "yaml")
    yield READING
    yield "All keys at the top of the file:"
    keys = tuple(top())
    listed = [(key.path, prose(key.description)) for key in keys]
    listed += [(secret, prose(text)) for secret, text in SECRET_KEYS.items()]
    yield bullets(f"{link(path, f'`{path}`')}: {text}" for path, text in listed)
    for key in keys:
        yield f"## `{key.path}`"
        yield from _entry(key)
        for inner in _below(key):
            yield f"### `{inner.path}`"
            yield from _entry(inner)
    yield "## Secrets"
    yield SECRETS
    for path, text in SECRET_KEYS.items():
        yield f"### `{path}`"
        yield prose(text)
        yield bullets(["type: text, a secret", f"set it: `{SETTING[path]}`"])
    yield "## Keys of other namespaces"
    yield OTHERS
    yield bullets(key for facts in PROVIDERS.values() for key in facts.keys)
    yield "## Kinds of values"
    for heading, module, name in SPECIAL:
        yield f"### {heading}"
        yield prose(docstrings.of_names(module.__name__)[name])


def _example(name: str) -> str:
    text = examples.written(name)
    assert text is not None, f"{name} has an example"
    return text


_SECRETS = docstrings.of_names(secrets.__name__)
SECRET_KEYS = {
    f"mesh:{secrets.PREFIX}PROVIDER": _SECRETS["PREFIX"],
    f"mesh:{secrets.SSH_PREFIX}PROVIDER": _SECRETS["SSH_PREFIX"],
    f"mesh:{secrets.RECEIVER_PREFIX}RECEIVER": _SECRETS["RECEIVER_PREFIX"],
}
SETTING = {
    f"mesh:{secrets.PREFIX}PROVIDER": f"pulumi config set --secret mesh:{secrets.PREFIX}{EXAMPLE}",
    f"mesh:{secrets.SSH_PREFIX}PROVIDER":
        f"pulumi config set --secret mesh:{secrets.SSH_PREFIX}{existing.EXAMPLE} < KEYFILE",
    f"mesh:{secrets.RECEIVER_PREFIX}RECEIVER":
        f"pulumi config set --secret mesh:{secrets.RECEIVER_PREFIX}pager",
}  # fmt: skip


def top() -> Iterator[Key]:
    """The keys at the top of the file, secrets left out."""
    descriptions = docstrings.of_attributes(model.Spec)
    for name, hint in model.SECTIONS.items():
        about = descriptions.get(name) or _inner(hint)[0].__doc__ or ""
        default = model.DEFAULTS.get(name, PydanticUndefined)
        yield Key(f"mesh:{name}", (name,), hint, about, default)
    yield Key("mesh:twin", ("twin",), str, descriptions["twin"], None)


def every() -> Iterator[Key]:
    """All keys, secrets left out."""
    for key in top():
        yield key
        yield from _below(key)


def _below(key: Key) -> Iterator[Key]:
    """The keys in the map that is a key's value, or in each of its entries."""
    keys, step = tuple(_keys(key.hint)), _inner(key.hint)[1]
    if not keys:
        return
    entry = ("*",) if step else ()
    shown = ""
    if step:
        shown = "[]" if step == "list" else f".{ENTRY[key.example[-1]]}"
    for name, *of in keys:
        inner = Key(f"{key.path}{shown}.{name}", (*key.example, *entry, name), *of)
        yield inner
        yield from _below(inner)


Part = tuple[str, Any, str, Any, tuple[str, ...]]
"""A key within a map: its name, the type of its value, its description, its default, and what else
there is to say."""


def _keys(hint: Any) -> Iterator[Part]:
    """The keys of a map, or of each map in a list or map."""
    found = _inner(hint)[0]
    if issubclass(found, Section):
        yield from _of_section(found)
    elif is_dataclass(found):
        yield from _of_dataclass(found)
    elif kinds := _kinds(hint):
        yield from _of_kinds(kinds)


def _of_section(section: type[Section]) -> Iterator[Part]:
    descriptions = docstrings.of_attributes(section) if section is not model.Providers else {}
    hints = _hints(section)
    for name, field in section.model_fields.items():
        about = descriptions.get(name) or _inner(hints[name])[0].__doc__ or ""
        yield field.alias or name, hints[name], about, _default(field), ()


def _of_dataclass(section: type[Any]) -> Iterator[Part]:
    descriptions = docstrings.of_attributes(section)
    hints = get_type_hints(section, include_extras=True)
    for field in fields(section):
        default = PydanticUndefined if field.default is MISSING else field.default
        yield field.name, hints[field.name], descriptions.get(field.name, ""), default, ()


def _of_kinds(kinds: Sequence[type[Any]]) -> Iterator[Part]:
    """The keys of a map of one of several kinds: the kind, then the keys of all kinds, each
    once, with what differs between kinds in its description."""
    descriptions, parts = list[str](), dict[str, dict[str, Part]]()
    for kind in kinds:
        keys = list(_of_dataclass(kind))
        name, about = next((str(key[3]), key[2]) for key in keys if key[0] == "kind")
        descriptions += [f"``{name}`` is {about[0].lower()}{about[1:].rstrip('.')}"]
        for key in keys:
            parts.setdefault(key[0], {})[name] = key
    names = tuple(parts.pop("kind"))
    yield "kind", Literal[names], f"{'; '.join(descriptions)}.", PydanticUndefined, ()
    for name, of in parts.items():
        _, hint, about, default, _ = next(iter(of.values()))
        yield name, hint, about, default, tuple(_by_kind(of, len(of) < len(names)))


def _by_kind(of: Mapping[str, Part], some: bool) -> Iterator[str]:
    """Which kinds have a key, where only some do, and with which it is required or has a default
    other than with the first."""
    if some:
        yield f"for {', '.join(f'`{name}`' for name in of)}"
    first = next(iter(of.values()))[3]
    for name, (*_, default, _) in of.items():
        if default != first:
            yield f"with `{name}`: {_necessity(default)}"


def _kinds(hint: Any) -> tuple[type[Any], ...]:
    """The classes in the union that is a value's type, or its entries' type."""
    hint, _ = _bare(hint)
    if get_origin(hint) is tuple:
        hint, _ = _bare(get_args(hint)[0])
    found = get_args(hint) if get_origin(hint) in (Union, UnionType) else ()
    return found if all(map(is_dataclass, found)) else ()


def _hints(section: type[Section]) -> Mapping[str, Any]:
    """The types of a section's keys as they are written."""
    if section is model.Providers:  # made of the table of providers
        return {name: field.annotation for name, field in section.model_fields.items()}
    return get_type_hints(section, include_extras=True)


def _default(field: FieldInfo) -> Any:
    return PydanticUndefined if field.is_required() else field.get_default()


def _inner(hint: Any) -> tuple[type, str]:
    """The type of a value or of its entries, and ``map`` or ``list`` where these are entries."""
    hint, _ = _bare(hint)
    arguments = get_args(hint)
    if get_origin(hint) is dict:
        return _class(arguments[1]), "map"
    if get_origin(hint) is tuple and arguments[-1] is ...:
        return _class(arguments[0]), "list"
    return _class(hint), ""


def _class(hint: Any) -> type:
    """The section of a value's type; str where it is none."""
    bare, _ = _bare(hint)
    return bare if isinstance(bare, type) and _is_map(bare) else str


def _is_map(kind: type) -> bool:
    return issubclass(kind, Section) or is_dataclass(kind)


def _bare(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without annotations and without None, and the annotations."""
    notes: tuple[Any, ...] = ()
    while True:
        if get_origin(hint) is Annotated and not _special(hint):
            notes, hint = (*hint.__metadata__, *notes), hint.__origin__
        elif get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint):
            left = [each for each in get_args(hint) if each is not NoneType]
            hint = reduce(or_, left)
        else:
            return hint, notes


def _special(hint: Any) -> str | None:
    """The heading under which such a value is explained."""
    return next((head for head, module, name in SPECIAL if getattr(module, name) is hint), None)


def _limits(notes: tuple[Any, ...]) -> dict[str, Any]:
    """The limits in a type's annotations: ``ge``, ``le``, ``pattern`` and others."""
    found: dict[str, Any] = {}
    for note in notes:
        parts = note.metadata if isinstance(note, FieldInfo) else (note,)
        for part in parts:
            for name in ("ge", "le", "pattern", "min_length", "max_length"):
                value = getattr(part, name, None)
                if value is not None:
                    found[name] = value
    return found


def type_text(hint: Any) -> str:
    """A type in plain English."""
    if heading := _special(hint):
        return link(heading, heading[0].lower() + heading[1:] if heading[1].islower() else heading)
    hint, notes = _bare(hint)
    if _special(hint):
        return type_text(hint)
    limits, arguments, origin = _limits(notes), get_args(hint), get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(f"`{each}`" for each in arguments)
    if isinstance(hint, EnumType):
        return "one of " + ", ".join(f"`{each.value}`" for each in cast("Any", hint))
    if origin in (Union, UnionType):
        return "map with the keys below" if _kinds(hint) else "IPv4 or IPv6 network"
    if origin is dict:
        inner, _ = _inner(hint)
        if _is_map(inner):
            name = type_text(arguments[0]) if _special(arguments[0]) else "entry"
            return f"map; each {name} has a map with the keys below" + _least(limits)
        return f"map from {type_text(arguments[0])} to {type_text(arguments[1])}" + _least(limits)
    if origin is tuple and arguments[-1] is ...:
        return f"list; each entry: {type_text(arguments[0])}" + _least(limits)
    if origin is tuple:
        return f"list of {len(arguments)}: " + ", ".join(type_text(each) for each in arguments)
    if _is_map(hint):
        return "map with the keys below"
    return PLAIN[hint] + _within(limits)


def _least(limits: Mapping[str, Any]) -> str:
    return f"; at least {limits['min_length']}" if "min_length" in limits else ""


def _within(limits: Mapping[str, Any]) -> str:
    """The limits of a number or a text."""
    text = ""
    if "ge" in limits:
        text = f" from {limits['ge']} to {limits['le']}" if "le" in limits else (
            f" from {limits['ge']} on"
        )  # fmt: skip
    if "max_length" in limits:
        text += f" of at most {limits['max_length']} characters"
    return text + (f" of the form `{limits['pattern']}`" if "pattern" in limits else "")


def _entry(key: Key) -> Iterator[str]:
    """The description of a key."""
    yield prose(key.description)
    facts = [f"type: {type_text(key.hint)}", _necessity(key.default), *key.notes]
    example = examples.shown(*key.example)
    if example is not None and len(example) <= LONGEST:
        facts.append(f"example: `{example}`")
    yield bullets(facts)
    if example is not None and len(example) > LONGEST:
        yield fenced(_block(yaml.safe_load(example)), "yaml")


def _block(value: Any) -> str:
    """A value on several lines: what has no map or list in it stands on one."""
    text: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=100)
    return text


def _necessity(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, Section):
        return "default: the defaults of its keys"
    if default is None:
        return "default: not set"
    return f"default: `{_written(default)}`"


def _written(value: Any) -> str:
    """A default as it is written into a stack file."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, bool | int | float | dict):
        return json.dumps(value)
    text = str(value)
    return f'"{text}"' if text[:1] in "*&!%@`" else text


def anchors() -> list[str]:
    """The anchor of every key."""
    return [anchor(key.path) for key in every()]
