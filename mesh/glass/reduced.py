"""What the public sees of a node."""

from __future__ import annotations

from dataclasses import replace

from mesh.glass.snapshot import Generation, Snapshot, Versions
from mesh.trust.documents import Health


def reduced(snapshot: Snapshot) -> Snapshot:
    """A snapshot for everybody: what is announced and served, sessions with upstreams and RPKI
    caches, and blackholes; no reasons, errors, alarms, tunnels, log-ins, versions or registries."""
    known = snapshot.health
    health = Health(
        in_service=known.in_service,
        services=known.services,
        sessions={},
        drained=known.drained,
        drain=known.drain,
        blackhole=known.blackhole,
        bird=None if known.bird is None else known.bird and "BIRD does not answer",
        announced=known.announced,
        families=known.families,
        update=known.update,
    )
    sessions = [each for each in snapshot.sessions if each.kind == "upstream"]
    return replace(
        snapshot,
        agent_started=0,
        versions=Versions(),
        generation=Generation(
            snapshot.generation.applied, snapshot.generation.published, snapshot.generation.outcome
        ),
        health=health,
        sessions=tuple(replace(each, error="") for each in sessions),
        tunnels=(),
        checks=(),
        caches=tuple(replace(each, error="") for each in snapshot.caches),
        blackholes=tuple(replace(each, reason="") for each in snapshot.blackholes),
        registries={},
        certificate=0,
    )
