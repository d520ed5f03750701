"""systemd-networkd: read when it starts. It is not restarted for this: until it is, it leaves
routes that appeared after its start alone."""

from __future__ import annotations

from mesh.agent.daemons.kind import Kind

KIND = Kind(name="networkd", patterns=("/etc/systemd/networkd.conf.d/*.conf",))
