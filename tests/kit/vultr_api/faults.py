"""What goes wrong at the API, by request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


class Refused(Exception):
    """The API says no, in its own words."""

    def __init__(self, said: str, status: int = 400) -> None:
        super().__init__(said)
        self.said, self.status = said, status


@dataclass(frozen=True)
class Answer:
    """A response; ``body`` is text, or what JSON is made of."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body as it goes over the wire."""
        if self.body is None:
            return b""
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return text.encode()


When = Literal["instead", "after", "cut", "reset"]


@dataclass
class Fault:
    """What happens to the next ``times`` requests with this method and a path that ``path``
    matches as a whole (a regular expression, below ``/v2``).

    ``instead``: nothing is done, and this is answered. ``after``: it is done, and this is answered
    all the same. ``cut``: it is done, and the connection ends in the middle of the answer.
    ``reset``: it is done, and the connection ends before the answer.
    """

    method: str
    path: str
    answer: Answer = field(default_factory=lambda: Answer(500, {"error": "Server error.",
                                                               "status": 500}))  # fmt: skip
    times: int = 1
    when: When = "instead"

    def meets(self, method: str, path: str) -> bool:
        """Whether this request is one of them."""
        return bool(self.times and self.method == method and re.fullmatch(self.path, path))


def refused(said: str, status: int = 400) -> Answer:
    """The API's own form of an error."""
    return Answer(status, {"error": said, "status": status})


LOCKED = refused("Unable to destroy server: Unable to remove VM: Server is currently locked", 500)
"""To the DELETE of an instance that Vultr has just made or changed
(vultr/ansible-collection-vultr, issue 113)."""
PENDING = refused(
    "Unable to destroy server: This subscription is not currently active, you cannot destroy it.",
    500,
)
"""To the DELETE of one that is not active yet (dstackai/dstack, pull request 2132)."""


def limited(after: float | None = 1) -> Answer:
    """Too many requests; ``after`` are the seconds of Retry-After, None for none."""
    headers = {} if after is None else {"Retry-After": f"{after:g}"}
    return Answer(429, {"error": "Rate limit exceeded", "status": 429}, headers)


def html(status: int = 500) -> Answer:
    """What stands in front of the API, when that does not answer."""
    page = f"<html><head><title>{status}</title></head><body><h1>nginx</h1></body></html>"
    return Answer(status, page, {"Content-Type": "text/html"})
