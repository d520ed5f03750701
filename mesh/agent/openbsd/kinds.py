"""What a part may change on an OpenBSD node, in the order in which changes are applied."""

from __future__ import annotations

from mesh.agent.daemons import agent_config, bird
from mesh.agent.daemons.kind import DaemonKind

KINDS: tuple[DaemonKind, ...] = (bird.KIND, agent_config.KIND)
