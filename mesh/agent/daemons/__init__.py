"""What a part may change on a node, by daemon.

A path that matches no line of :data:`KINDS` is refused: a generation writes configuration of these
daemons, and nothing else. A new daemon is one file here and one line in the table, which is in the
order in which changes are applied. These are Debian's; some are another system's as well, which has
a table of its own.
"""

from __future__ import annotations

from mesh.agent.daemons import (
    accounts,
    agent_config,
    bird,
    content,
    dns,
    glass,
    monitoring,
    networkd,
    nftables,
    ssh,
    sysctl,
    systemd,
    web,
    wireguard,
)
from mesh.agent.daemons.kind import ChangedNode, DaemonKind, Difference, FileChange

KINDS: tuple[DaemonKind, ...] = (
    accounts.KIND,
    systemd.KIND,
    sysctl.KIND,
    networkd.KIND,
    nftables.KIND,
    wireguard.KIND,
    ssh.KIND,
    bird.KIND,
    content.KIND,
    web.KIND,
    dns.KIND,
    monitoring.KIND,
    agent_config.KIND,
    glass.KIND,
)


__all__ = ["KINDS", "ChangedNode", "DaemonKind", "Difference", "FileChange"]
