"""An OpenBSD machine of stand-ins: a tree of files, commands that come first, and what boots it.

It needs no root: the stand-ins find the machine's files below its tree, and scripts are run as
copies that name that tree. :mod:`tests.kit.openbsd.booted` has its files where an OpenBSD has them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mesh.agent.host import Host
from tests.kit.openbsd import kernel, quick, sysctl
from tests.kit.openbsd.kernel import ROOT, STATE, Interface, Kernel, Route
from tests.kit.openbsd.processes import processes
from tests.kit.openbsd.quick import QuickHost
from tests.kit.stacks import ROOT as CHECKOUT
from tests.kit.wait import patience, until

COMMANDS = {
    "ifconfig": "ifconfig:main", "route": "route:main", "netstat": "route:netstat",
    "pfctl": "pfctl:main", "rcctl": "rcctl:main", "sysctl": "sysctl:main", "wg": "wg:main",
    "netstart": "netstart:main", "pkg_add": "packages:add", "pkg_info": "packages:info",
    "uname": "base:uname", "hostname": "base:hostname", "sh": "base:shell", "ksh": "base:shell",
    "su": "base:su", "doas": "base:doas", "logger": "base:logger", "sha256": "base:sha256",
    "ftp": "ftp:main", "pgrep": "processes:pgrep", "pkill": "processes:pkill",
    "chown": "base:owned", "chgrp": "base:owned", "install": "base:install",
    "signify": "base:signify", "shutdown": "base:shutdown", "reboot": "base:shutdown",
}  # fmt: skip
ABSENT = ("systemctl", "journalctl", "systemd-run", "ip", "nft", "apt-get", "dpkg", "dpkg-query",
          "bash", "sha256sum", "curl", "wget", "sudo")  # fmt: skip
"""What Debian has and OpenBSD has not: who calls it is told so."""
MIRROR = "https://mirror.example.net/pub/OpenBSD"
PACKAGES = (
    "bird-2.17.1", "python-3.12.11", "py3-cryptography-45.0.7", "py3-pydantic-2.11.7",
    "wireguard-tools-1.0.20250521",
)  # fmt: skip
"""What a node has installed."""
MIRRORED = (*PACKAGES, "bird-3.1.4")
"""What a mirror has."""
IPV4, GATEWAY4 = "203.0.113.10", "203.0.113.1"
IPV6, GATEWAY6 = "2001:db8:5::10", "fe80::1"
PF_CONF = """\
#\t$OpenBSD: pf.conf,v 1.55 2017/12/03 20:40:04 sthen Exp $
#
# See pf.conf(5) and /etc/examples/pf.conf

set skip on lo

block return\t# block stateless traffic
pass\t\t# establish keep-state

# By default, do not permit remote connections to X11
block return in on ! lo0 proto tcp to port 6000:6010

# Port build user does not need network
block return out log proto {tcp udp} user _pbuild
"""
"""What an installation has, with other comments left out."""
_PASSWD = "root:*:0:0:Charlie &:/root:/bin/ksh\nnobody:*:32767:32767::/nonexistent:/sbin/nologin\n"
_GROUP = "wheel:*:0:root\noperator:*:5:root\nbin:*:7:\nnobody:*:32767:\n"
_LAUNCHER = """\
#!{python} -IS
import sys
sys.path.insert(0, {checkout!r})
from tests.kit.openbsd.{module} import {function}
from tests.kit.openbsd.kernel import Ended
try:
    code = {function}(sys.argv[1:])
except Ended as ended:
    if ended.said:
        print(ended.said, file=sys.stderr)
    code = ended.code
