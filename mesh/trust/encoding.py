"""Canonical encodings: JSON, base64, hashes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


class Malformed(ValueError):
    """Input does not have the expected form. Never quotes it, since it may contain a secret."""


def canonical(value: Any) -> bytes:
    """JSON as bytes that depend on the value alone: sorted keys, no spaces, ASCII (similar to
    RFC 8785). Floats are refused, since their digits are not canonical."""
    _refuse_floats(value)
    return _CANONICAL.encode(value).encode("ascii")


# Made once: a generation of a thousand nodes uses it a hundred thousand times.
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError("a signed document holds no floats: their digits are not canonical")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError("the keys of a signed document are strings")
            if type(inner) not in _PLAIN:
                _refuse_floats(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            if type(inner) not in _PLAIN:
                _refuse_floats(inner)


_PLAIN = frozenset({str, int, bool, type(None)})
"""Nearly all values, of which there may be a million: a call for each would take longest."""


def dump(value: Any) -> bytes:
    """A document's dataclass as canonical JSON; addresses become strings."""
    return canonical(adapter(type(value)).dump_python(value, mode="json"))


def parse(kind: type[T], data: bytes | str) -> T:
    """JSON as a value of that type. Raises :class:`Malformed` with the place and the reason."""
    try:
        value: T = adapter(kind).validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "document"
        raise Malformed(f"{kind.__name__}: {place}: {first['msg']}") from None
    return value


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def adapter(kind: type[T]) -> TypeAdapter[T]:
    """Building an adapter is slow, so each is built once, and not before it is needed."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def b64(data: bytes) -> str:
    """Standard base64, as ``wg pubkey`` prints it."""
    return base64.b64encode(data).decode("ascii")


def unb64(text: str, length: int | None = None) -> bytes:
    """Base64 back to bytes; only the canonical text of a value is accepted."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Malformed("not base64") from None
    if b64(data) != text:
        raise Malformed("not canonical base64")
    if length is not None and len(data) != length:
        raise Malformed(f"{len(data)} bytes instead of {length}")
    return data


def moment(seconds: float) -> str:
    """Seconds since the epoch as text (RFC 3339, UTC)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sha256(data: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(data).hexdigest()
