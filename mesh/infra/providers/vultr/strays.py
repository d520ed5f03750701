"""The account of a stack at Vultr, compared with the state for the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

from mesh.infra.providers.accounts import Compared, Document, Missing, StackState, Stray
from mesh.infra.providers.vultr.account import VARIABLE
from mesh.infra.providers.vultr.v2 import ApiError, Client, connect, errors, stated
from mesh.infra.providers.vultr.v2.holdings import AccountObject, Holdings
from mesh.infra.providers.vultr.v2.strays import compared, in_use, remove
from mesh.spec import SpecError


@contextmanager
def account_of(stack: StackState) -> Iterator[Client]:
    """The account of the API key in the stack's configuration, or in ``VULTR_API_KEY``. The key
    stays in this process. SpecError for errors of Vultr's, and where there is no key."""
    key = stack.setting(errors.KEY) or os.environ.get(VARIABLE)
    if not key:
        raise SpecError([errors.NO_KEY])
    try:
        with connect(key, stack.environment.get("VULTR_API_ENDPOINT")) as client:
            yield client
    except ApiError as error:
        raise SpecError([error.problem]) from None


class VultrStrays:
    """A network's objects in the account, and those of them that are in no state."""

    provider = "Vultr"
    no_identity = (
        "its state has no identity at Vultr, so that nothing there has its mark: nothing was "
        "made by the API yet (what the plugin has made, `mesh adopt` marks)"
    )
    elsewhere = (
        "nothing that the state has is in this account: see whose key vultr:apiKey is before you "
        "refresh; an update after a refresh would make the whole network again"
    )

    def __init__(self, stack: StackState) -> None:
        self._stack = stack
        self._holdings = Holdings()

    def compare(self) -> Compared:
        """Read the account before the state: what an update makes in between is in the state."""
        with account_of(self._stack) as client:
            self._holdings = Holdings.of(client)
        document = self._stack.state()
        identity = stated.identity(document)
        if identity is None:
            return Compared(None)
        known, begun = list(stated.known(document)), set(stated.begun(document))
        found = compared(self._holdings, identity, known, begun)
        return Compared(
            identity=identity,
            strays=tuple(map(_stray, found.strays)),
            begun=tuple(map(_stray, found.begun)),
            missing=tuple(Missing(one.kind, one.id, one.name) for one in found.missing),
            elsewhere=found.elsewhere,
        )

    def remove(self, found: Compared, progress: Callable[[str], None]) -> Compared:
        """Delete what may be deleted. The state is read again before each: an update may have
        adopted it."""
        held = {one.id: one for one in self._holdings.all()}
        candidates = [held[one.id] for one in found.candidates]
        self._forget([held[one.id] for one in found.begun])
        removed: list[str] = []
        kept: list[tuple[str, str]] = []
        used = in_use(candidates, self._holdings)
        with account_of(self._stack) as client:
            for one in candidates:
                reason = self._reason(one, used.get(one.id))
                if reason is None:
                    try:
                        remove(client, one, progress)
                    except ApiError as error:
                        reason = str(error.problem)
                if reason is None:
                    removed.append(one.id)
                else:
                    kept.append((one.id, reason))
        return replace(found, removed=tuple(removed), kept=tuple(kept))

    def _reason(self, one: AccountObject, server: str | None) -> str | None:
        """Why an object has to stay; None where it may be deleted."""
        document = self._stack.state()
        if server is not None:
            return f"the server {server}, which stays, holds it; detach it in the console"
        return "an update has adopted it meanwhile" if _is_known(document, one) else None

    def _forget(self, begun: Collection[AccountObject]) -> None:
        """Remove the unfinished creations of these objects from the state. The engine refuses that
        while an update runs."""
        if not begun:
            return
        marks = {(one.mark.node, one.mark.resource) for one in begun if one.mark is not None}
        document = self._stack.state()
        stated.forget(document, marks)
        self._stack.replace_state(document)


def _is_known(document: Document, one: AccountObject) -> bool:
    """Whether the state has it, or an update is making it."""
    assert one.mark is not None, "only objects with a mark are removed"
    ids = {(known.kind, known.id) for known in stated.known(document)}
    begun = set(stated.begun(document))
    return (one.kind, one.id) in ids or (one.mark.node, one.mark.resource) in begun


def _stray(one: AccountObject) -> Stray:
    mark = one.mark
    node, resource = (None, None) if mark is None else (mark.node, mark.resource)
    return Stray(one.kind, one.id, one.label, one.where, node, resource)
