"""What a running network holds, taken from the code: a name that it has goes on being read."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import ModuleType
from typing import Any
from unittest.mock import patch

import yaml
from pulumi.dynamic import Resource
from pydantic import AliasChoices

import mesh.agent
import mesh.infra.dynamic
import mesh.registry
import mesh.ssh
import mesh.trust
from mesh.agent import entry, file_paths, keys
from mesh.agent.seed import Seed
from mesh.cli import blackhole, lab, node_details, offline, preview, roa, status, strays
from mesh.facts import Facts, Placement
from mesh.glass.answers import Answer, NodeAnswer, Refused, Routes, Served, Way
from mesh.glass.metrics import METRICS
from mesh.infra.dynamic.base import Stub
from mesh.lab.probe import ProbeReport
from mesh.lab.receivers import Delivery
from mesh.operating_systems import OperatingSystem
from mesh.plan import Plan
from mesh.preview.summary import Summary
from mesh.publish.order import Fleet
from mesh.publish.status import MeshStatus
from mesh.registry import paths, store
from mesh.render import (
    File,
    NodeFiles,
    node_files,
    node_secrets,
    placeholder_facts,
    placeholder_placements,
    startup_script,
    user_data,
)
from mesh.render import Seed as UserData
from mesh.rpki.objects import Objects
from mesh.trust import orders
from mesh.trust.encoding import b64
from mesh.trust.signing import Purpose
from tests.kit import program
from tests.kit.stacks import example, plan_of, with_members
from tests.kit.vultr_api import Vultr, answering
from tests.program import test_aws, test_gcp, test_vultr_openbsd

Names = Mapping[str, frozenset[str]]
"""By name what belongs to it: the fields of a document, say, or nothing."""


@cache
def held() -> dict[str, Names]:
    """All that the code has, by the headings of docs/architecture.md."""
    return {
        "Documents": _documents(),
        "Values in documents": _values(),
        "Signatures and paths of the registry": _of((*_purposes(), *_requests())),
        "Tables of the registry": _tables(),
        "Files on nodes": _of(_files()),
        "Units": _of(_units()),
        "Commands of the bundle": _of(f"bundle.pyz {name}" for name in entry._COMMANDS),
        "Protocols of BIRD": _of(_protocols()),
        "Stack outputs": _of(_outputs()),
        "Keys of --json": _json(),
        "Metrics": {metric.name: frozenset(metric.labels) for metric in METRICS},
        "Dynamic providers": _of(_providers()),
        "Types of resources": _resources(),
        "Names of resources": _of(_named()),
    }


def _of(names: Iterable[str]) -> Names:
    return {name: frozenset() for name in names}


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def _fields(kind: Any) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind))


def _former(kind: Any) -> frozenset[str]:
    """The former names of a document's fields, which are read in their place."""
    aliases = (
        getattr(note, "validation_alias", None)
        for hint in typing.get_type_hints(kind, include_extras=True).values()
        for note in getattr(hint, "__metadata__", ())
    )
    found = (str(name) for one in aliases if isinstance(one, AliasChoices) for name in one.choices)
    return frozenset(found)


def _reached(*roots: type) -> Iterator[type]:
    """These dataclasses, and those that their fields have."""
    todo: list[Any] = list(roots)
    seen: set[type] = set()
    while todo:
        hint = todo.pop()
        todo += typing.get_args(hint)
        if isinstance(hint, type) and is_dataclass(hint) and hint not in seen:
            seen.add(hint)
            todo += typing.get_type_hints(hint).values()
            yield hint


def line(name: str, parts: Iterable[str]) -> str:
    """A name as the page has it."""
    listed = ", ".join(f"`{part}`" for part in sorted(parts))
    return f"- `{name}`" + (f": {listed}" if listed else "")


def _documents() -> Names:
    return {_title(kind): _fields(kind) | _former(kind) for kind in _parsed()}


def _title(kind: type) -> str:
    return f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"


def _parsed() -> set[type]:
    """What is parsed on nodes, registries or in the state: all of the trust's documents, and what
    an agent keeps for the next one."""
    kinds = {*_reached(Seed, Facts, Placement, Fleet)}
    for package in (mesh.trust, mesh.agent):
        for module in _modules(package):
            kinds |= {*_reached(*(
                one for one in vars(module).values()
                if isinstance(one, type) and is_dataclass(one) and _is_parsed(one)
            ))}  # fmt: skip
    return kinds


def _values() -> Names:
    """By field the words that it may hold, where its type names them."""
    return {
        f"{_title(kind)}.{name}": frozenset(words)
        for kind in _parsed()
        for name, hint in typing.get_type_hints(kind).items()
        if (words := [*_words(hint)])
    }


def _words(hint: Any) -> Iterator[str]:
    """The words of a type but the empty one, which cannot be shown between backquotes."""
    if typing.get_origin(hint) is typing.Literal:
        yield from filter(None, typing.get_args(hint))
    elif isinstance(hint, type) and issubclass(hint, StrEnum):
        yield from hint
    else:
        for inner in typing.get_args(hint):
            yield from _words(inner)


