"""Health checks: each kind is a file beside this one, and a member of ``Check``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mesh.services.checks.dns import DnsCheck
from mesh.services.checks.exec import ExecCheck
from mesh.services.checks.http import HttpCheck
from mesh.services.checks.https import HttpsCheck
from mesh.services.checks.tcp import TcpCheck
from mesh.services.checks.udp import UdpCheck

Check = Annotated[
    HttpCheck | HttpsCheck | TcpCheck | DnsCheck | UdpCheck | ExecCheck,
    Field(discriminator="kind"),
]
"""A health check of any kind: in the stack file, the plan and agent.json."""
