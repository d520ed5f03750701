"""What all health checks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]
"""A port number."""


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
    interval: Annotated[float, Field(ge=0.1, le=60)] = 0.5
    """Seconds between two questions."""
    timeout: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    """Seconds within which an answer has to come."""
    rise: Annotated[int, Field(ge=1, le=20)] = 2
    """How many good answers in a row make the service healthy."""
    fall: Annotated[int, Field(ge=1, le=20)] = 2
    """How many bad answers in a row make it unhealthy."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """What is checked, for a report: ``http port 80``."""

    @abstractmethod
    def problem(self) -> str:
        """Checks once, within the timeout. The reason why the service does not work, on one line;
        empty if it works."""


def why(error: OSError, timeout: float) -> str:
    """Why a connection failed within ``timeout`` seconds, for an operator."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return (error.strerror or str(error) or type(error).__name__).lower()
