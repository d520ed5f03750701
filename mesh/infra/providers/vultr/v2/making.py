"""Making an object once, whatever is lost on the way.

A POST whose answer is lost may have been done; and a run that was killed after it has left an
object that no state knows. So every creation begins with a look for an object with its mark, and a
POST is repeated only after another look has said that nothing came of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from mesh.infra.providers.vultr.v2 import waiting
from mesh.infra.providers.vultr.v2.errors import ApiError
from mesh.infra.providers.vultr.v2.waiting import Say

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds from the first POST within which another one may begin."""
PAUSES = (2.0, 4.0, 8.0)
"""Seconds before the look that follows a POST of unknown outcome; each is one more POST at most.
Where Vultr asks to wait longer (429), that counts, and does not use one up."""


@dataclass(frozen=True, slots=True)
class Made(Generic[T]):
    """An object of the account; ``found`` tells one that was there already from a new one."""

    object: T
    found: bool


def made(
    find: Callable[[], T | None],
    post: Callable[[], T],
    what: str,
    say: Say,
    *,
    look_first: bool = True,
) -> Made[T]:
    """What ``find`` finds in the account, by its mark, or else what ``post`` makes. ``find`` has
    to ask anew at each call. Without ``look_first`` the caller has just looked."""
    left = find() if look_first else None
    if left is not None:
        say(f"{what}: an earlier run has left it behind; it is taken on")
        return Made(left, found=True)
    end, pauses, unclear = time.monotonic() + PATIENCE, iter(PAUSES), False
    while True:
        try:
            return Made(post(), found=False)
        except ApiError as error:
            refused = error
        pause = _pause(refused, pauses, end - time.monotonic())
        if pause is None and not unclear:
            raise refused
        if pause is not None:
            say(f"{what}: {refused.problem.reason}; looked after in {pause:.0f} s")
        # Without a pause this is the last look: it may be refused because the one before was done,
        # and has taken the address.
        waiting.pause(pause or 0.0, what)
        done = find()
        if done is not None:
            say(f"{what}: it was made all the same")
            return Made(done, found=True)
        if pause is None:
            raise refused
        unclear = True


def _pause(error: ApiError, pauses: Iterator[float], left: float) -> float | None:
    """Seconds until the next look; None where Vultr has refused it, or no pause is left."""
    if error.kind not in ("rate", "unclear", "unreachable"):
        return None
    asked = error.retry_after or 0.0
    own = 0.0 if error.kind == "rate" and asked else next(pauses, None)
    return None if own is None or max(own, asked) > left else max(own, asked)
