"""A list is asked for once by all who want it at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mesh.infra.providers.vultr.v2 import ApiError
from mesh.infra.providers.vultr.v2.listing import Listing
from mesh.spec import Problem
from tests.kit.wait import PATIENCE


class Source:
    """Something that is asked; each answer is another one."""

    def __init__(self, error: bool = False) -> None:
        self.asked = 0
        self.free = threading.Event()
        self.error = error

    def __call__(self) -> tuple[int, ...]:
        self.asked += 1
        self.free.wait(PATIENCE)
        if self.error:
            raise ApiError("unclear", Problem("GET /x", "HTTP 500", "away", "try again"))
        return (self.asked,)


def test_threads_share_one_answer() -> None:
    source = Source()
    listing = Listing(source)
    with ThreadPoolExecutor(8) as threads:
        wanted = [threads.submit(listing) for _ in range(8)]
        source.free.set()
        assert {each.result() for each in wanted} == {(1,)}


def test_and_one_error() -> None:
    """Or a refresh of a hundred nodes would wait a hundred times for an API that is away."""
    source = Source(error=True)
    listing = Listing(source)
    with ThreadPoolExecutor(8) as threads:
        wanted = [threads.submit(listing) for _ in range(8)]
        source.free.set()
        assert {type(each.exception()) for each in wanted} == {ApiError}
    assert source.asked == 1


def test_what_was_written_is_in_the_next_one() -> None:
    source = Source()
    source.free.set()
    listing = Listing(source)
    assert (listing(), listing()) == ((1,), (1,))
    listing.forget()
    assert (listing(), listing(fresh=True)) == ((2,), (3,))


def test_an_answer_that_a_write_has_overtaken_is_not_kept() -> None:
    source = Source()
    listing = Listing(source)
    with ThreadPoolExecutor(1) as threads:
        early = threads.submit(listing)
        while not source.asked:
            pass
        listing.forget()
        source.free.set()
        assert early.result() == (1,)
    assert listing() == (2,)


def test_an_old_one_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.infra.providers.vultr.v2.listing.FRESH", 0.0)
    source = Source()
    source.free.set()
    listing = Listing(source)
    assert (listing(), listing()) == ((1,), (2,))
