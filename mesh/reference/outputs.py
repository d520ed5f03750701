"""``outputs.md``: the stack's outputs and the keys of ``--json``, from the types that are printed,
or from the output for a small network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import chdir
from dataclasses import fields, is_dataclass
from enum import EnumType
from inspect import cleandoc
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import yaml
from typer.testing import CliRunner

from mesh.cli import blackhole, glass, strays
from mesh.cli.lab import Listed
from mesh.cli.main import app
from mesh.glass.answers import Answer, NodeAnswer, Route, Routes
from mesh.infra import outputs
from mesh.infra.node import Node
from mesh.infra.providers import Driver
from mesh.infra.providers.accounts import Compared, Missing, Stray
from mesh.lab import probe
from mesh.lab.receivers import Delivery
from mesh.plan import Plan, make
from mesh.preview.summary import Summary
from mesh.publish.blackhole import UnsignedBlackhole
from mesh.publish.status import MeshStatus
from mesh.reference import docstrings
from mesh.reference.markdown import begun, bullets, fenced, link, page, prose
from mesh.spec import examples, load
from mesh.spec.providers import EXAMPLE
from mesh.trust.documents import Blackhole, BlackholeOrder, Refusal

FIRST, SECOND, THIRD = (f"lax-{EXAMPLE}-{number}" for number in (1, 2, 3))
"""Ids of nodes."""

INTRODUCTION = """\
The outputs of the stack, and what commands print with `--json`. `null` means not known or not \
there."""

TYPED: tuple[tuple[str, type, str, Mapping[str, str]], ...] = (
    ("mesh plan", Plan, "An object:", {}),
    ("mesh status", MeshStatus, "An object; with NODE one of its `nodes`, with `node` (its id) and "
     "`problems` (those of that node):", {
        "problems": "list of text: what is not well, as it is printed without `--json`",
    }),
    ("mesh preview", Summary, "An object:", {
        "refused": "list of maps with `key`, `value`, `reason` and `cure`: what the gate has "
        "against the change",
    }),
    ("mesh lab alerts", Delivery, "A list of objects, one for each notification:", {}),
    ("mesh lab list", Listed, "A list of objects, one for each box:", {}),
    ("mesh lab probe", probe.ProbeReport, "An object:", {}),
)  # fmt: skip
"""Commands that print a dataclass: the class, its form, and additional keys."""

PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    IPv4Address: "IPv4 address",
    IPv6Address: "IPv6 address",
    IPv4Interface: "IPv4 address with the length of its subnet",
    IPv6Interface: "IPv6 address with the length of its subnet",
    IPv4Network: "IPv4 network",
    IPv6Network: "IPv6 network",
}

NOW = 1_800_000_000.0
"""Seconds since the epoch at which the examples were printed."""


def text() -> str:
    """The page."""
    return page(_blocks())


def _blocks() -> Iterator[str]:
    yield from begun("Outputs", "the types in the code, and from what it prints of a small network")
    yield INTRODUCTION
    headings = [heading for heading, *_ in TYPED] + list(SHOWN)
    yield bullets(
        [
            *map(link, STACK),
            *(link(heading, f"`{heading} --json`") for heading in sorted(headings)),
        ]
    )
    for name, shown in STACK.items():
        yield f"## {name}"
        yield from shown()
    for heading, cls, form, more in TYPED:
        yield f"## {heading}"
        yield form
        yield from _typed(cls, more)
    for heading, document in SHOWN.items():
        yield f"## {heading}"
        yield "What it prints, with values for example:"
        yield fenced(json.dumps(document(), indent=2), "json")


# --- By their types --------------------------------------------------------------------------


def _typed(root: type, more: Mapping[str, str]) -> Iterator[str]:
    """A dataclass with its keys, then the dataclasses of its values."""
    found = [root]
    for cls in found:
        found += [each for each in dict.fromkeys(_parts(cls)) if each not in found]
    for cls in found:
        if cls is not root:
            yield f"### {cls.__name__}"
        paragraphs = cleandoc(cls.__doc__ or "").split("\n\n")
        yield from map(_json_prose, paragraphs)
        descriptions, hints = docstrings.of_attributes(cls), _hints(cls)
        keys = [_key(name, type_text(hints[name]), descriptions.get(name, "")) for name in hints]
        if cls is root:
            keys += [_key(name, about, "") for name, about in more.items()]
        yield bullets(keys)


def _key(name: str, kind: str, about: str) -> str:
    return f"`{name}`: {kind}" + (f". {_json_prose(about)}" if about else "")


def _json_prose(docstring: str) -> str:
    """A docstring with JSON's names of None, False and True."""
    names = {"None": "`null`", "False": "`false`", "True": "`true`"}
    return prose(re.sub(r"\b(None|False|True)\b", lambda found: names[found[0]], docstring))


