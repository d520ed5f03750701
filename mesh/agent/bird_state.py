"""The announce state of this node's BIRD: written to its file, configured, and queried."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

from mesh.agent import log
from mesh.agent.announce_state import (
    AnnounceState,
    Network,
    running_state,
    write_state,
    written_state,
)
from mesh.agent.host import Host
from mesh.bird.client import Bird, BirdError, NotRunning
from mesh.bird.protocols import IBGP, sessions

RECONCILE = 2.0
"""Seconds between two queries of the state that BIRD runs with, and until a failed configuration is
tried again."""
ANSWER = 2.0
"""Timeout of the query, in seconds."""


class BirdState:
    """Brings announce states into force in BIRD. ``changed`` is called when the state that BIRD
    runs with, or why it refuses one, has changed."""

    def __init__(self, host: Host, bird: Bird, changed: Callable[[], None]) -> None:
        self._host, self._bird, self._changed = host, bird, changed
        self._prefixes: tuple[Network, ...] = ()
        self.wanted = written_state(host)
        """The state configured last."""
        self.running = self.wanted
        """The state that BIRD runs with, by its last answer."""
        self._bird_is: Literal["here", "silent", "away"] = "silent"
        self._asked = self._tried = -math.inf
        self._refusal = ""

    def watch(self, prefixes: tuple[Network, ...]) -> None:
        """Asks for the states of these prefixes from now on."""
        if prefixes != self._prefixes:
            self._prefixes = prefixes
            self.wanted = written_state(self._host, prefixes)

    @property
    def fault(self) -> str:
        """Why BIRD does not run with the wanted state; empty if it does."""
        return "" if self.is_in_force(self.wanted) else self._refusal

    @property
    def is_shown(self) -> bool:
        """Whether BIRD has answered that it runs with the state in its file."""
        written = self.written()
        return written == self.wanted == self.running and self._bird_is == "here"

    @property
    def is_away(self) -> bool:
        """Whether BIRD does not run, by the last look."""
        return self._bird_is == "away"

    def written(self) -> AnnounceState:
        """The state in BIRD's file."""
        return written_state(self._host, self._prefixes)

    def ask(self, now: float) -> None:
        """Asks BIRD which state it runs with."""
        before = self.running
        try:
            with self._bird.asking(ANSWER) as ask:
                self.running = running_state(ask, self._prefixes)
            self._bird_is = "here"
        except NotRunning:
            self.running, self._bird_is = _nothing(self._prefixes), "away"
        except BirdError:
            self._bird_is = "silent"
        self._asked = now
        if self.running != before:
            self._changed()

    def hears_others(self) -> bool:
        """Whether an iBGP session is Established, over which routes of services come; also while
        BIRD does not answer, since nothing is known then."""
        try:
            with self._bird.asking(ANSWER) as ask:
                found = sessions(ask("show protocols"))
        except BirdError:
            return True
        return any(
            one.state == "Established" for name, one in found.items() if name.startswith(IBGP)
        )

    def is_in_force(self, state: AnnounceState) -> bool:
        """Whether BIRD runs with this state, by its last answer. A BIRD that does not run announces
        nothing."""
        if self._bird_is == "away":
            return not state.in_service
        return self._bird_is == "here" and self.running == state

    def set(self, state: AnnounceState, written: AnnounceState, now: float) -> None:
        """Configures BIRD with a state unless it runs with it and its file has it."""
        if not (state == self.wanted == written and self._is_known(state, now)):
            self._configure(state, written, now)

    def _is_known(self, state: AnnounceState, now: float) -> bool:
        """Whether BIRD runs with this state. BIRD is queried every RECONCILE: it may have undone a
        configuration, or refused one of an earlier agent. It is queried at once while it does not
        run with the state: a reconfiguration that BIRD has queued takes force later."""
        if now - self._asked >= RECONCILE or not self.is_in_force(state):
            self.ask(now)
        return self.is_in_force(state)

    def _configure(self, state: AnnounceState, written: AnnounceState, now: float) -> None:
        """Writes the state, reconfigures BIRD, and queries the result. If BIRD does not run with
        the state, or is being reconfigured elsewhere, later rounds try again."""
        retried = now - self._tried < RECONCILE or self._bird.on_trial
        if state == self.wanted == written and retried:
            return
        if not self._bird.changing.acquire(blocking=False):
            return
        refusal = ""
        try:
            write_state(self._host, state)
            self.wanted, self._tried = state, now
            self._bird.configure()
        except NotRunning:
            pass  # It reads the file when it starts.
        except BirdError as error:
            refusal = str(error)
        finally:
            self._bird.changing.release()
        self.ask(time.monotonic())
        self._log(state, refusal)

    def _log(self, state: AnnounceState, refusal: str) -> None:
        """Logs, and reports, whether BIRD runs with a state."""
        values: dict[str, object] = {"in_service": state.in_service, "draining": state.draining}
        if state.prefixes:
            values["prefixes"] = ", ".join(sorted(map(str, state.serving))) or "none"
        if self.is_in_force(state):
            refusal = ""
            log.info("announce", **values)
        elif self._bird_is == "here":
            refusal = refusal or "bird: has read it, and runs with another state"
        if refusal and refusal != self._refusal:
            log.warning("announce", **values, reason=refusal)
        if refusal != self._refusal:
            self._refusal = refusal
            self._changed()


def _nothing(prefixes: tuple[Network, ...]) -> AnnounceState:
    return AnnounceState(prefixes=tuple((prefix, False) for prefix in prefixes))
