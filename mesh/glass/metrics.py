"""Stand-in for the metrics, which are not there yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.glass.network import Network
from mesh.glass.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Requests:
    """What the glass of ``node`` has answered since it started."""

    codes: Mapping[int, int] = field(default_factory=dict)
    strangers: int = 0
    node: str = ""


def exposition(snapshot: Snapshot | None, network: Network, now: float, requests: Requests) -> str:
    """All metrics of this node."""
    return ""