def _hints(cls: type) -> Mapping[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def _parts(cls: type) -> Iterator[type]:
    """The dataclasses that a dataclass's values are, or consist of."""
    for hint in _hints(cls).values():
        yield from _within(hint)


def _within(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for inner in get_args(hint):
        yield from _within(inner)


def type_text(hint: Any) -> str:
    """A type as JSON has it, in plain English."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin is Literal:
        some = [f"`{each}`" for each in arguments]
        return some[0] if len(some) == 1 else "one of " + ", ".join(some)
    if origin in (Union, UnionType):
        some = [type_text(each) for each in arguments if each is not NoneType]
        return "; or ".join([*some, *(["`null`"] if NoneType in arguments else [])])
    if origin is dict:
        return f"map by name; each value: {type_text(arguments[1])}"
    if origin is tuple and arguments[-1] is not ...:
        return f"list of {len(arguments)}: " + ", ".join(map(type_text, arguments))
    if origin in (tuple, list):
        return f"list of {type_text(arguments[0])}"
    if is_dataclass(hint):
        return link(cast("type", hint).__name__)
    if isinstance(hint, EnumType):
        return "one of " + ", ".join(f"`{each.value}`" for each in cast("Any", hint))
    return PLAIN[hint]


# --- By what is printed ----------------------------------------------------------------------


def _values() -> dict[str, Any]:
    """A network of two nodes in a region, with a service and both families."""
    values: dict[str, Any] = {}
    for name in (*examples.REQUIRED, "services"):
        example = examples.written(name)
        assert example is not None, f"{name} has an example"
        values |= {k.removeprefix("mesh:"): v for k, v in yaml.safe_load(example).items()}
    values["prefixes"]["ipv6"] = "2620:71:4000::/48"
    values["regions"]["lax"]["slots"][f"{EXAMPLE}-2"] = "192.30.120.2"
    values["nodes"][SECOND] = {"number": 2}
    return values


class ExampleNode:
    """A node whose provider has given it addresses."""

    def __init__(self, number: int) -> None:
        self._ipv4 = f"203.0.113.{number}"
        self._ipv6 = f"2001:db8::{number}"

    def addresses(self) -> dict[str, str]:
        """Its public addresses."""
        return {"ipv4": self._ipv4, "ipv6": self._ipv6}


def _topology() -> Iterator[str]:
    plan = make(load("mine", _values(), Path()).spec)
    nodes = {node.id: cast("Node", ExampleNode(node.number)) for node in plan.nodes}
    topology = outputs.topology(plan, nodes, ["https://203.0.113.1:8443"])
    yield prose(outputs.topology.__doc__ or "")
    yield fenced(json.dumps(topology, indent=2), "json")


def _access() -> Iterator[str]:
    yield prose(outputs.access.__doc__ or "")
    yield "It is a map by the nodes' ids. Each value is a map:"
    yield bullets([prose(Driver.access.__doc__ or "")])


def _glass() -> Iterator[str]:
    yield prose(outputs.glass.__doc__ or "")
    yield "It is a map by the nodes' ids. Each value is a map:"
    yield bullets(
        [
            prose("``url``: where the pages are then"),
            prose("``ssh``: the command that forwards the port"),
            prose("``shell``: in a lab, a command that prints the first page"),
        ]
    )


def _check() -> dict[str, Any]:
    config = {f"mesh:{key}": value for key, value in _values().items()}
    vrps = {"roas": [{"prefix": "192.30.120.0/23", "maxLength": 23, "asn": "AS27218", "ta": "x"}]}
    with TemporaryDirectory() as name, chdir(name):
        Path("Pulumi.mine.yaml").write_text(yaml.safe_dump({"config": config}), encoding="utf-8")
        Path("vrps.json").write_text(json.dumps(vrps), encoding="utf-8")
        arguments = ["check", "--stack", "mine", "--root", ".", "--roa", "vrps.json", "--json"]
        done = CliRunner().invoke(app, arguments)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _blackholes() -> dict[str, Any]:
    address = ip_address("192.30.120.100")
    order = BlackholeOrder("mine", 7, (Blackhole(address, int(NOW) + 1800, "under attack"),))
    refused = {SECOND: Refusal("blackhole", 7, "0" * 64, "its signature is not valid")}
    unsigned = [UnsignedBlackhole((ip_address("192.30.120.101"),), (SECOND,), (FIRST,))]
    nodes = [FIRST, SECOND]
    return blackhole.document(order, nodes, nodes[:1], refused, unsigned, NOW)


def _strays() -> dict[str, Any]:
    stray = Stray("instance", "cb676a46-66fd-4dfb-b839-443f2e6c0b60", f"{THIRD}.mine",
                  "lax 203.0.113.3", THIRD, "instance")  # fmt: skip
    gone = Missing(
        "reserved address", "4f0f12e5-1f84-404f-aa84-85f431ea5ec2", f"mesh-{SECOND}-address"
    )
    found = Compared("0a1b2c3d", strays=(stray,), missing=(gone,))
    return strays.document("mine", found)


STACK = {
    "Stack output topology": _topology,
    "Stack output access": _access,
    "Stack output glass": _glass,
}
"""The outputs of the stack, by their headings."""


def _routes() -> Any:
    """The answer of two nodes, of which one was away."""
    route = Route(
        prefix="192.30.120.0/23", table="master4", session="u_lax_2", kind="tunnel", peer=SECOND,
        used=True, why="the only one", since=NOW - 60, path=(4200000002,), nodes=(SECOND,),
        next_hop="fe80::2", node=SECOND, interface=f"wg-{SECOND}",
    )  # fmt: skip
    found: Answer[Routes] = Answer(
        asked={"for": "192.30.120.9", "node": "all"},
        at=NOW,
        nodes={
            FIRST: NodeAnswer(ok=True, took_ms=1.2, data=Routes(routes=(route,))),
            THIRD: NodeAnswer(ok=False, why="no answer within 2 s"),
        },
    )
    return glass.document(found)


SHOWN = {
    "mesh glass route": _routes,
    "mesh check": _check,
    "mesh blackhole list": _blackholes,
    "mesh strays": _strays,
}
"""Commands that print an object without a type of its own, by heading."""
