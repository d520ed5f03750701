"""The virtual environment ``.venv`` of the checkout, from the lock file with hashes."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tomllib
from pathlib import Path

from setup import cache
from setup.failure import SetupFailure
from setup.progress import Step

SPACE = cache.GIB  # the environment and pip's downloads
STAMP = "anycast-mesh.stamp"


def wanted(checkout: Path) -> str:
    """Return a hash of all that the environment follows from.

    That is the lock file, what pyproject.toml says about the package (not about tools), the
    interpreter, and where the checkout lies: scripts in ``bin`` name it.
    """
    project = tomllib.loads((checkout / "pyproject.toml").read_text())
    package = {name: project[name] for name in ("build-system", "project")}
    package["setuptools"] = project["tool"]["setuptools"]
    parts = (
        (checkout / "requirements.lock").read_text(),
        json.dumps(package, sort_keys=True),
        sys.version,
        sys.executable,
        str(checkout),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def virtualenv(checkout: Path, step: Step) -> Path:
    """Return the environment's folder, made anew when it does not fit.

    The stamp is written last, so a killed run is begun again; pip keeps what it downloaded.
    pip's own settings on this machine (files and PIP_* variables) are left as they are.
    """
    folder = checkout / ".venv"
    stamp = folder / STAMP
    expected = wanted(checkout)
    if stamp.is_file() and stamp.read_text() == expected:
        return folder
    cache.require_space([(checkout, SPACE)])
    count = (checkout / "requirements.lock").read_text().count("==")
    step.say(f"installing {count} packages from requirements.lock")
    step.doing("making .venv")
    stamp.unlink(missing_ok=True)
    step.run([sys.executable, "-m", "venv", "--clear", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-input"]
    collected = 0

    def seen(line: str) -> None:
        nonlocal collected
        if line.startswith("Collecting "):
            collected += 1
            step.doing(f"downloaded {collected} of {count} packages")
        elif line.startswith("Installing collected"):
            step.doing(f"unpacking {collected} packages")

    lock = ["--require-hashes", "--no-deps", "--requirement", str(checkout / "requirements.lock")]
    step.run([*pip, *lock], seen=seen)
    step.doing("installing mesh itself")
    step.run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(checkout)])
    _write_last(stamp, expected)
    return folder


def require_venv_module() -> None:
    """Raise SetupFailure if this Python cannot make virtual environments."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        raise SetupFailure(
            f"{sys.executable} cannot make virtual environments ({error}): install the package "
            "python3-venv (`make setup` does, as root)."
        ) from error


def _write_last(stamp: Path, text: str) -> None:
    """Write the stamp in one step: it is there in full, or not at all."""
    beside = stamp.with_suffix(f".{os.getpid()}")
    beside.write_text(text)
    beside.replace(stamp)
