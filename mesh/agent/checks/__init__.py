"""Health checks: one file per kind, and a line in this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from mesh.agent.checks.http import HttpCheck
from mesh.agent.checks.tcp import TcpCheck
from mesh.agent.config import Check


class Healthcheck(Protocol):
    """Answers one question, within its timeout."""

    def problem(self) -> str:
        """Why the service does not work right now, on one line; empty where it works."""
        ...


KINDS: Mapping[str, Callable[[Check], Healthcheck]] = {"http": HttpCheck, "tcp": TcpCheck}
