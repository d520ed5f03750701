"""Health check: an HTTP request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mesh.services.checks.check import Target, why
from mesh.services.checks.connection import Deadline, connected
from mesh.services.checks.request import RequestCheck

USUAL = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck(RequestCheck):
    """Healthy if ``GET path`` for the host is answered in time as it should be."""

    kind: Literal["http"] = "http"
    """Good where ``GET`` of ``path`` is answered with a status of 200 to 299, or one of
    ``status``."""

    def problem(self, target: Target) -> str:
        """Sends one request; why the answer is not good."""
        deadline = Deadline(self.within)
        try:
            with connected(target, self.port, deadline) as connection:
                return self.asked(connection, USUAL, target, deadline)
        except OSError as error:
            return why(error, self.within)
