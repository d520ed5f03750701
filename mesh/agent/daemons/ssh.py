"""sshd: `sshd -t` before; a running one is reloaded, and keeps its sessions."""

from __future__ import annotations

from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind
from mesh.agent.stage import Stage


def _validate(stage: Stage, _: Changes) -> None:
    # Its privilege separation folder in /run is made by its unit.
    stage.host.path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    stage.must("/usr/sbin/sshd", "-t", reads="/etc/ssh")


def _apply(node: ChangedNode, _: Changes) -> None:
    _reread(node)


def _reread(node: ChangedNode) -> None:
    node.manager.reload_if_active("ssh.service")


KIND = DaemonKind(
    name="sshd",
    patterns=("/etc/ssh/sshd_config.d/*.conf",),
    validate=_validate,
    apply=_apply,
    reread=_reread,
)
