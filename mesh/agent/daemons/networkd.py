"""systemd-networkd: reads its files when it starts, and is not restarted for them. Until then it
leaves routes alone that were added after its start."""

from __future__ import annotations

from mesh.agent.daemons.kind import DaemonKind

KIND = DaemonKind(name="networkd", patterns=("/etc/systemd/networkd.conf.d/*.conf",))
