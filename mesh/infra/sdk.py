"""Three habits of Pulumi's SDK that cost a preview of many nodes most of its time, and their cure.

All are of the version that pyproject.toml pins.
"""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import suppress

import pulumi
from pulumi import log

VARIABLE = "MESH_SDK_DEBUG"
"""Set to 1, it has the SDK send its debug lines, for `pulumi preview --debug`."""


def without_debug_lines() -> None:
    """From now on the SDK does not send its own debug lines, of which each resource has five.

    Each is a call to the engine that the whole program waits for, and the engine drops the line
    unless it runs with ``--debug``, which it does not tell the program.
    """
    if os.environ.get(VARIABLE) != "1":
        log.debug = _drop


def without_collection() -> None:
    """From now on this process does not look for garbage that refers to itself.

    What the SDK makes for each input and output is held until the program ends, and each search
    goes through all of it again: a fifth of the program's time at 190 nodes, to find 4 MB of 150.
    """
    gc.disable()


def begin() -> None:
    """At the end of the program: let every registration begin before any is waited for.

    The SDK waits for registrations one by one, and then for any of the outputs that are left.
    Where none has begun it goes to the outputs at once, and looks at each of them again after
    each that is ready: thousands, hundreds of times.
    """
    # Under the SDK's mocks a program has no part that is awaited, and few resources.
    with suppress(pulumi.RunError):
        pulumi.run(_yielding)


async def _yielding() -> None:
    await asyncio.sleep(0)


def _drop(*_message: object, **_options: object) -> None:
    """In place of :func:`pulumi.log.debug`."""
