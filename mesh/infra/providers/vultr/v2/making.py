"""Makes an object exactly once, also where an answer is lost or a run is killed.

A POST whose answer is lost may have been done; and a run that was killed after it has left an
object that is in no state. So every creation begins with a search for an object with its mark, and
a POST is repeated only after another search has found none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from mesh.infra.providers.vultr.v2 import waiting
from mesh.infra.providers.vultr.v2.errors import ApiError
from mesh.infra.providers.vultr.v2.waiting import Progress

T = TypeVar("T")

REPOST_SECONDS = 120.0
"""Seconds from the first POST within which another one may begin."""
PAUSES = (2.0, 4.0, 8.0)
"""Seconds before the search that follows a POST of unknown result; one more POST at most for each.
Where Vultr asks to wait longer (429), that is used instead."""


@dataclass(frozen=True, slots=True)
class Created(Generic[T]):
    """An object of the account; ``found`` is whether it existed already."""

    object: T
    found: bool


def made(
    find: Callable[[], T | None],
    post: Callable[[], T],
    what: str,
    progress: Progress,
    *,
    look_first: bool = True,
) -> Created[T]:
    """The object that ``find`` finds in the account by its mark, or else the one that ``post``
    makes. ``find`` has to ask anew at each call. ``look_first`` is False where the caller has just
    searched."""
    left = find() if look_first else None
    if left is not None:
        progress(f"{what}: an earlier run has left it behind; it is adopted")
        return Created(left, found=True)
    end, pauses, unclear = time.monotonic() + REPOST_SECONDS, iter(PAUSES), False
    while True:
        try:
            return Created(post(), found=False)
        except ApiError as error:
            refused = error
        pause = _pause(refused, pauses, end - time.monotonic())
        if pause is None and not unclear:
            raise refused
        if pause is not None:
            progress(f"{what}: {refused.problem.reason}; looked after in {pause:.0f} s")
        # Without a pause this is the last search: the POST may be refused because the one before
        # was done, and has taken the address.
        waiting.pause(pause or 0.0, what)
        done = find()
        if done is not None:
            progress(f"{what}: it was made all the same")
            return Created(done, found=True)
        if pause is None:
            raise refused
        unclear = True


def _pause(error: ApiError, pauses: Iterator[float], left: float) -> float | None:
    """Seconds until the next search; None where Vultr has refused it, or no pause is left."""
    if error.kind not in ("rate", "unclear", "unreachable"):
        return None
    asked = error.retry_after or 0.0
    own = 0.0 if error.kind == "rate" and asked else next(pauses, None)
    return None if own is None or max(own, asked) > left else max(own, asked)
