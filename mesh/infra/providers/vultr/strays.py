"""The account at Vultr that a stack lives in, as the command line compares it with the state."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

from mesh.infra.providers.accounts import Compared, Document, Missing, StackState, Stray
from mesh.infra.providers.vultr.account import VARIABLE
from mesh.infra.providers.vultr.v2 import ApiError, Client, connect, errors, stated
from mesh.infra.providers.vultr.v2.holdings import Held, Holdings
from mesh.infra.providers.vultr.v2.strays import compared, held_fast, remove
from mesh.spec import SpecError


@contextmanager
def account_of(stack: StackState) -> Iterator[Client]:
    """The account of a stack's API key: of its configuration, or of ``VULTR_API_KEY``. The key
    stays in this process. SpecError for whatever Vultr refuses, and where there is no key."""
    key = stack.setting(errors.KEY) or os.environ.get(VARIABLE)
    if not key:
        raise SpecError([errors.NO_KEY])
    try:
        with connect(key, stack.environment.get("VULTR_API_ENDPOINT")) as client:
            yield client
    except ApiError as error:
        raise SpecError([error.problem]) from None


class VultrStrays:
    """What the account has of a network, and what of it is in no state."""

    provider = "Vultr"
    no_identity = (
        "its state has no identity at Vultr, so that nothing there bears its mark: nothing was "
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
        """The account before the state: what an update makes in between is in the state by then."""
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

    def remove(self, found: Compared, say: Callable[[str], None]) -> Compared:
        """Delete what may go. The state is asked again before each: an update may have taken it
        on."""
        held = {one.id: one for one in self._holdings.all()}
        candidates = [held[one.id] for one in found.candidates]
        self._forget([held[one.id] for one in found.begun])
        removed: list[str] = []
        kept: list[tuple[str, str]] = []
        used = held_fast(candidates, self._holdings)
        with account_of(self._stack) as client:
            for one in candidates:
                reason = self._reason(one, used.get(one.id))
                if reason is None:
                    try:
                        remove(client, one, say)
                    except ApiError as error:
                        reason = str(error.problem)
                if reason is None:
                    removed.append(one.id)
                else:
                    kept.append((one.id, reason))
        return replace(found, removed=tuple(removed), kept=tuple(kept))

    def _reason(self, one: Held, server: str | None) -> str | None:
        """Why an object has to stay; None where it may go."""
        document = self._stack.state()
        if server is not None:
            return f"the server {server}, which stays, holds it; detach it in the console"
        return "an update has taken it on meanwhile" if _is_known(document, one) else None

    def _forget(self, begun: Collection[Held]) -> None:
        """Take out of the state that an update had begun to make these. The engine refuses that
        while an update runs."""
        if not begun:
            return
        marks = {(one.mark.node, one.mark.resource) for one in begun if one.mark is not None}
        document = self._stack.state()
        stated.forget(document, marks)
        self._stack.replace_state(document)


def _is_known(document: Document, one: Held) -> bool:
    """Whether the state has it, or an update is about to."""
    assert one.mark is not None, "only what bears a mark is removed"
    ids = {(known.kind, known.id) for known in stated.known(document)}
    begun = set(stated.begun(document))
    return (one.kind, one.id) in ids or (one.mark.node, one.mark.resource) in begun


def _stray(one: Held) -> Stray:
    mark = one.mark
    node, resource = (None, None) if mark is None else (mark.node, mark.resource)
    return Stray(one.kind, one.id, one.label, one.where, node, resource)
