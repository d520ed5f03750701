"""Queries for what is newer than the caller's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request

from mesh.registry import paths
from mesh.registry.registry import Refused

Number = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class News:
    """Query for a manifest or an order: what is above ``after``, waited for so many seconds, or
    until there is an order above those that are named."""

    after: Number = 0
    wait: Annotated[float, Field(ge=0, le=paths.MAX_WAIT)] = 0
    drain: Number | None = None
    blackhole: Number | None = None
    hold: Number | None = None


_NEWS = TypeAdapter(News)


def news_of(request: Request) -> News:
    """The query of a request."""
    try:
        return _NEWS.validate_strings(dict(request.query_params))
    except ValidationError:
        raise Refused(400, "malformed request") from None
