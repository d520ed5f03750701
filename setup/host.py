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
SPACE = cache.GIB // 4  # packages of a bare machine, unpacked
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # a plain user's PATH lacks them
QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


@dataclass(frozen=True, slots=True)
class Package:
    """A package, and what shows that it is there."""

    name: str
    probe: str

    def there(self) -> bool:
        """Tell whether what the package is for can be had, wherever it comes from."""
        if self.probe.startswith("python:"):
            return importlib.util.find_spec(self.probe.removeprefix("python:")) is not None
        if self.probe.startswith("/"):
            return Path(self.probe).exists()
        return shutil.which(self.probe, path=f"{os.environ.get('PATH', '')}:{SBIN}") is not None


def packages(path: Path = HERE / "host-packages") -> list[Package]:
    """Return the package list; what follows ``#`` says why each is there."""
    lines = (line.split("#", 1)[0].split() for line in path.read_text().splitlines())
    return [Package(*line) for line in lines if line]


def missing(wanted: list[Package] | None = None) -> list[str]:
    """Return the names of packages that are not there."""
    return [package.name for package in wanted or packages() if not package.there()]


def require_root(what: str, user: int | None = None) -> None:
    """Raise SetupFailure unless we are root (or ``user`` is 0). ``what`` needs it."""
    if (os.geteuid() if user is None else user) != 0:
        raise SetupFailure(
            f"{what} needs root (namespaces, containers, packages): run it as root, "
            "for example `sudo make up`."
        )


def install(step: Step) -> None:
    """Install what is missing; ask for new package lists only when the known ones do not do."""
    names = missing()
    if not names:
        return
    if shutil.which("apt-get") is None:
        raise SetupFailure(
            f"missing here: {', '.join(names)}, and there is no apt-get to install them: Debian "
            "12 or 13 is what the set-up knows."
        )
    require_root(f"installing {', '.join(names)}")
    cache.require_space([(Path("/var/cache/apt"), SPACE)])
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *names]
    step.say(f"installing {', '.join(names)}")
    if _has_lists():
        step.doing("apt-get install")
        try:
            step.run(command, env=QUIET)
        except SetupFailure:
            # Lists grow old: what they name may have left the mirror.
            step.say("apt's package lists are out of date")
        else:
            return
    step.doing("apt-get update")
    step.run(["apt-get", "update"], env=QUIET)
    step.doing("apt-get install")
    step.run(command, env=QUIET)
    importlib.invalidate_caches()
    if still := missing():
        raise SetupFailure(f"installed, and still missing: {', '.join(still)} (see {step.log}).")


def _has_lists() -> bool:
    """Tell whether apt knows any packages."""
    return any(LISTS.glob("*_Packages*"))
