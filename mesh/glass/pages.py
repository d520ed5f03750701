"""Stand-in for the pages, which are not there yet."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.glass.answers import Answer, Mistake, Refused, Routes, Served, Way
from mesh.glass.network import Network
from mesh.glass.questions import RefusedQuestion, RouteQuestion, WayQuestion
from mesh.glass.snapshot import Snapshot

STYLE = b""
"""The style sheet of all pages."""


@dataclass(frozen=True, slots=True)
class View:
    """What each page is shown with."""

    network: Network
    here: str
    public: bool
    now: float


def mesh(view: View, answer: Answer[Snapshot], refresh: int = 0) -> str:
    """All nodes."""
    return "mesh"


def node(view: View, node_id: str, answer: Answer[Snapshot]) -> str:
    """One node."""
    return "node"


def route(view: View, question: RouteQuestion | None, answer: Answer[Routes] | None) -> str:
    """Routes."""
    return "route"


def refused(view: View, question: RefusedQuestion | None, answer: Answer[Refused] | None) -> str:
    """Refused routes."""
    return "refused"


def service(view: View, name: str, answer: Answer[Served]) -> str:
    """A service."""
    return "service"


def way(view: View, question: WayQuestion | None, answer: Answer[Way] | None) -> str:
    """The way between two nodes."""
    return "way"


def orders(view: View, answer: Answer[Snapshot]) -> str:
    """Orders in force."""
    return "orders"


def rpki(view: View, answer: Answer[Snapshot]) -> str:
    """RPKI caches."""
    return "rpki"


def help(view: View) -> str:
    """What names mean."""
    return "help"


def mistake(view: View, status: int, mistake: Mistake) -> str:
    """Why a question was not answered."""
    return "mistake"
