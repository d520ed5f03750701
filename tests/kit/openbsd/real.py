"""Interfaces of the stand-ins in a real network namespace: what has an address is reached there,
and a daemon of Linux sees them. Each is a bridge without ports, which is up by itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.kit.openbsd.kernel import STATE, Kernel

_IP = "/usr/sbin/ip"  # Before it in PATH is a command that says that OpenBSD has none.
MARK = "real"
"""The file of the state that says so."""


def follow(kernel: Kernel) -> None:
    """Makes the namespace as the kernel of the stand-ins is."""
    if not (Path(os.environ[STATE]) / MARK).exists():
        return
    # Most calls of a command change nothing, and need not wait for the import.
    import subprocess

    shown = subprocess.run([_IP, "-json", "address"], capture_output=True, text=True, check=True)
    present = {
        link["ifname"]: {f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]}
        for link in json.loads(shown.stdout)
    }
    lines = ["link set lo up"]
    lines += [f"link del {name}" for name in present if name not in {*kernel.interfaces, "lo"}]
    for name, interface in kernel.interfaces.items():
        if name == "lo0":
            continue
        if name not in present:
            lines.append(f"link add {name} type bridge")
        wanted = {*interface.inet, *interface.inet6}
        held = present.get(name, set())
        lines.append(f"link set {name} mtu {interface.mtu} {'up' if interface.up else 'down'}")
        lines += [f"address del {each} dev {name}" for each in held - wanted if name != "lo"]
        lines += [
            f"address replace {each} dev {name}{' nodad' if ':' in each else ''}"
            for each in sorted(wanted - held)
        ]
    subprocess.run([_IP, "-force", "-batch", "-"], input="\n".join(lines), text=True, check=False)
