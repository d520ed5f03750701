"""What of Pulumi's SDK costs a preview most of its time, and how that is avoided.

All are of the version that pyproject.toml pins.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import cache
from traceback import FrameSummary
from types import FrameType
from typing import TypeVar

import pulumi
from pulumi import Resource, log
from pulumi.runtime import resource, resource_cycle_breaker, rpc
from pulumi.runtime.proto import source_pb2
from pulumi.runtime.sync_await import _sync_await

T = TypeVar("T")

VARIABLE = "MESH_SDK_DEBUG"
"""Set to 1, it has the SDK send its debug lines, for `pulumi preview --debug`."""


def without_debug_lines() -> None:
    """Stop the SDK's own debug lines, of which each resource has five.

    Each is a call to the engine that the whole program waits for, and the engine drops the line
    unless it runs with ``--debug``, which the program cannot see.
    """
    if os.environ.get(VARIABLE) != "1":
        log.debug = _drop


def without_collection() -> None:
    """Disable garbage collection in this process, also at its end.

    What the SDK makes for each input and output is held until the program ends, and each collection
    goes through all of it: a fifth of the program's time at 190 nodes, to free 4 MB of 150. The
    last one, when Python ends, takes a third of a second there.
    """
    gc.disable()
    # The last collection runs although it is disabled; frozen objects are left out.
    atexit.register(gc.freeze)


def without_source_lines() -> None:
    """Tell the engine where a resource is made without reading the lines of code there.

    The SDK reads one of every function that is being called, twenty for each resource, and passes
    on none: only its file and number.
    """
    resource._get_stack_trace = _stack_trace


def without_needless_searches() -> None:
    """Look for a circle of dependencies only where one is possible.

    The SDK looks through all that a dependency itself depends on. A firewall waits for every
    address, and every server for the firewall: that is the square of their number. No way leads to
    a resource that nothing depends on, as nearly all are when they are registered.
    """
    depended_on: set[Resource] = set()

    def declare(dependent: Resource, dependency: Resource) -> bool:
        if dependent is dependency or dependent in depended_on:
            if not resource_cycle_breaker.declare_dependency(dependent, dependency):
                return False
        else:
            resource_cycle_breaker._add_dep(dependent, dependency)
        depended_on.add(dependency)
        return True

    vars(rpc)["declare_dependency"] = declare


def meanwhile(work: Callable[[], T]) -> T:
    """Do this work in a thread while the registrations so far go to the engine.

    A registration begins when the program gives up the event loop, else at its end; and at the
    first resource of our own the engine starts the process that runs them all.
    """
    context = copy_context()
    done = _sync_await(asyncio.get_event_loop().run_in_executor(None, context.run, work))
    for variable, value in context.items():
        variable.set(value)
    return done


def begin() -> None:
    """At the end of the program: begin every registration before waiting for any.

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


CONSTRUCTORS = 3
"""Of a resource's class and the two of the SDK's that it is made of."""


def _stack_trace() -> source_pb2.StackTrace:
    """As pulumi.runtime.resource._get_stack_trace: whatever calls the third constructor."""
    seen = 0
    caller: FrameType | None = sys._getframe()
    while caller is not None and seen < CONSTRUCTORS:
        seen += caller.f_code.co_name == "__init__"
        caller = caller.f_back
    frames = []
    while caller is not None:
        frames.append(_frame(caller.f_code.co_filename, caller.f_lineno))
        caller = caller.f_back
    return source_pb2.StackTrace(frames=frames)


@cache
def _frame(file: str, line: int) -> source_pb2.StackFrame:
    found = resource._get_source_position_for_frame(FrameSummary(file, line, "", lookup_line=False))
    return source_pb2.StackFrame(pc=found)
