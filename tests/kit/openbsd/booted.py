"""An OpenBSD machine whose files are where an OpenBSD has them, in namespaces of its own.

Below the stand-ins are the node image's Python and BIRD; its shell is mksh. Root is needed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from mesh.agent.host import Host
from tests.kit import needs
from tests.kit.machine import Machine
from tests.kit.openbsd import real
from tests.kit.openbsd.kernel import ROOT, STATE
from tests.kit.openbsd.machine import PACKAGES, OpenBsd

_PLACE = "/stand-ins"
_FOREIGN = ("mksh", "signify-openbsd")
"""Programs of this host, with the libraries that they need."""
_KERNEL = """\
import os
import sys
import sysconfig
sysconfig.get_config_vars()  # by the name of the platform that it was built for
sys.platform = "openbsd7"
os.uname = lambda: os.uname_result(("OpenBSD", "openbsd", "7.9", "GENERIC.MP#1", "amd64"))
"""
"""What a Python of OpenBSD says of itself, and what its kernel does."""


class Booted(OpenBsd):
    """A machine in a network namespace by name."""

    def __init__(self, folder: Path, namespace: str, packages: Iterable[str] = PACKAGES) -> None:
        self.machine = Machine(folder, namespace)
        super().__init__(folder, packages=packages)

    def close(self) -> None:
        """Ends it, and all that runs there."""
        self.machine.close()

    @property
    def environment(self) -> dict[str, str]:
        """Its own commands come first."""
        return {
            "PATH": f"{_PLACE}/bin:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin",
            "HOME": "/root",
            "PYTHONPATH": f"{_PLACE}/kernel",
            ROOT: "/",
            STATE: f"{_PLACE}/state",
        }

    def host(self) -> Host:
        """The machine, from outside."""
        return Host(self.root, self._prefix())

    def path(self, absolute: str) -> Path:
        """A file of it. The image's /var/run is a link, which would lead out of it."""
        if absolute.startswith("/var/run"):
            absolute = absolute.removeprefix("/var")
        return super().path(absolute)

    def halt(self) -> None:
        """All but the first process."""
        subprocess.run(
            [*self.machine.enter, "/usr/bin/python3", "-Ic", "import os; os.kill(-1, 9)"],
            capture_output=True, check=False,
        )  # fmt: skip

    def _prefix(self) -> tuple[str, ...]:
        return (*self.machine.enter, *super()._prefix())

    def _places(self, folder: Path) -> tuple[Path, Path, Path]:
        root = self.machine.root
        place = root / _PLACE.lstrip("/")
        package = place / "python/tests/kit/openbsd"
        package.mkdir(parents=True)
        for file in Path(__file__).parent.glob("*.py"):
            shutil.copy(file, package)
        (place / "kernel").mkdir()
        (place / "kernel/sitecustomize.py").write_text(_KERNEL)
        (place / "state").mkdir()
        (place / "state" / real.MARK).touch()
        return root, place / "state", place / "bin"

    def _interpreter(self) -> tuple[str, str]:
        return "/usr/bin/python3", f"{_PLACE}/python"

    def _files(self) -> None:
        super()._files()
        for name in _FOREIGN:
            _bring(self.root, name)
        shell = self.root / "usr/bin/sh"
        shell.unlink()
        shell.symlink_to("mksh")

    def _launchers(self) -> None:
        super()._launchers()
        # /bin/sh is mksh, and finds all files where they are.
        for name in ("sh", "ksh"):
            (self.commands / name).unlink()
        (self.commands / "ksh").symlink_to("/usr/bin/mksh")
        (self.root / "usr/bin/ksh").symlink_to("mksh")

    def _python(self, package: Path) -> None:
        for stem, target in (("python", "bin/python3"), ("bird", "sbin/bird")):
            link = package.with_name(stem) / "usr/local" / target
            link.parent.mkdir(parents=True)
            link.symlink_to(f"/usr/{target}")

    def _forget(self) -> None:
        self.must("/usr/bin/find", "/run/", "-mindepth", "1", "-delete")


def _bring(root: Path, name: str) -> None:
    """Copies a program of this host, with its libraries beside it."""
    program = shutil.which(name)
    if program is None:
        raise needs.Absent(f"{name} is not installed; `make setup-tests` installs it")
    shutil.copy(program, root / "usr/bin" / name)
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        path = Path(line.partition("=> ")[2].partition(" (")[0])
        if path.name and not path.name.startswith(("libc.", "ld-")):
            target = root / "usr/lib/x86_64-linux-gnu" / path.name
            if not target.exists():
                shutil.copy(path, target)
