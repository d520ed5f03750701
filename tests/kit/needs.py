"""What tests need of a machine, by marker, and what of it is missing here.

A test says by a marker that it needs `root`, the node `image`, the `engine`, a `browser`, or a
`lab`; where that is missing it is skipped with the cure (tests/conftest.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from mesh.cli.environment import engine_folder, environment
from tests.kit.stacks import ROOT

IMPLIED = {"image": ("root",), "lab": ("image", "root")}
"""What a marker says beside itself: whoever enters the image makes namespaces for that."""

CHROMIUM = Path("/usr/bin/chromium-headless-shell")

_running: Collection[str] | None = None
"""What the running test says that it needs; None while none runs."""


class Absent(FileNotFoundError):
    """Something that a test needs is not on this machine; its text names the cure."""


def said(markers: Collection[str]) -> list[str]:
    """The needs among a test's markers, with what they imply."""
    return [name for name in PROBES if any(name in (m, *IMPLIED.get(m, ())) for m in markers)]


def lacking(needs: Collection[str]) -> str:
    """Why a test with these needs cannot run here, and the cure; empty where it can."""
    return next((why for name in needs if (why := PROBES[name]())), "")


@contextmanager
def stated(needs: Collection[str]) -> Iterator[None]:
    """While a test with these needs runs."""
    global _running
    before, _running = _running, needs
    try:
        yield
    finally:
        _running = before


def claim(need: str) -> None:
    """Fail where the running test uses what its markers do not say: elsewhere it would not be
    skipped."""
    if _running is not None and need not in _running:
        raise AssertionError(f"this test needs @pytest.mark.{need}")


def image() -> Path:
    """The node image: MESH_IMAGE, the checkout's own, or the cache's latest."""
    return Path(environment(ROOT)["MESH_IMAGE"])


@cache
def _root() -> str:
    if sys.platform != "linux":
        return "needs Linux: its network namespaces"
    if os.geteuid() != 0:
        return "needs root: run as root"
    done = subprocess.run(
        ["unshare", "--mount", "--net", "true"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return (
            f"needs network namespaces, which root cannot make here ({done.stderr.strip()}): "
            "run as root of a machine, or of a container with CAP_SYS_ADMIN"
        )
    return ""


@cache
def _image() -> str:
    if (image() / "usr/sbin/bird").exists():
        return ""
    return f"needs the node image, and {image()} is none: `make setup`, or set MESH_IMAGE"


@cache
def _engine() -> str:
    pulumi = engine_folder(ROOT) / "pulumi"
    return "" if os.access(pulumi, os.X_OK) else f"needs the engine {pulumi}: `make setup`"


@cache
def _browser() -> str:
    if CHROMIUM.exists():
        return ""
    return f"needs Debian's chromium-headless-shell, and there is no {CHROMIUM}: `make setup-tests`"


def _lab() -> str:
    return ""


PROBES: dict[str, Callable[[], str]] = {
    "root": _root, "image": _image, "engine": _engine, "browser": _browser, "lab": _lab,
}  # fmt: skip
"""By marker, what is missing for it alone."""
