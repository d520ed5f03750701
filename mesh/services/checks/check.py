"""What all health checks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError


def _no_boolean(value: Any) -> Any:
    """Refuse true and false, which pydantic takes as 1 and 0."""
    if isinstance(value, bool):
        raise PydanticKnownError("int_type")
    return value


Whole = Annotated[int, BeforeValidator(_no_boolean)]
"""A whole number in a stack file."""
Port = Annotated[Whole, Field(ge=1, le=65535)]
"""A port number."""

LONGEST = 1.0
"""Seconds within which an answer has to come at most, where a check names no timeout."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whose answer is asked for: the service's ``address`` of one family, at ``node``.

    Packets leave by ``device``: ``lo`` for the node's own instance, whether it is in service or
    not; another node's tunnel for the instance there, with ``mark`` for the table that leads by it.
    """

    address: IPv4Address | IPv6Address
    node: str
    device: str = "lo"
    mark: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck(ABC):
    """How a node checks its own instance of a service."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    kind: str
    interval: Annotated[float, Field(ge=0.1, le=60)] = 0.2
    """Seconds between two questions."""
    timeout: Annotated[float, Field(ge=0.1, le=60)] | None = None
    """Seconds within which an answer has to come; not set, they are the interval, and 1 at most."""
    rise: Annotated[Whole, Field(ge=1, le=20)] = 2
    """How many good answers in a row make the service healthy."""
    fall: Annotated[Whole, Field(ge=1, le=20)] = 2
    """How many bad answers in a row make it unhealthy."""

    per_family: ClassVar[bool] = True
    """Whether each address family of a service is asked by itself."""
    again: ClassVar[float] = 0.05
    """Seconds from a first miss to the second look."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """What is checked, for a report: ``http port 80``."""

    @abstractmethod
    def problem(self, target: Target) -> str:
        """Asks once, within the timeout. The reason why the service does not work, on one line;
        empty if it works."""

    def warning(self, target: Target) -> str:
        """What will be a problem, or is one that takes no service down; empty where all is well.
        It is asked for seldom."""
        return ""

    @property
    def watched_port(self) -> int | None:
        """The TCP port to which an idle connection shows at once that the daemon has ended."""
        return None

    @property
    def within(self) -> float:
        """Seconds within which an answer has to come."""
        return min(self.interval, LONGEST) if self.timeout is None else self.timeout

    @property
    def longest(self) -> float:
        """Seconds that a question takes at most, where the machine is not too busy for it."""
        return self.within

    def written(self) -> dict[str, object]:
        """Its keys for a document, without those that are not set."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, ())}


def why(error: OSError, seconds: float) -> str:
    """Why a question failed that had so many seconds, for an operator."""
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    return (error.strerror or str(error) or type(error).__name__).lower()
