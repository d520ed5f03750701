"""Who cannot run here is skipped with the reason; who fails says which BIRDs it may have run on."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from tests import markers
from tests.kit import needs
from tests.shares import Share

# A few cases of each in every run, many with `pytest --hypothesis-profile=large`. How long a case
# takes is another program's doing on a busy machine.
settings.register_profile("small", max_examples=30, deadline=None)
settings.register_profile("large", max_examples=1000, deadline=None)
settings.load_profile("small")

LONGEST = ("engine", "image", "root")
"""Markers of the tests that take longest, in that order."""
WAITING = Path(__file__).parent / "publish" / "rollout"
"""What waits longest of all without a marker, for two seconds in each test."""

SHARE = pytest.StashKey[Share]()
"""The files that this worker collects, where each has its own."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--whole",
        action="store_true",
        help="a test whose root, image, engine or lab is missing fails instead of being skipped",
    )
    parser.addoption(
        "--shares",
        action="store_true",
        help="each worker collects a share of the files, for --dist each",
    )


def pytest_configure(config: pytest.Config) -> None:
    if _is_worker(config):
        # execnet has its workers ignore it, and kills them some seconds after their parent's:
        # what a fixture made would stay.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if config.getoption("--shares"):
            worker = vars(config)["workerinput"]
            number = int(worker["workerid"].removeprefix("gw"))
            config.stash[SHARE] = Share(number, worker["workercount"])
    # As after Ctrl-C, what fixtures made is cleared.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What is collected stands until the end: to look for garbage in it takes a fourth of the
    collection's time, and then some of every test's."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file is not even imported where the markers of all its tests leave it out: each worker
    would import the stand-ins of clouds with their SDKs, and other things large and of no use."""
    if not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
        return None
    if markers.leave_out(config.option.markexpr, collection_path.read_text()):
        return True
    share = config.stash.get(SHARE, None)
    return None if share is None or share.holds(collection_path) else True


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are processors: workers wait for engines and daemons half of the time."""
    return (os.cpu_count() or 1) + 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if share := config.stash.get(SHARE, None):
        # A file that the command line names is collected by all.
        items[:] = [item for item in items if share.holds(item.path)]
    if _is_worker(config):
        # A file is one worker's, and those with an engine take longest, then those with daemons
        # and what waits: what comes last is short.
        ranks: dict[Path, int] = {}
        for item in items:
            rank = _rank(item)
            ranks[item.path] = min(rank, ranks.get(item.path, rank))
        items.sort(key=lambda item: ranks[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    if why := needs.lacking(_needs(item)):
        _cannot(item, why)
    with _told(item):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    with _told(item):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        # Asked for here only: it takes a second, and most runs fail nowhere.
        from tests.kit import machine

        report.sections.append(("BIRDs here", machine.text()))
    return report


def _is_worker(config: pytest.Config) -> bool:
    """Whether pytest-xdist has started this process."""
    return hasattr(config, "workerinput")


def _rank(item: pytest.Item) -> int:
    """The place in LONGEST of the first marker that the item has; behind it where it has none."""
    held = (at for at, name in enumerate(LONGEST) if item.get_closest_marker(name))
    return next(held, len(LONGEST) + (WAITING not in item.path.parents))


def _needs(item: pytest.Item) -> list[str]:
    return needs.said([mark.name for mark in item.iter_markers()])


@contextmanager
def _told(item: pytest.Item) -> Iterator[None]:
    """What the test needs is known meanwhile; what turns out to be missing skips it as well."""
    try:
        with needs.stated(_needs(item)):
            yield
    except needs.Absent as absent:
        _cannot(item, str(absent))


def _cannot(item: pytest.Item, why: str) -> None:
    if item.config.getoption("--whole"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)
