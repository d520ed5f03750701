"""OpenBGPD as the BGP speaker of a box, where its layer is installed (``setup/all birds``).

Its processes start one another by path, so it runs in a Debian 13 of its own: the layer over the
image, in a mount namespace that ends with it. Configuration, socket and log are files in the box's
runtime directory, which it has at the same path.
"""

from __future__ import annotations

import signal
from pathlib import Path

from mesh.lab import bird, namespaces, rotation
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles

CONFIG = "bgpd.conf"
SOCKET = "bgpd.sock"
LOG = "bgpd.log"
DEADLINE = 10.0
"""Seconds until it answers, or has ended."""

# Positional parameters only: nothing is interpolated into it.
_START = """
set -eu
layer=$1 image=$2 box=$3 config=$4
mkdir -p "$box/disk"
mount -t tmpfs -o mode=0755 tmpfs "$box/disk"
cd "$box/disk"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=$layer:$image,upperdir=upper,workdir=work" root
mount --rbind /dev root/dev
mount -t tmpfs -o mode=0755 tmpfs root/run
mkdir -p "root/run/openbgpd" "root$box"
mount --bind "$box" "root$box"
chroot root systemd-sysusers openbgpd.conf
exec chroot root /usr/sbin/bgpd -d -f "$config"
"""


def ensure(files: LabFiles, box: str, config: str) -> None:
    """Start or reload the OpenBGPD of a box, unless it runs this configuration already."""
    path = files.box(box) / CONFIG
    unchanged = path.exists() and path.read_text() == config
    running = _pids(files, box)
    if running and unchanged:
        return
    rotation.write_private(path, config)
    if running:
        ask(files, box, "reload")
        return
    socket = files.box(box) / SOCKET
    socket.unlink(missing_ok=True)
    namespaces.spawn(
        ["unshare", "--mount", "sh", "-c", _START, "bgpd",
         _layer(files), files.image(), files.box(box), path],
        files.box(box) / LOG,
        files.namespace(box),
    )  # fmt: skip
    namespaces.wait_until(socket.exists, DEADLINE, f"OpenBGPD of {box} ({files.box(box) / LOG})")


def stop(files: LabFiles, box: str) -> None:
    """End the OpenBGPD of a box, where one runs."""

    def ended() -> bool:
        pids = _pids(files, box)
        for pid in pids:
            namespaces.kill(pid, signal.SIGTERM)
        return not pids

    if not speaks(files, box):
        return
    namespaces.wait_until(ended, DEADLINE, f"OpenBGPD of {box} to end")
    (files.box(box) / CONFIG).unlink()


def speaks(files: LabFiles, box: str) -> bool:
    """Whether OpenBGPD has the sessions of the box with its node."""
    return (files.box(box) / CONFIG).exists()


def is_running(files: LabFiles, box: str) -> bool:
    """Whether our OpenBGPD runs in the box."""
    return bool(_pids(files, box))


def ask(files: LabFiles, box: str, *command: str) -> str:
    """The answer of a box's OpenBGPD, as ``bgpctl`` prints it."""
    return namespaces.run(control(files, box, *command))


def control(files: LabFiles, box: str, *command: str) -> list[str | Path]:
    """The ``bgpctl`` of a box's OpenBGPD."""
    bgpctl = bird.program(files, _layer(files) / "usr/sbin/bgpctl")
    return [*bgpctl, "-s", files.box(box) / SOCKET, *command]


def _layer(files: LabFiles) -> Path:
    layer = files.openbgpd()
    if layer is None:
        raise LabError("the layer with OpenBGPD is not there; `setup/all birds` makes it")
    return layer


def _pids(files: LabFiles, box: str) -> list[int]:
    """Its first process, which ends the others with itself."""
    config, namespace = str(files.box(box) / CONFIG), files.namespace(box)
    pids = namespaces.processes([namespace])[namespace]
    return [pid for pid in pids if namespaces.command_line(pid)[-3:] == ["-d", "-f", config]]
