"""The account in which a stack's resources live: one client and its lists for all of them.

The engine runs every provider of this folder in one process, several at a time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pulumi.dynamic import CheckResult, ConfigureRequest

from mesh.infra.dynamic import cancellation
from mesh.infra.dynamic.base import Properties, Stub, say
from mesh.infra.dynamic.vultr import former

if TYPE_CHECKING:
    from mesh.infra.providers.vultr.v2 import Client, answers
    from mesh.infra.providers.vultr.v2.listing import Listing, Listings

A = TypeVar("A", bound="answers.Address | answers.Group | answers.Server | answers.SshKey")

KEY, VARIABLE = "vultr:apiKey", "VULTR_API_KEY"

AFTER_ANOTHER_KEY = (
    f"a refresh asks with the key of the last update: after `pulumi config set --secret {KEY}` run "
    "`pulumi up` without --refresh, or `pulumi refresh --run-program`"
)
"""What to do where a refresh is refused. The engine configures a refresh by its state, which has
the key, encrypted, as the last update left it."""

_lock = threading.Lock()
_key = ""
_opened: Account | None = None
_taken: set[str] = set()
"""Ids of what this run has made, or taken on."""


class VultrProvider(Stub):
    """A kind of object at Vultr. The API key is the process's, and in no input or state."""

    def configure(self, req: ConfigureRequest) -> None:
        """Called once for each kind."""
        super().configure(req)
        use(req.config.get(KEY) or os.environ.get(VARIABLE) or "")
        cancellation.attend()

    def check(self, olds: Properties, news: Properties) -> CheckResult:
        """What the plugin has made is left alone."""
        return CheckResult(news, former.failures(olds))


class Account:
    """What asks, and what it has asked for lately."""

    def __init__(self, client: Client, listings: Listings) -> None:
        self.client = client
        self.listings = listings

    def found(
        self, listing: Listing[A], identity: str, path: str, name: str, model: type[A]
    ) -> A | None:
        """The object of this id; None where there is none. What a list lacks is asked for itself
        before it counts as gone: a list may come short, and what is gone is made anew."""
        from mesh.infra.providers.vultr.v2 import ApiError

        try:
            listed = next((each for each in listing() if each.id == identity), None)
            return listed or self._one(f"{path}/{identity}", name, model)
        except ApiError as error:
            if error.kind == "key":
                raise ApiError("key", replace(error.problem, cure=AFTER_ANOTHER_KEY)) from None
            raise

    def _one(self, path: str, name: str, model: type[A]) -> A | None:
        from mesh.infra.providers.vultr.v2 import ApiError

        try:
            return self.client.get(path, name, model)
        except ApiError as error:
            if error.kind == "gone":
                return None
            raise

    def delete(self, path: str) -> bool:
        """Delete an object; False where Vultr says that there is none."""
        from mesh.infra.providers.vultr.v2 import ApiError

        try:
            self.client.send("DELETE", path)
        except ApiError as error:
            if error.kind != "gone":
                raise
            return False
        return True


def taken(identity: str) -> str:
    """Note an object that this run has made or taken on: it is not deleted by this run.

    In a replacement that was asked for (`--replace`) the engine tells nothing of the old object
    before the new one is made. That is found by its mark, taken on, and then to be deleted.
    """
    _taken.add(identity)
    return identity


def is_taken(identity: str, what: str) -> bool:
    """Whether this run has made or taken on an object that it is to delete; if so, that is told."""
    if identity in _taken:
        say(f"{what}: it is still the same one (id {identity}), and stays")
    return identity in _taken


def use(key: str) -> None:
    """Let this be the account's key in this process."""
    global _key, _opened
    with _lock:
        if key != _key:
            _key, _opened = key, None
            _taken.clear()


def account() -> Account:
    """The account of this process, opened at its first use."""
    from mesh.infra.providers.vultr.v2 import connect, waiting
    from mesh.infra.providers.vultr.v2.listing import Listings

    global _opened
    with _lock:
        if _opened is None:
            waiting.ends_by(cancellation.interrupted)
            client = connect(_key, say=say)
            _opened = Account(client, Listings(client))
        return _opened


@contextmanager
def about(key: str, value: str) -> Iterator[None]:
    """What goes wrong within, said of this key and value of the stack file."""
    from mesh.infra.providers.vultr.v2 import ApiError

    try:
        yield
    except ApiError as error:
        raise error.about(key, value) from None


def delete(path: str, what: str, listing: Listing[Any]) -> None:
    """Delete an object that is in this list. One that a server on its way out still uses is asked
    for again, until it is free; one that is gone is believed to be when it is not listed."""
    from mesh.infra.providers.vultr.v2 import ApiError
    from mesh.infra.providers.vultr.v2.server import FREED
    from mesh.infra.providers.vultr.v2.waiting import Seen, until

    vultr, identity = account(), path.rpartition("/")[2]
    if is_taken(identity, what):
        return

    def look() -> Seen[bool]:
        try:
            deleted = vultr.delete(path)
        except ApiError as error:
            if error.kind != "refused":
                raise
            return Seen(f"not deleted ({error.problem.reason})")
        if deleted or identity not in {each.id for each in listing(fresh=True)}:
            return Seen("deleted", True)
        return Seen("not found, and still listed")

    try:
        until(look, what, FREED, say, at_once=True)
    finally:
        listing.forget()
