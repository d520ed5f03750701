"""A Debian 13 to run daemons in: the node image under an overlay, in namespaces of its own.

The mounts and processes live in the namespaces of one command and are gone when it ends.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from mesh.render import File

IMAGE = Path(os.environ.get("MESH_IMAGE", "/var/cache/anycast-mesh/image"))
LAYERS = Path(__file__).parent.parent / ".mesh" / "birds"  # made by `setup/all birds`

# Of Debian 12, of the node image, and of Debian 13's package bird3.
OLDEST, IMAGES, NEWEST = BIRDS = ("2.0.12", "2.17.5", "3.1.7")

# Positional parameters only: nothing is interpolated into it.
_ENTER = """
set -eu
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount --rbind /dev "$2/root/dev"
root=$2/root
shift 2
exec chroot "$root" "$@"
"""


class Debian:
    """One machine's disk, kept between commands; ``folder`` is scratch space of the test's.

    ``bird`` is the version of its BIRD, one of BIRDS; ``also`` are further layers: ``stayrtr``.
    """

    def __init__(self, folder: Path, bird: str = IMAGES, also: Iterable[str] = ()) -> None:
        self.folder = folder
        layers = [LAYERS / name for name in (*also, bird) if name != IMAGES]
        for layer in layers:
            if not layer.is_dir():
                raise FileNotFoundError(f"{layer} is not there; `setup/all birds` makes it")
        # The first is the uppermost (Documentation/filesystems/overlayfs.rst).
        self._tree = ":".join(str(each.resolve()) for each in (*layers, IMAGE))
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def put(self, files: Iterable[File]) -> None:
        """Lay files on the disk."""
        for file in files:
            path = self.folder / "upper" / file.path.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.content)
            path.chmod(file.mode | 0o444)

    def start(self, *command: str, namespace: str) -> subprocess.Popen[str]:
        """Start a daemon on it, in a network namespace by name; the process is the daemon's own."""
        return subprocess.Popen(
            ["ip", "netns", "exec", namespace, "unshare", "--mount", "sh", "-c", _ENTER, "sh",
             self._tree, str(self.folder), *command],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command on it, without any network but its own."""
        namespaces = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child")
        return subprocess.run(
            [*namespaces, "sh", "-c", _ENTER, "sh", self._tree, str(self.folder), *command],
            input=stdin, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
