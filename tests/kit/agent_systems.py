"""The agent's view of a machine, with parts of it that a test has its own of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mesh.agent.host import Host
from mesh.agent.system import System
from mesh.agent.systems import debian
from mesh.bird.client import Bird


def of_debian(host: Host, bird: Bird | None = None, **parts: Any) -> System:
    """Debian on this machine, with BIRD at this socket and with these parts."""
    return replace(debian.system(host, bird or Bird(Path("/nowhere"))), **parts)
