"""Which BGP sessions and tunnels the plan expects of a node."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mesh.plan import Node, Plan, UpstreamSession
from mesh.trust.documents import Health

UP = "Established"
MISSING = "missing"
"""The state of a session that the plan has and BIRD does not."""


def state_text(state: str) -> str:
    """A session's state in BIRD, for an operator. ``down``: BIRD itself has shut it down, by
    ``birdc disable`` or at a limit."""
    return "shut down by its own BIRD" if state == "down" else state


@dataclass(frozen=True, slots=True)
class Expected:
    """The names of the sessions that should be up, the tunnels' interfaces with the node at the
    far end, and the sessions with upstreams by name."""

    sessions: frozenset[str]
    tunnels: Mapping[str, str]
    upstreams: Mapping[str, UpstreamSession]

    def states(self, health: Health) -> dict[str, str]:
        """The sessions' states in BIRD as a node reports them, or MISSING; empty where BIRD does
        not answer."""
        if health.bird or not health.sessions:
            return {}
        return {name: health.sessions.get(name, MISSING) for name in sorted(self.sessions)}

    def down(self, health: Health) -> dict[str, str]:
        """The sessions that are not up, with their state."""
        return {name: state for name, state in self.states(health).items() if state != UP}


def expected(plan: Plan, node: Node, health: Health, members: Collection[str]) -> Expected:
    """What should be up at a node, among ``members``: the nodes that have joined.

    Sessions with a node of ``mesh:without`` are not expected. Of the sessions with a VPC's routers,
    whose number only the provider knows, those that the node has are expected.
    """
    here = frozenset(members) - frozenset(plan.without)
    links = {link.interface: link.peer for link in node.links if link.peer in here}
    names = {tunnel_session(peer) for peer in links.values()}
    names |= {session.name for session in node.ibgp if session.peer in here}
    names |= {session.name for session in node.upstreams}
    names |= {session.name for session in node.vpc if session.name in health.sessions}
    upstreams = {session.name: session for session in node.upstreams}
    return Expected(frozenset(names), links, upstreams)


def tunnel_session(peer: str) -> str:
    """BIRD's name for the session over the tunnel to a node (templates/bird)."""
    return f"u_{re.sub(r'[^a-z0-9_]', '_', peer)}"
