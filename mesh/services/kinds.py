"""Kinds of services."""

from __future__ import annotations

from typing import Literal

Kind = Literal["external", "web", "dns", "whoami"]
"""What answers at a service's addresses: the operator's own daemon, nginx or NSD as we set them up,
or our whoami."""
