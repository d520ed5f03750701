"""Health checks: each kind is a file beside this one, and a member of ``Check``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mesh.services.checks.http import HttpCheck
from mesh.services.checks.tcp import TcpCheck

Check = Annotated[HttpCheck | TcpCheck, Field(discriminator="kind")]
"""A health check of any kind: in the stack file, the plan and agent.json."""
