"""What a resource takes, as the SDK's own classes say it: names, types, what is required."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pulumi
from pulumi import _types


class Unknown:
    """A value that is known only when something else exists."""

    def __repr__(self) -> str:
        return "[unknown]"


UNKNOWN = Unknown()
Values = dict[str, Any]
Misfit = tuple[str, str]
"""Where in the inputs, and what is wrong there."""


@dataclass(frozen=True)
class Property:
    """One input by the name that goes over the wire (``userData``)."""

    name: str
    type: Any
    required: bool


@functools.cache
def inputs_of(args: type) -> Mapping[str, Property]:
    """The inputs of an Args class of an SDK (``InstanceArgs``), nested ones included."""
    parameters = inspect.signature(args).parameters
    required = {
        _wire_name(args, name)
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty
    }
    return {
        name: Property(name, kind, name in required)
        for name, kind in _types.input_type_types(args).items()
    }


@functools.cache
def outputs_of(resource: type) -> frozenset[str]:
    """Every property that a resource class of an SDK has, by its name over the wire."""
    return frozenset(_types.resource_types(resource)) - {"id", "urn"}


def misfits(args: type, values: Mapping[str, Any], path: str = "") -> Iterator[Misfit]:
    """Unknown properties, wrong types and missing required ones, with the path of each."""
    properties = inputs_of(args)
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        if name not in properties:
            yield where, f"there is no such property; {args.__name__} has none of that name"
        else:
            yield from _mistyped(properties[name].type, value, where)
    for name, one in properties.items():
        if one.required and values.get(name) is None:
            yield f"{path}.{name}" if path else name, "the property is required"


def _mistyped(kind: Any, value: Any, path: str) -> Iterator[Misfit]:
    """Where a value is not of its declared type."""
    if value is None or value is UNKNOWN or kind is Any:
        return
    kinds = list(_alternatives(kind))
    found = [list(_mistyped_one(each, value, path)) for each in kinds]
    if found and all(found):
        yield from min(found, key=len)


def _mistyped_one(kind: Any, value: Any, path: str) -> Iterator[Misfit]:
    origin = typing.get_origin(kind)
    if kind in (pulumi.Asset, pulumi.Archive, Any):
        return
    if origin in (collections.abc.Sequence, list):
        if not isinstance(value, list):
            yield path, f"a list is wanted, not {_shown(value)}"
            return
        for index, each in enumerate(value):
            yield from _mistyped(typing.get_args(kind)[0], each, f"{path}[{index}]")
    elif origin in (collections.abc.Mapping, dict):
        if not isinstance(value, dict):
            yield path, f"a map is wanted, not {_shown(value)}"
            return
        for key, each in value.items():
            yield from _mistyped(typing.get_args(kind)[1], each, f"{path}.{key}")
    elif _types.is_input_type(kind):
        if not isinstance(value, dict):
            yield path, f"an object is wanted, not {_shown(value)}"
            return
        yield from misfits(kind, value, path)
    elif not _scalar(kind, value):
        yield path, f"{getattr(kind, '__name__', kind)} is wanted, not {_shown(value)}"


def _scalar(kind: Any, value: Any) -> bool:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return value in [each.value for each in kind]
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value % 1 == 0
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return kind is not str or isinstance(value, str)


def _alternatives(kind: Any) -> Iterator[Any]:
    """The types that a property may have, without what the SDK wraps around them."""
    kind = _types.unwrap_type(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        for each in typing.get_args(kind):
            if each is type(None) or typing.get_origin(each) in (
                collections.abc.Awaitable,
                pulumi.Output,
            ):
                continue
            yield from _alternatives(each)
    elif not typing.is_typeddict(kind):
        yield kind


def _wire_name(args: type, name: str) -> str:
    return _types.input_type_py_to_pulumi_names(args).get(name, name)


def _shown(value: Any) -> str:
    return f"{type(value).__name__}: {value!r}"[:60]