def _is_parsed(kind: type) -> bool:
    return hasattr(kind, "__pydantic_config__")


def _purposes() -> Iterator[str]:
    yield from (purpose.value for purpose in Purpose)


def _requests() -> Iterator[str]:
    yield from (text for text in vars(paths).values() if str(text).startswith(paths.API))
    yield paths.NONCE_HEADER


def _tables() -> Names:
    tables = store._metadata.tables.items()
    return {name: frozenset(column.name for column in table.columns) for name, table in tables}


@cache
def _program() -> program.Run:
    return program.run()


RECEIVER = "pager"


@cache
def _rendered() -> tuple[Plan, dict[str, NodeFiles]]:
    """A network that has all that there is: members, an existing host, a node with OpenBSD,
    validators, imports, and a receiver of alerts."""
    values = with_members() | {"rpki": {"local": True}, "routing": {"import": "full"}}
    values["nodes"]["mia-vultr-1"]["os"] = "openbsd"
    values["monitoring"] = {"nodes": ["lax-vultr-1"], "receivers": {RECEIVER: {"kind": "webhook"}}}
    plan = plan_of(values)
    made = node_files(plan, placeholder_facts(plan), placeholder_placements(plan))
    return plan, {node.id: made[node.id] for node in plan.nodes}


@cache
def _openbsd() -> NodeFiles:
    """A node that runs OpenBSD."""
    plan = plan_of(example("openbsd"))
    return node_files(plan, placeholder_facts(plan))["mia-vultr-1"]


def _first() -> Iterator[File]:
    """What user data put onto nodes before their first generation."""
    plan, _ = _rendered()
    seed = UserData(("https://203.0.113.1:8443",), b64(bytes(32)), "0" * 64, "the-token")
    for node in plan.nodes:
        document = user_data(plan, node.id, seed)
        if node.os is OperatingSystem.OPENBSD:
            written = startup_script(seed.operator) + document
            paths = re.findall(r"^put [0-7]+ (\S+)", written, re.MULTILINE)
        else:
            paths = [file["path"] for file in yaml.safe_load(document)["write_files"]]
        yield from (File(path, "") for path in paths)


def _on_nodes() -> Iterator[File]:
    plan, made = _rendered()
    passwords = dict.fromkeys(("vultr", "buyvm", "aws", "gcp"), "password")
    for node_id, files in made.items():
        yield from files.files
        yield from node_secrets(plan, node_id, passwords, {RECEIVER: "https://example.net/"})
    yield from _openbsd().files
    yield from _first()


def _common(name: str) -> str:
    """A name without what the network gives it."""
    plan, _ = _rendered()
    for node in plan.nodes:
        name = name.replace(node.id, "<peer>").replace(node.id.replace("-", "_"), "<peer>")
    name = re.sub(r"/hostname\.wg[0-9]+$", "/hostname.wg<number>", name)
    for provider in {session.name[:-1] for node in plan.nodes for session in node.upstreams}:
        name = re.sub(rf"^{provider}(?=[46]$)", "<provider>", name)
    name = re.sub(rf"/{RECEIVER}$", "/<receiver>", name)
    name = re.sub(r"^/etc/hostname\.wg\d+$", "/etc/hostname.wg<number>", name)
    return re.sub(r"^rtr_[0-9_]+$", "rtr_<address>_<port>", name)


def _constants(pattern: str) -> Iterator[str]:
    """Texts of that form that modules of the agent, the delivery and the registry name."""
    for package in (mesh.agent, mesh.ssh, mesh.registry):
        for module in _modules(package):
            for value in vars(module).values():
                for text in value.values() if isinstance(value, dict) else (value,):
                    if re.fullmatch(pattern, str(text)):
                        yield str(text)


def _files() -> Iterator[str]:
    yield from (_common(file.path) for file in _on_nodes())
    yield from (f"{file_paths.STATE}/{kind.key}.json" for kind in orders.KINDS)
    yield from (f"{file_paths.KEYS}/{name}.key" for name in _fields(keys.NodeKeys))
    yield from _constants(r"/(etc|var/lib|run)/(anycast-mesh|bird)[a-z0-9/._-]*")


def _units() -> Iterator[str]:
    names = [file.path.rpartition("/")[2] for file in _on_nodes()]
    yield from (name for name in names if re.fullmatch(r"anycast-mesh-.*\.(service|timer)", name))
    yield from (name for name in names if re.fullmatch(r"anycast_mesh_[a-z]+", name))
    for files in (*_rendered()[1].values(), _openbsd()):
        yield from (_common(name) for name in files.units)
    yield from _constants(r"anycast-mesh-[a-z-]+(\.service|\.timer)?")


