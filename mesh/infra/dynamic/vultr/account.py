"""The account of a stack's resources: one client and its lists for all of them.

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
from mesh.infra.dynamic.base import Properties, Stub, progress
from mesh.infra.dynamic.vultr import former

if TYPE_CHECKING:
    from mesh.infra.providers.vultr.v2 import Client, answers
    from mesh.infra.providers.vultr.v2.listing import Listing, Listings

A = TypeVar(
    "A",
    bound="answers.Address | answers.Group | answers.Server | answers.SshKey"
    " | answers.StartupScript",
)

KEY, VARIABLE = "vultr:apiKey", "VULTR_API_KEY"

AFTER_ANOTHER_KEY = (
    f"a refresh uses the key of the last update: after `pulumi config set --secret {KEY}` run "
    "`pulumi up` without --refresh, or `pulumi refresh --run-program`"
)
"""What to do where a refresh is refused. The engine configures a refresh by its state, which has
the key, encrypted, as the last update left it."""

_lock = threading.Lock()
_key = ""
_opened: Account | None = None
_taken: set[str] = set()
"""Ids of what this run has made or adopted."""


class VultrProvider(Stub):
    """A kind of object at Vultr. The API key is kept in the process, and in no input or state."""

    def configure(self, req: ConfigureRequest) -> None:
        """Called once for each kind."""
        super().configure(req)
        use(req.config.get(KEY) or os.environ.get(VARIABLE) or "")
        cancellation.attend()

    def check(self, olds: Properties, news: Properties) -> CheckResult:
        """Refuse what the plugin has made."""
        return CheckResult(news, former.failures(olds))


class Account:
    """The client of the account, and its recent lists. ``deleted`` is when this process has deleted
    a server of it last, in monotonic seconds; None for never."""

    def __init__(self, client: Client, listings: Listings) -> None:
        self.client = client
        self.listings = listings
        self.deleted: float | None = None

    def found(
        self, listing: Listing[A], identity: str, path: str, name: str, model: type[A]
    ) -> A | None:
        """The object of this id; None where there is none. What is missing in a list is asked for
        by its id too: a list may be incomplete, and what is gone is made anew."""
        with _by_the_key_of_the_state():
            listed = next((each for each in listing() if each.id == identity), None)
        return listed or self.fetched(f"{path}/{identity}", name, model)

    def fetched(self, path: str, name: str, model: type[A]) -> A | None:
        """The object at this path; None where there is none."""
        from mesh.infra.providers.vultr.v2 import ApiError

        try:
            with _by_the_key_of_the_state():
                return self.client.get(path, name, model)
        except ApiError as error:
            if error.kind == "gone":
                return None
            raise

    def delete(self, path: str) -> bool:
        """Delete an object; False where Vultr has none."""
        from mesh.infra.providers.vultr.v2 import ApiError

        try:
            self.client.send("DELETE", path)
        except ApiError as error:
            if error.kind != "gone":
                raise
            return False
        return True


@contextmanager
def _by_the_key_of_the_state() -> Iterator[None]:
    """Say of a refused key where a refresh has it from."""
    from mesh.infra.providers.vultr.v2 import ApiError

    try:
        yield
    except ApiError as error:
        if error.kind == "key":
            raise ApiError("key", replace(error.problem, cure=AFTER_ANOTHER_KEY)) from None
        raise


def taken(identity: str) -> str:
    """Record an object that this run has made or adopted, so that this run does not delete it.

    In a replacement by `--replace` the engine calls ``create`` first: it finds the old object by
    its mark and adopts it, and the engine then deletes the old resource.
    """
    _taken.add(identity)
    return identity


def is_taken(identity: str, what: str) -> bool:
    """Whether this run has made or adopted an object that it is to delete; if so, that is shown."""
    if identity in _taken:
        progress(f"{what}: it is still the same one (id {identity}), and stays")
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
            client = connect(_key, progress=progress)
            _opened = Account(client, Listings(client))
        return _opened


@contextmanager
def about(key: str, value: str) -> Iterator[None]:
    """Attribute an ApiError within to this key and value of the stack file."""
    from mesh.infra.providers.vultr.v2 import ApiError

    try:
        yield
    except ApiError as error:
        raise error.about(key, value) from None


def delete(path: str, what: str, listing: Listing[Any]) -> None:
    """Delete an object of this list. Where a server that is being deleted still uses it, that is
    repeated until it is free; a 404 counts once the object is not listed either."""
    from mesh.infra.providers.vultr.v2 import ApiError
    from mesh.infra.providers.vultr.v2.server import FREED
    from mesh.infra.providers.vultr.v2.waiting import Observed, until

    vultr, identity = account(), path.rpartition("/")[2]
    if is_taken(identity, what):
        return

    def look() -> Observed[bool]:
        try:
            deleted = vultr.delete(path)
        except ApiError as error:
            if error.kind != "refused":
                raise
            return Observed(f"not deleted ({error.problem.reason})")
        if deleted or identity not in {each.id for each in listing(fresh=True)}:
            return Observed("deleted", True)
        return Observed("not found, and still listed")

    try:
        until(look, what, FREED, progress, at_once=True)
    finally:
        listing.forget()
