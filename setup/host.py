"""Debian packages that the set-up and the lab need on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from setup import cache
from setup.failure import SetupFailure
from setup.progress import Step

HERE = Path(__file__).resolve().parent
LISTS = Path("/var/lib/apt/lists")
SPACE = cache.GIB  # packages of a bare machine, unpacked; the browser of tests is half of it
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # a plain user's PATH lacks them
QUIET = {"DEBIAN_FRONTEND": "noninteractive"}
INSTALL = ("apt-get", "install", "--yes", "--no-install-recommends")


@dataclass(frozen=True, slots=True)
class Package:
    """A package, and how to see that it is installed."""

    name: str
    probe: str

    def there(self) -> bool:
        """Whether the package's content is here, from whatever source."""
        if self.probe.startswith("python:"):
            return importlib.util.find_spec(self.probe.removeprefix("python:")) is not None
        if self.probe.startswith("/"):
            return Path(self.probe).exists()
        return shutil.which(self.probe, path=f"{os.environ.get('PATH', '')}:{SBIN}") is not None


def packages(*, tests: bool = False) -> list[Package]:
    """Return the package list, with ``tests`` also what only they need; the reason for each is
    after ``#``."""
    files = ("host-packages", "test-packages") if tests else ("host-packages",)
    text = "".join((HERE / name).read_text() for name in files)
    lines = (line.split("#", 1)[0].split() for line in text.splitlines())
    return [Package(*line) for line in lines if line]


def missing(wanted: list[Package]) -> list[str]:
    """Return the names of packages that are not there."""
    return [package.name for package in wanted if not package.there()]


def require_root(what: str, user: int | None = None) -> None:
    """Raise SetupFailure unless we are root (or ``user`` is 0). ``what`` needs it."""
    if (os.geteuid() if user is None else user) != 0:
        raise SetupFailure(
            f"{what} needs root (namespaces, containers, packages): run it as root, "
            "for example `sudo make up`."
        )


def install(step: Step, wanted: list[Package]) -> None:
    """Install what is missing; fetch new package lists only when the present ones do not suffice.

    Whatever version apt's sources have is taken.
    """
    names = missing(wanted)
    if not names:
        return
    if shutil.which("apt-get") is None:
        raise SetupFailure(
            f"missing here: {', '.join(names)}, and there is no apt-get to install them: Debian "
            "12 or 13 is what the set-up knows."
        )
    require_root(f"installing {', '.join(names)}")
    cache.require_space([(Path("/var/cache/apt"), SPACE)])
    step.show(f"installing {', '.join(names)}")
    if not (_has_lists() and _installed(names, step)):
        _update(step)
        step.doing("apt-get install")
        step.run([*INSTALL, *names], env=QUIET)
    importlib.invalidate_caches()
    if still := missing(wanted):
        raise SetupFailure(f"installed, and still missing: {', '.join(still)} (see {step.log}).")


def _installed(names: list[str], step: Step) -> bool:
    """Install with the present package lists; False when they do not suffice."""
    step.doing("apt-get install")
    try:
        step.run([*INSTALL, *names], env=QUIET)
    except SetupFailure:
        # Lists become outdated: the mirror may have removed packages that they name.
        step.show("apt's package lists are out of date")
        return False
    return True


def _update(step: Step) -> None:
    """Fetch apt's package lists. A source that fails is no error: Debian's own may have been read,
    and if not, the installation names what is missing."""
    step.doing("apt-get update")
    try:
        step.run(["apt-get", "update"], env=QUIET)
    except SetupFailure as failure:
        step.show(f"not every package list could be fetched; trying with the others. {failure}")


def _has_lists() -> bool:
    """Whether apt knows any packages."""
    return any(LISTS.glob("*_Packages*"))
