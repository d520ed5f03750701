"""The virtual environment ``.venv`` of the checkout, from lock files with hashes.

``requirements.lock`` is what the program runs on; ``requirements-dev.lock`` goes on top of it for
tests and linters. What makes the site of the documentation (``requirements-docs.lock``) has an
environment of its own, since it wants other versions of the same packages.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tomllib
from pathlib import Path

from setup import cache
from setup.failure import SetupFailure
from setup.progress import Step

SPACE = cache.GIB  # the environment and pip's downloads
DOCS_SPACE = cache.GIB // 10
PROGRAM, TESTS = "requirements.lock", "requirements-dev.lock"
DOCS = "requirements-docs.lock"


def packages_key(checkout: Path, lock: str = PROGRAM) -> str:
    """Return a hash of everything that determines the packages of a lock file.

    That is the lock file, the interpreter, and where the checkout lies: scripts in ``bin``
    name it.
    """
    text = (checkout / lock).read_text()
    return _hash(text, sys.version, interpreter(), str(checkout))


def interpreter() -> str:
    """The Python that environments are made from, by one name: not that of an environment which
    somebody has activated, and which would be made anew from itself."""
    return str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())


def project_key(checkout: Path) -> str:
    """Return a hash of pyproject.toml's metadata of the package ``mesh``, without tools."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text())
    package = {name: project[name] for name in ("build-system", "project")}
    package["setuptools"] = project["tool"]["setuptools"]
    return _hash(json.dumps(package, sort_keys=True))


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def virtualenv(checkout: Path, step: Step, *, tests: bool = False) -> Path:
    """Return the environment's folder, made anew when its packages do not fit.

    With ``tests`` it holds what only tests need as well; without, an environment that has it
    keeps it. Each stamp is written when its part is complete, so a killed run is begun again; pip
    keeps what it downloaded. pip's own settings on this machine (files and PIP_* variables) are
    left as they are.
    """
    folder = checkout / ".venv"
    packages, project = folder / "packages.stamp", folder / "project.stamp"
    more = folder / "dev.stamp"
    fits = _has_key(packages, packages_key(checkout))
    # What another lock file put there would stay, and pytest loads every plugin that it finds.
    if not fits or (tests and more.is_file() and not _has_key(more, packages_key(checkout, TESTS))):
        _make(checkout, folder, SPACE, step)
        _install(checkout, folder, PROGRAM, step)
        _write_last(packages, packages_key(checkout))
    if not _has_key(project, project_key(checkout)):
        step.doing("installing mesh itself")
        step.run([*_pip(folder), "--no-deps", "--no-build-isolation", "--editable", str(checkout)])
        _write_last(project, project_key(checkout))
    if tests and not _has_key(more, packages_key(checkout, TESTS)):
        _install(checkout, folder, TESTS, step)
        _write_last(more, packages_key(checkout, TESTS))
    return folder


def documentation(checkout: Path, folder: Path, step: Step) -> Path:
    """Return the folder of the environment that makes the site of the documentation."""
    stamp, key = folder / "packages.stamp", packages_key(checkout, DOCS)
    if not _has_key(stamp, key):
        _make(checkout, folder, DOCS_SPACE, step)
        _install(checkout, folder, DOCS, step)
        _write_last(stamp, key)
    return folder


def _make(checkout: Path, folder: Path, space: int, step: Step) -> None:
    """Make an empty environment in place of what is there."""
    require_venv_module()
    cache.require_space([(checkout, space)])
    step.doing(f"making {folder.relative_to(checkout)}")
    step.run([interpreter(), "-m", "venv", "--clear", str(folder)])


def _install(checkout: Path, folder: Path, lock: str, step: Step) -> None:
    """Install what a lock file names."""
    count = len(re.findall(r"^\S+==", (checkout / lock).read_text(), re.MULTILINE))
    step.show(f"installing {count} packages from {lock}")
    collected = 0

    def seen(line: str) -> None:
        nonlocal collected
        if line.startswith("Collecting "):
            collected += 1
            step.doing(f"downloaded {collected} of {count} packages")
        elif line.startswith("Installing collected"):
            step.doing(f"unpacking {collected} packages")

    options = ["--require-hashes", "--no-deps", "--requirement", str(checkout / lock)]
    # Compiled when first imported: of the clouds' half a gigabyte only a few modules ever are.
    step.run([*_pip(folder), "--no-compile", *options], seen=seen)


def _pip(folder: Path) -> list[str]:
    return [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-input"]


def _has_key(stamp: Path, key: str) -> bool:
    return stamp.is_file() and stamp.read_text() == key


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