sys.exit(code)
"""


class OpenBsd:
    """A machine in a folder; it has booted when this returns."""

    def __init__(
        self,
        folder: Path,
        *,
        release: str = "7.9",
        packages: Iterable[str] = PACKAGES,
        mirror: Iterable[str] | None = MIRRORED,
        ipv6: bool = True,
    ) -> None:
        self.root, self.state, self.commands = self._places(folder)
        self._ipv6 = ipv6
        self._release = release
        for each in (self.root, self.state, self.commands):
            each.mkdir(parents=True, exist_ok=True)
        self._files()
        self._launchers()
        (self.state / "mirror.json").write_text(
            json.dumps({MIRROR: None if mirror is None else list(mirror)})
        )
        kernel.save(self.state, self._booted())
        if wanted := list(packages):
            self.must("pkg_add", "-I", *wanted)
        self.boot()

    def _places(self, folder: Path) -> tuple[Path, Path, Path]:
        """Where the root, the state of the stand-ins, and their commands are."""
        return folder / "root", folder / "state", folder / "bin"

    # --- files and commands ------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """What the machine's processes have: only its own commands, and those that both have."""
        return {
            "PATH": f"{self.commands}:{self.root}/usr/local/bin:{self.root}/usr/local/sbin:"
                    "/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/root",
            ROOT: str(self.root),
            STATE: str(self.state),
        }  # fmt: skip

    def host(self) -> Host:
        """The machine as an agent has it, without root."""
        return Host(self.root, self._prefix(), "/var/run")

    def quick_host(self) -> QuickHost:
        """The same, with most commands in this process."""
        return QuickHost(self.root, self._prefix(), "/var/run", environment=self.environment)

    def path(self, absolute: str) -> Path:
        """A file of it."""
        return self.root / absolute.lstrip("/")

    def put(self, absolute: str, content: str | bytes, mode: int = 0o644) -> None:
        """Lays a file."""
        target = self.path(absolute)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def run(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, in this process where that shows the same."""
        main = self._quick(command)
        if main is None:
            return self.apart(*command, given=given)
        result = quick.call(main, command[1:], given, self.environment)
        return subprocess.CompletedProcess(command, result.code, result.out, result.err)

    def apart(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, as a process."""
        return subprocess.run(
            [*self._prefix(), *command],
            input=given, capture_output=True, text=True, timeout=patience(60), check=False,
        )  # fmt: skip

    def _quick(self, command: Sequence[str]) -> quick.Main | None:
        """The function of a command that can run in this process, where the machine has it."""
        place = shutil.which(command[0], path=self.environment["PATH"])
        if place is None or not Path(place).is_relative_to(self.commands.parent):
            return None
        return quick.found(command)

    def _prefix(self) -> tuple[str, ...]:
        return ("env", "-i", *(f"{key}={value}" for key, value in self.environment.items()))

    def must(self, *command: str, given: str = "") -> str:
        """What a command prints that has to go well."""
        done = self.run(*command, given=given)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
        return done.stdout

    # --- the kernel --------------------------------------------------------------------------

    @property
    def kernel(self) -> Kernel:
        """What the kernel knows now."""
        return kernel.load(self.state)

    @contextmanager
    def changing(self) -> Iterator[Kernel]:
        """The kernel, to be changed by a test: what comes from outside."""
        with kernel.opened(self.state) as each:
            yield each

    def table(self, name: str) -> list[str]:
        """The addresses of a table of pf."""
        return sorted(self.kernel.pf.tables[name].addresses)

    # --- life --------------------------------------------------------------------------------

    def boot(self) -> None:
        """A start of the machine, as rc(8) has it: settings, interfaces, pf, services in order."""
        kernel.save(self.state, self._booted())
        self._forget()
        settings = self.path("/etc/sysctl.conf")
        for line in settings.read_text().splitlines() if settings.exists() else ():
            if text := line.partition("#")[0].strip():
                self.run("sysctl", "-q", text)
        self.run("netstart")
        self.run("pfctl", "-f", "/etc/pf.conf")
        for service in self.must("rcctl", "order").split():
            self.run("rcctl", "start", service)

    def _forget(self) -> None:
        """Empties what is empty after a start."""
        shutil.rmtree(self.path("/var/run"), ignore_errors=True)
        self.path("/var/run").mkdir()

    def halt(self) -> None:
        """Power goes: whatever runs there ends at once."""
        for _ in range(50):
            left = [pid for pid, _ in processes(str(self.state))]
            if not left:
                return
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            until(lambda: not list(processes(str(self.state))), 5, "all has ended")

    def reboot(self) -> None:
        """Power goes and comes."""
        self.halt()
        self.boot()

    # --- what it begins with -----------------------------------------------------------------

    def _booted(self) -> Kernel:
        made = Kernel(release=self._release, sysctl=dict(sysctl.DEFAULTS))
        made.boot += len(list(self.state.glob("boots*")))
        (self.state / f"boots{made.boot}").touch()
        lo = Interface(made.index(), 32768, True, ["lo"], ["127.0.0.1/8"], ["::1/128"])
        vio = Interface(made.index(), 1500, True, [], [f"{IPV4}/24"], lladdr="fe:e1:bb:d1:a0:9c")
        made.interfaces = {"lo0": lo, "vio0": vio}
        made.routes = [Route(0, "0.0.0.0/0", GATEWAY4, "vio0", "UGS", 8)]
        if self._ipv6:
            vio.inet6 = ["fe80::fce1:bbff:fed1:a09c/64", f"{IPV6}/64"]
            vio.autoconf6 = True
            made.routes.append(Route(0, "::/0", f"{GATEWAY6}%vio0", "vio0", "UGS", 8))
        return made

    def _files(self) -> None:
        for folder in ("etc/rc.d", "etc/ssl", "var/run", "var/log", "var/db/pkg", "var/empty",
                       "usr/local/bin", "usr/local/sbin", "root/.ssh", "tmp"):  # fmt: skip
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        self.put("/etc/passwd", _PASSWD)
        self.put("/etc/group", _GROUP)
        self.put("/etc/pf.conf", PF_CONF, 0o600)
        self.put("/etc/installurl", f"{MIRROR}\n")
        self.put("/etc/myname", "openbsd.example.net\n")
        self.put("/etc/hostname.vio0", "inet autoconf\ninet6 autoconf\n", 0o640)
        self.put("/etc/netstart", 'exec netstart "$@"\n')
        self.put("/var/log/messages", "")
        self.put("/var/log/authlog", "")
        subr = Path(__file__).with_name("rc.subr.ksh")
        self.put("/etc/rc.d/rc.subr", subr.read_text())

    def _launchers(self) -> None:
        python, checkout = self._interpreter()
        for name, where in COMMANDS.items():
            module, _, function = where.partition(":")
            values = {"module": module, "function": function}
            text = _LAUNCHER.format(python=python, checkout=checkout, **values)
            _executable(self.commands / name, text)
        for name in ABSENT:
            text = f"#!/bin/sh\necho '{name}: not found on OpenBSD' >&2\nexit 127\n"
            _executable(self.commands / name, text)
        tools = self.state / "packages" / "wireguard-tools" / "usr/local/bin"
        tools.mkdir(parents=True)
        (self.commands / "wg").rename(tools / "wg")
        self._python(self.state / "packages" / "python")

    def _interpreter(self) -> tuple[str, str]:
        """The Python of the stand-ins, and where they are."""
        return str(Path(sys.executable).resolve()), str(CHECKOUT)

    def _python(self, package: Path) -> None:
        """A Python with what the agent needs: this checkout's own environment by another name."""
        here = Path(sys.prefix)
        (package / "usr/local/bin").mkdir(parents=True)
        (package / "usr/local/bin/python3").symlink_to(Path(sys.executable).resolve())
        config = here / "pyvenv.cfg"
        if config.exists():
            (package / "usr/local/pyvenv.cfg").write_text(config.read_text())
            (self.root / "usr/local/lib").symlink_to(here / "lib")


def _executable(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o755)