def _protocols() -> Iterator[str]:
    form = re.compile(r"^\s*protocol (?:bfd|device|(?:\w+) (\w+)) \{|^\s*protocol bgp (\w+) from",
                      re.MULTILINE)  # fmt: skip
    for file in _on_nodes():
        if file.path.startswith("/etc/bird/"):
            yield from (_common(found[1] or found[2]) for found in form.finditer(file.content)
                        if found[1] or found[2])  # fmt: skip


def _outputs() -> Iterator[str]:
    yield from _paths(_program().stack)


def _paths(value: Any, path: str = "") -> Iterator[str]:
    """The ends of a document, with what the network names left out."""
    if isinstance(value, dict) and value:
        plan, _ = _rendered()
        own = {node.id: "<node>" for node in plan.nodes}
        own |= {service.name: "<service>" for service in plan.services}
        for key, inner in value.items():
            yield from _paths(inner, f"{path}.{own.get(key, key)}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from (found for inner in value for found in _paths(inner, f"{path}[]"))
    else:
        yield path


_WRITTEN: dict[str, tuple[Callable[..., object], ...]] = {
    "blackhole list": (blackhole.document,),
    "check": (offline.check, offline._as_json),
    "check --roa": (roa.as_json, roa._vrp),
    "preview": (preview.document,),
    "status": (status.document,),
    "status NODE": (node_details.document,),
    "strays": (strays.document,),
}
"""Commands that write a document key by key, and where."""


_DATACLASSES: dict[str, type] = {
    "check --roa": Objects,
    "lab alerts": Delivery,
    "lab list": lab.Listed,
    "lab probe": ProbeReport,
    "plan": Plan,
    "preview": Summary,
    "status": MeshStatus,
}
"""Commands that write dataclasses."""

_ANSWERS = (Answer, NodeAnswer, Routes, Refused, Way, Served)
"""What the looking glass answers, and ``mesh glass`` writes; ``nodes`` has snapshots, which are
documents."""


def _json() -> Names:
    found = {
        f"{command}: {kind.__name__}": _fields(kind)
        for command, root in _DATACLASSES.items()
        for kind in _reached(root)
    }
    found |= {f"glass: {kind.__name__}": _fields(kind) for kind in _reached(*_ANSWERS)}
    for command, functions in _WRITTEN.items():
        found[command] = frozenset(key for one in functions for key in _keys(one))
    return found


def _keys(function: Callable[..., object]) -> Iterator[str]:
    """The keys of the documents that a function writes: literals, assignments, and ``keys = …``."""
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        match node:
            case ast.Dict(keys=keys):
                yield from _texts(keys)
            case ast.Assign(targets=[ast.Subscript(slice=index)]):
                yield from _texts([index])
            case ast.Assign(targets=[ast.Name(id="keys")], value=ast.Tuple(elts=elements)):
                yield from _texts(elements)


def _texts(nodes: Iterable[ast.expr | None]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _providers() -> Iterator[str]:
    """Classes that a state names: those that no other is made from."""
    for _ in _modules(mesh.infra.dynamic):
        pass
    todo: list[type] = [Stub]
    while todo:
        one = todo.pop()
        below: list[type] = one.__subclasses__()
        todo += below
        if not below and one.__module__.startswith("mesh."):
            yield f"{one.__module__}.{one.__qualname__}"


def _resources() -> Names:
    """By type the properties of our own resources; types of components, which have none."""
    found = {
        f"pulumi-python:{one._resource_type_name}": frozenset(_properties(one))
        for module in _modules(mesh.infra.dynamic)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Resource) and one is not Resource
    }
    ours = {one.type for one in _program().resources.values() if one.type.startswith("mesh:")}
    return found | {kind: frozenset() for kind in ours}


def _properties(kind: type[Resource]) -> Iterator[str]:
    """What the state has of such a resource: its outputs, and what its constructor hands over."""
    yield from kind.__annotations__
    made: Any = kind.__init__
    yield from _keys(made)
    args = vars(importlib.import_module(kind.__module__)).get(made.__annotations__.get("args", ""))
    if args is not None:
        yield from _fields(args)
        yield from _keys(args.properties) if hasattr(args, "properties") else ()


RULES = ("aws:vpc/securityGroup", "gcp:compute/firewall:")
"""Types of rules that are named after what they let in."""


def _named() -> Iterator[str]:
    """Names of resources in the lab and at each cloud, which the engine knows them by."""
    runs = [_program()]
    with answering(Vultr()) as served, patch.dict(os.environ, served.environment):
        runs += [test_vultr_openbsd.deploy(), test_aws.deploy(), test_gcp.deploy()]
    plan, _ = _rendered()
    for one in (each for run in runs for each in run.resources.values()):
        if not one.type.startswith(RULES):
            name = one.name
            for node in plan.nodes:
                name = name.replace(node.id, "<node>")
            name = re.sub(rf"^mesh-({'|'.join(region.id for region in plan.regions)})$",
                          "mesh-<region>", name)  # fmt: skip
            name = re.sub(r"-(us-west-1|us-central1)(?=-)", "-<place>", name)
            yield re.sub(r"-key-[0-9a-f]{8}$", "-key-<digest>", name)
