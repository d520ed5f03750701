#!/usr/bin/env -S python3 -u
"""Pulumi's host of dynamic providers, with less of the SDK.

Installed as ``pulumi-resource-pulumi-python`` beside an engine that the set-up makes, in place of
Pulumi's own script. That runs ``python -u -m pulumi.dynamic`` in the program's virtual environment,
and so does this; but every preview waits for it, and half of what it imports are two parts of the
SDK that no provider needs.

It is started with the ``python3`` found first on PATH, and goes on with that of the program's
virtual environment, which the engine names.
"""

from __future__ import annotations

import gc
import os
import runpy
import sys
import types
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

SERVER = "pulumi.dynamic"
TRACED = "TRACEPARENT"
"""By this variable the SDK is told that somebody wants its traces."""


def enter(virtualenv: Path) -> None:
    """Go on with the Python of a virtual environment, where this is another."""
    if Path(sys.prefix).resolve() != virtualenv.resolve():
        python = str(virtualenv / "bin" / "python")
        os.execv(python, [python, "-u", *sys.argv])  # noqa: S606 - an argument list


def leave_out() -> None:
    """Let the SDK be imported without its automation API, and without what traces its calls."""
    sys.modules["pulumi.automation"] = types.ModuleType("pulumi.automation")
    if TRACED not in os.environ:
        name = "pulumi.runtime._instrumentation"
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name])["wrap_with_context"] = _as_it_is


def _as_it_is(call: Callable[..., Any]) -> Callable[..., Any]:
    """In place of what runs a call in the context of a trace."""
    return call


def main() -> None:
    """Serve until the engine ends."""
    if virtualenv := os.environ.get("PULUMI_RUNTIME_VIRTUALENV"):
        enter(Path(virtualenv))
    leave_out()
    # What is imported stays to the end: nobody looks for garbage in it, now or later.
    gc.disable()
    import_module(SERVER)
    gc.freeze()
    gc.enable()
    runpy.run_module(SERVER, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
