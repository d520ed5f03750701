"""The looking glass: its port, and who may read it."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.spec.glass import free_port, holder
from mesh.spec.model import Glass
from mesh.spec.problems import Problem
from mesh.spec.section import Sections

_KEY = "mesh:glass.port"


def check_glass(sections: Sections) -> Iterator[Problem]:
    """A port that the operator has written is its own. The default one gives way to a service, so
    that a stack file from before the looking glass stays valid."""
    glass: Glass | None = sections.get("glass")
    if glass is None or not glass.enabled:
        return
    who = holder(sections, glass.port)
    if who is None:
        yield from _check_public(glass)
        return
    other = free_port(sections, glass.port)
    if "port" in glass.model_fields_set:
        yield Problem(
            _KEY, str(glass.port), f"{who} has this TCP port at nodes",
            f"give the looking glass a port of its own, for example {other}",
        )  # fmt: skip
    else:
        yield Problem(
            _KEY, str(glass.port),
            f"{who} has this TCP port at nodes, so that there is no looking glass",
            f"give it a port of its own, for example mesh:glass: {{port: {other}}}, or write "
            "mesh:glass: {enabled: false}",
            "warning",
        )  # fmt: skip


def _check_public(glass: Glass) -> Iterator[Problem]:
    if glass.public:
        yield Problem(
            "mesh:glass.public", "true",
            "everybody on the Internet sees the names, places and roles of the nodes, their "
            "services, their sessions with upstreams and RPKI caches, what is drained and "
            "blackholed, and the routes to each prefix of the Internet and of ours with their "
            "paths and communities",
            "leave it out if that is not meant; operators reach the looking glass through SSH",
            "warning",
        )  # fmt: skip
