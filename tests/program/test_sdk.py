"""What of the SDK's own habits is left out."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.runtime import mocks, resource, resource_cycle_breaker, rpc
from pulumi.runtime.config import CONFIG
from pulumi.runtime.proto import source_pb2

from mesh.infra import providers, reading, sdk
from mesh.infra.configuration import Configuration
from tests.kit.program import Answers, run
from tests.kit.stacks import ROOT


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The debug lines that are sent to the engine."""
    lines: list[str] = []
    monkeypatch.setattr(pulumi.log, "debug", lines.append)
    return lines


def test_debug_lines_are_not_sent(told: list[str]) -> None:
    sdk.without_debug_lines()
    pulumi.log.debug("preparing a resource")
    assert told == []


def test_debug_lines_are_sent_where_they_are_asked_for(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sdk.VARIABLE, "1")
    sdk.without_debug_lines()
    pulumi.log.debug("preparing a resource")
    assert told == ["preparing a resource"]


@pytest.mark.parametrize(("habit", "found"), [("", "found"), ("sdk.without_collection()", "")])
def test_garbage_is_not_looked_for_at_the_end(habit: str, found: str) -> None:
    """Not even when its Python ends, which otherwise finds all of it."""
    program = f"""
import os
from mesh.infra import sdk

class Ring:
    def __init__(self): self.ring = self
    def __del__(self, write=os.write): write(1, b"found")

{habit}
Ring()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == found


def test_garbage_is_not_looked_for_while_the_program_runs() -> None:
    was_enabled = gc.isenabled()
    try:
        gc.enable()
        sdk.without_collection()
        assert not gc.isenabled()
    finally:
        (gc.enable if was_enabled else gc.disable)()


class _Made(pulumi.ComponentResource):
    """A resource whose constructor asks, as the SDK's own does, who has called it."""

    def __init__(self) -> None:
        super().__init__("test:index:Made", "made")


def test_where_a_resource_is_made_is_told_as_the_sdk_tells_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same files and numbers of lines, without reading a line of them."""
    told: list[tuple[source_pb2.StackTrace, source_pb2.StackTrace]] = []

    class Asking:
        def __init__(self, *_arguments: object) -> None:
            told.append((sdk._stack_trace(), resource._get_stack_trace()))

    monkeypatch.setattr(pulumi.Resource, "__init__", Asking.__init__)
    _Made()
    ((ours, theirs),) = told
    assert ours == theirs
    assert ours.frames[0].pc.uri == Path(__file__).as_uri()


def test_who_is_made_by_nobody_is_told_as_the_sdk_tells_it() -> None:
    assert sdk._stack_trace() == resource._get_stack_trace() == source_pb2.StackTrace()


class _Thing:
    """Whatever depends on another."""


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_circles_of_dependencies_are_found_as_the_sdk_finds_them(
    declared: list[tuple[int, int]],
) -> None:
    ours: list[Any] = [_Thing() for _ in range(6)]
    theirs: list[Any] = [_Thing() for _ in range(6)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(vars(rpc), "declare_dependency", None)
        sdk.without_needless_searches()
        for one, other in declared:
            expected = resource_cycle_breaker.declare_dependency(theirs[one], theirs[other])
            assert vars(rpc)["declare_dependency"](ours[one], ours[other]) is expected


WORD: ContextVar[str] = ContextVar("word", default="unsaid")


@pytest.fixture
def loop() -> Iterator[None]:
    """An event loop, as every program has one."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield
    asyncio.set_event_loop(None)
    made.close()


def test_what_is_done_meanwhile_is_known_afterwards(loop: None) -> None:
    def say() -> str:
        WORD.set("said")
        return "done"

    assert sdk.meanwhile(say) == "done"
    assert WORD.get() == "said"


def test_what_goes_wrong_meanwhile_goes_wrong(loop: None) -> None:
    def refuse() -> None:
        raise pulumi.RunError("the provider refuses")

    with pytest.raises(pulumi.RunError, match="the provider refuses"):
        sdk.meanwhile(refuse)


@pytest.mark.parametrize("preview", [True, False])
def test_the_process_of_our_resources_starts_while_a_preview_reads_and_asks(
    monkeypatch: pytest.MonkeyPatch, preview: bool
) -> None:
    """The first of them has it started. An update reads and asks before anything is made."""
    registered, seen = threading.Event(), []

    class Watched(Answers):
        def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
            if args.name == "mesh-operator":
                registered.set()
            return super().new_resource(args)

    def look() -> None:
        seen.append(registered.wait(20) if preview else registered.is_set())

    def read(root: Path, read: Callable[[Path], reading.StackFile] = reading.read) -> Any:
        look()
        return read(root)

    def problems(_setting: object) -> Iterator[Any]:
        look()
        return iter(())

    monkeypatch.setattr(reading, "read", read)
    monkeypatch.setattr(providers, "problems", problems)
    run(nothing_exists=preview, answers=Watched)
    assert seen == [preview, preview]


@pytest.mark.parametrize(
    ("config", "protect"),
    [
        ({}, True),
        ({"mesh:protect": "true"}, True),
        ({"mesh:protect": "false"}, False),
        ({"mesh:protect": " false"}, False),
        ({"mesh:protect": "maybe"}, True),
    ],
)
def test_what_is_protected_is_known_before_the_stack_file_is_read(
    config: dict[str, str], protect: bool
) -> None:
    before = CONFIG.set(config)
    try:
        assert Configuration(ROOT).protect is protect
    finally:
        CONFIG.reset(before)
