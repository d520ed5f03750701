"""Queries for what is newer than the caller's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request

from mesh.registry import paths
from mesh.registry.registry import Refused
from mesh.trust.orders import OrderKind

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
    rollout: Number | None = None

    def order(self, kind: OrderKind[Any]) -> int | None:
        """The number of the caller's order of a kind; None if it does not wait for that kind."""
        number: int | None = getattr(self, kind.key)
        return number


_NEWS = TypeAdapter(News)


def news_of(request: Request) -> News:
    """The query of a request."""
    try:
        return _NEWS.validate_strings(dict(request.query_params))
    except ValidationError:
        raise Refused(400, "malformed request") from None
