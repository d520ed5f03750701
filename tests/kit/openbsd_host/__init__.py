"""A host with OpenBSD's commands, on which its first boot is tried.

Scripts run unchanged, by mksh as ``/bin/sh``, in a tree of their own; what base system and packages
would do is done by stand-ins.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit import needs
from tests.kit.wait import until

COMMANDS = Path(__file__).parent / "commands"
FIRST = (
    "python-3.12.10",
    "py3-cryptography-44.0.2",
    "py3-pydantic-2.10.6",
    "wireguard-tools-1.0.20210914p2",
    "bird-2.17.2",
    "bird-3.1.4",
    "birdsong-1.0",
)
"""What the packages' mirror has."""
SECONDS = 20.0

_ENTER = """
set -eu
cd "$1"
mount --rbind -o ro /usr usr
mount --bind local usr/local
mount -t proc proc proc
mount --rbind /dev dev
mount --bind /bin/mksh usr/bin/dash
rm -rf var/run
mkdir var/run
# Not the first process, which no signal from inside ends: a power cut ends all.
chroot . /bin/sh -c '
	export PATH=/standin:/usr/bin:/bin:/usr/sbin:/sbin
	[ -e /etc/pf.off ] || : >/var/run/pf.enabled
	eval "$0"
	for each in $(cat /etc/pkg_scripts 2>/dev/null); do rcctl start "$each"; done
	: >/var/run/booted
	while /usr/bin/sleep 1000; do :; done
' "$2" &
wait $!
exit 0
"""


class OpenBsdHost:
    """One host's disk; ``boot`` starts it."""

    def __init__(self, root: Path) -> None:
        for needed in ("/bin/mksh", "/usr/bin/signify-openbsd"):
            if not Path(needed).exists():
                raise needs.Absent(f"there is no {needed}: `make setup-tests`")
        self.root = root
        for folder in ("usr", "proc", "dev", "tmp", "local", "state", "net"):
            (root / folder).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        shutil.copytree(COMMANDS, root / "standin")
        for folder in ("etc/rc.d", "var/log", "var/db/pkg", "var/lib", "root"):
            (root / folder).mkdir(parents=True)
        shutil.copy(COMMANDS / "rc.subr", root / "etc/rc.d/rc.subr")
        self.write("etc/passwd", "root:*:0:0:root:/root:/bin/sh\n")
        self.write("etc/group", "wheel:*:0:root\n")
        self.write("etc/netstart", 'echo "netstart $1" >>"/var/run/$1"\n')
        self.write("etc/installurl", "https://mirror.example/pub/OpenBSD\n")
        self.write("etc/pf.conf", "set skip on lo\npass\n")
        self.write("state/address", "127.0.0.1")
        self.write("state/sysctl", "net.inet.ip.forwarding=0\nnet.inet6.ip6.forwarding=0\n")
        self.write("state/mirror", "".join(f"{name}\n" for name in FIRST))

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Lays a file on the disk."""
        target = self._at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def read(self, path: str) -> str:
        """A file's text; empty where there is none."""
        target = self._at(path)
        return target.read_text() if target.exists() else ""

    def _at(self, path: str) -> Path:
        """A path of the host, whose /usr is this machine's but for /usr/local."""
        path = path.lstrip("/")
        return self.root / (path.removeprefix("usr/") if path.startswith("usr/local/") else path)

    @contextmanager
    def boot(self, command: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """The running host, at which ``command`` was run first; the end is a power cut."""
        (self.root / "var/run/booted").unlink(missing_ok=True)
        process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child",
             "sh", "-c", _ENTER, "sh", str(self.root), command],
            stdout=subprocess.DEVNULL, stderr=(self.root / "state/console").open("ab"),
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def command(self, process: subprocess.Popen[bytes], text: str) -> list[str]:
        """What runs a command on the host that runs as this process."""
        until(lambda: (self.root / "var/run/booted").exists(), SECONDS, "the host to boot")
        shell = _child(_child(process.pid))
        path = "PATH=/standin:/usr/bin:/bin:/usr/sbin:/sbin"
        came = "SSH_CONNECTION=127.0.0.1 1 127.0.0.1 22"
        enter = ["nsenter", f"--target={shell}", "--mount", "--pid", "--root", "--wd=/"]
        return [*enter, "env", "-i", path, came, "/bin/sh", "-c", text]

    def log(self) -> str:
        """What services have said."""
        return self.read("var/log/daemon")

    def says(self, text: str) -> None:
        """Waits until a service says so."""
        until(lambda: text in self.log(), SECONDS, what=f"{text!r} in {self.root}/var/log/daemon")

    @property
    def enabled(self) -> list[str]:
        """The services that are started at each boot."""
        return self.read("etc/pkg_scripts").split()


def _child(pid: int) -> int:
    """The first child of a process."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return int(until(lambda: children.read_text().split(), SECONDS, f"a child of {pid}")[0])
