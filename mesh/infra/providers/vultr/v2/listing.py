"""Lists that the threads of one run share for a few seconds, so that a hundred objects take a few
requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from mesh.infra.providers.vultr.v2.answers import (
    Address,
    BareMetal,
    Group,
    Instance,
    SshKey,
    StartupScript,
)
from mesh.infra.providers.vultr.v2.client import Client
from mesh.infra.providers.vultr.v2.errors import ApiError

T = TypeVar("T")

FRESH = 5.0
"""Seconds for which a list is used again."""


class Listing(Generic[T]):
    """One list of the account. After a change call ``forget``, and the next call asks anew."""

    def __init__(self, ask: Callable[[], tuple[T, ...]]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._held: tuple[T, ...] | ApiError | None = None
        self._asked = 0.0
        self._written = 0

    def __call__(self, *, fresh: bool = False) -> tuple[T, ...]:
        """The list, or the last one where it is recent enough. One thread asks, the others wait for
        its answer, also where that is an error. With ``fresh`` it is asked for after this call
        began."""
        called = time.monotonic()
        with self._lock:
            if self._held is None or self._asked < (called if fresh else called - FRESH):
                self._asked, written = time.monotonic(), self._written
                answer = self._answer()
                # What was written meanwhile may not be in it.
                self._held = answer if written == self._written else None
            else:
                answer = self._held
        if isinstance(answer, ApiError):
            raise answer
        return answer

    def _answer(self) -> tuple[T, ...] | ApiError:
        try:
            return self._ask()
        except ApiError as error:
            return error

    def forget(self) -> None:
        """Drop the list: an object was made, changed or deleted."""
        self._written += 1
        self._held = None


class Listings:
    """The lists that resources are looked up in."""

    def __init__(self, client: Client) -> None:
        self.ssh_keys: Listing[SshKey] = Listing(client.ssh_keys)
        self.startup_scripts: Listing[StartupScript] = Listing(client.startup_scripts)
        self.addresses: Listing[Address] = Listing(client.addresses)
        self.groups: Listing[Group] = Listing(client.groups)
        self.instances: Listing[Instance] = Listing(client.instances)
        self.bare_metals: Listing[BareMetal] = Listing(client.bare_metals)
