"""A witness: examines other nodes during a rollout, and says what works at them.

The rollout order names for each node some that examine it, from before the change until its end
(:mod:`mesh.agent.witness.examination` says what). What they see goes into their reports, where the
operator compares it with what they saw before. It may stop a wave, and withdraws nothing.

Without such an order nothing is sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from mesh.agent.config import Config
from mesh.agent.host import Host
from mesh.agent.witness.asking import LOOKBACK, Asking, Key
from mesh.agent.witness.examination import Question, questions
from mesh.agent.witness.surroundings import surroundings
from mesh.trust.documents import MAX_SEEN, MAX_WITNESSED, RolloutOrder, Witnessed

ROUND = 0.3
"""Seconds that a round takes at most, and from the begin of one to the next."""
REPORTS = 200
"""Reports of all witnesses that a registry gets in a second: where there are many, each makes fewer
rounds."""
OLD, SLOW = 900.0, 5.0
"""Seconds after which an order is old, since the operator may have gone away, and from one round to
the next then."""
REFRESH = 3.0
"""Seconds for which what is known of the surroundings is kept."""
STOPS_WITHIN = 0.5


@dataclass(slots=True)
class _Record:
    """Of one node: its rounds since the agent started, those since it is examined this time, and
    what is seen at it."""

    rounds: int = 0
    lately: int = 0
    seen: tuple[str, ...] = ()


class Witness:
    """Examines other nodes, for one node. ``registries`` returns the URLs of all registries;
    ``changed`` is called after each round."""

    def __init__(
        self, host: Host, registries: Callable[[], Iterable[str]], changed: Callable[[], None]
    ) -> None:
        self._host, self._registries, self._changed = host, registries, changed
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._config: Config | None = None
        self._order: RolloutOrder | None = None
        self._ordered = 0.0
        self._records: dict[str, _Record] = {}

    def watch(self, config: Config) -> None:
        """Uses this configuration from now on."""
        with self._lock:
            self._config = config
        self._news.set()

    def obey(self, order: RolloutOrder | None) -> None:
        """Follows this order from now on."""
        with self._lock:
            if order == self._order:
                return
            self._order, self._ordered = order, time.monotonic()
        self._news.set()

    def seen(self) -> dict[str, Witnessed]:
        """What works at the nodes that are examined now. One of fewer rounds than it takes to judge
        is left out."""
        examined = self._examined()
        with self._lock:
            found = {node: self._records.get(node, _Record()) for node in examined}
            return {
                node: Witnessed(one.rounds, one.seen)
                for node, one in found.items()
                if one.lately >= LOOKBACK
            }

    def run(self, stop: threading.Event) -> None:
        """Runs until ``stop`` is set."""
        while not stop.is_set():
            self._news.clear()
            if self._examined():
                self._examine(stop)
            self._news.wait(STOPS_WITHIN)

    def _examine(self, stop: threading.Event) -> None:
        """Makes rounds while there is something to examine."""
        asking, known = Asking(), -REFRESH
        try:
            while not stop.is_set() and (examined := self._examined()):
                began = time.monotonic()
                if self._news.is_set() or began - known >= REFRESH:
                    self._news.clear()
                    asked, known = self._questions(examined), began
                self._record(examined, asking.round(asked, began + ROUND))
                self._changed()
                self._rest(began, stop)
        finally:
            asking.close()
            self._record((), ())

    def _examined(self) -> tuple[str, ...]:
        """The nodes that this one examines now."""
        with self._lock:
            config, order = self._config, self._order
        if config is None or order is None or order.everyone:
            return ()
        named = (node for node, some in order.witnesses.items() if config.node in some)
        return tuple(sorted(named)[:MAX_WITNESSED])

    def _questions(self, examined: Collection[str]) -> list[Question]:
        with self._lock:
            config = self._config
        if config is None:
            return []
        around = surroundings(self._host, config, self._registries(), config.node in examined)
        return [one for node in examined for one in questions(config, around, node)]

    def _record(self, examined: Collection[str], answered: Collection[Key]) -> None:
        """Records a round."""
        names: dict[str, list[str]] = {}
        for node, name in sorted(answered):
            names.setdefault(node, []).append(name)
        with self._lock:
            for node, one in self._records.items():
                if node not in examined:
                    one.lately = 0
            for node in examined:
                one = self._records.setdefault(node, _Record())
                one.rounds, one.lately = one.rounds + 1, one.lately + 1
                one.seen = tuple(names.get(node, ())[:MAX_SEEN])

    def _rest(self, began: float, stop: threading.Event) -> None:
        """Returns when the next round begins."""
        with self._lock:
            order, age = self._order, began - self._ordered
        end = began + (ROUND if order is None else pace(order, age))
        while (left := end - time.monotonic()) > 0 and not (stop.is_set() or self._news.is_set()):
            self._news.wait(min(left, STOPS_WITHIN))


def pace(order: RolloutOrder, age: float) -> float:
    """Seconds from the begin of one round to the next, by an order of that age."""
    witnesses = {who for some in order.witnesses.values() for who in some}
    return SLOW if age >= OLD else max(ROUND, len(witnesses) / REPORTS)
