"""Answers questions about the mesh: this node's own part, and what others say, side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_network
from typing import TypeVar

from mesh.bird.features import FEATURES
from mesh.glass import questions, way
from mesh.glass.answers import Answer, NodeAnswer, Refused, Routes, Served, Way
from mesh.glass.bird import NoAnswer
from mesh.glass.lookup import Lookup
from mesh.glass.network import Network, Node
from mesh.glass.questions import (
    ALL,
    MeshQuestion,
    RefusedQuestion,
    RouteQuestion,
    ServiceQuestion,
    WayQuestion,
)
from mesh.glass.reduced import reduced as for_the_public
from mesh.glass.snapshot import Snapshot
from mesh.glass.snapshots import NoSnapshot, SnapshotFile, doubt
from mesh.glass.spread import Spread
from mesh.trust.encoding import adapter

T = TypeVar("T")
NONE = "no looking glass runs there: ask another node"
"""Why a node without one does not answer."""
_SOCKET = next(each for each in FEATURES if each.name == "restricted_socket")


class Answering:
    """Answers for a network as seen from the node ``here``. ``alone`` asks no other node, and
    ``reduced`` is for the public; both hold for one question."""

    def __init__(
        self,
        network: Network,
        here: Node,
        snapshots: SnapshotFile,
        lookup: Lookup,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._network, self._here = network, here
        self._snapshots, self._lookup, self._clock = snapshots, lookup, clock
        self._spread = Spread(network.port)

    def snapshot(self) -> Snapshot:
        """This node's own snapshot. Raises :class:`NoSnapshot`."""
        return self._snapshots.read()

    def mesh(
        self, question: MeshQuestion, alone: bool = False, reduced: bool = False
    ) -> Answer[Snapshot]:
        """What nodes say of themselves."""

        def own() -> Snapshot:
            snapshot = self._snapshots.read()
            return for_the_public(snapshot) if reduced else snapshot

        found = self._ask(self._nodes(question.node, alone), own, "nodes", Answer[Snapshot])
        return self._answer(question.asked, {k: self._doubted(v) for k, v in found.items()})

    def routes(
        self, question: RouteQuestion, alone: bool = False, reduced: bool = False
    ) -> Answer[Routes]:
        """The routes of nodes to a target."""
        target = f"route?{questions.query({**question.asked, 'node': ALL})}"
        found = self._ask(
            self._nodes(question.node, alone),
            lambda: self._with_blackhole(question, self._lookup.routes(question, reduced)),
            target,
            Answer[Routes],
        )
        return self._answer(question.asked, found)

    def _with_blackhole(self, question: RouteQuestion, found: Routes) -> Routes:
        """The routes, with a note where packets to the address never get as far as a route."""
        try:
            discarded = self._snapshots.read().blackholes
        except NoSnapshot:
            return found
        if all(ip_network(each.address) != question.prefix for each in discarded):
            return found
        note = "it is blackholed: packets to it are discarded here, whatever the routes are"
        return replace(found, notes=(note, *found.notes))

    def refused(self, question: RefusedQuestion, alone: bool = False) -> Answer[Refused]:
        """The refused routes of nodes."""
        target = f"refused?{questions.query({**question.asked, 'node': ALL})}"
        found = self._ask(
            self._nodes(question.node, alone),
            lambda: self._lookup.refused(question),
            target,
            Answer[Refused],
        )
        return self._answer(question.asked, found)

    def served(self, question: ServiceQuestion, alone: bool = False) -> Answer[Served]:
        """Who serves a service, by each node."""
        found = self._ask(
            self._nodes(ALL, alone),
            lambda: self._lookup.served(question.name),
            f"service/{question.name}",
            Answer[Served],
        )
        return self._answer(question.asked, found)

    def way(self, question: WayQuestion) -> Answer[Way]:
        """The way between two nodes, for which the first one is asked."""
        planned = way.planned(self._network, question.start, question.end)
        address = self._network.by_id[question.end].tunnel[0]
        looked_up = self.routes(RouteQuestion(target=address, node=question.start))
        said = looked_up.nodes[question.start]
        in_use, why = None, said.why or "no answer"
        if said.data is not None:
            in_use = way.in_use(self._network, question.start, question.end, said.data)
            why = "" if in_use is not None else "no route of the tunnels leads there"
        answer = NodeAnswer(
            ok=True, took_ms=said.took_ms, data=Way(planned=planned, in_use=in_use, why=why)
        )
        return self._answer(question.asked, {question.start: answer})

    # --- Who is asked -------------------------------------------------------------------------

    def _nodes(self, wanted: str, alone: bool) -> tuple[Node, ...]:
        if alone:
            return (self._here,)
        return self._network.seen if wanted == ALL else (self._network.by_id[wanted],)

    def _answer(self, asked: dict[str, str], nodes: dict[str, NodeAnswer[T]]) -> Answer[T]:
        return Answer(asked=asked, at=self._clock(), nodes=nodes)

    def _ask(
        self,
        nodes: Iterable[Node],
        own: Callable[[], T],
        target: str,
        kind: type[Answer[T]],
    ) -> dict[str, NodeAnswer[T]]:
        """All of them side by side, in the order of the plan."""
        wanted = tuple(nodes)
        others = [node for node in wanted if node.id != self._here.id and node.has_glass]
        found: dict[str, NodeAnswer[T]] = {
            node.id: NodeAnswer(ok=False, why=NONE) for node in wanted if not node.has_glass
        }
        if not others:
            return found | {node.id: self._own(own) for node in wanted if node.has_glass}
        mine: dict[str, NodeAnswer[T]] = {}
        thread = threading.Thread(
            target=lambda: mine.update({self._here.id: self._own(own)}), daemon=True
        )
        if len(others) < len(wanted):
            thread.start()
        found |= self._spread.ask(others, target, kind)
        if len(others) < len(wanted):
            thread.join()
        found |= mine
        return {node.id: found[node.id] for node in wanted}

    def _own(self, ask: Callable[[], T]) -> NodeAnswer[T]:
        begin = time.monotonic()
        try:
            data = ask()
        except NoAnswer as error:
            return NodeAnswer(ok=False, why=self._why(error), took_ms=_since(begin))
        except NoSnapshot as error:
            return NodeAnswer(ok=False, why=str(error), took_ms=_since(begin))
        return NodeAnswer(ok=True, data=data, took_ms=_since(begin))

    def _why(self, error: NoAnswer) -> str:
        """The reason, with BIRD's version where that is too old to be asked."""
        try:
            version = self._snapshots.read().versions.bird
        except NoSnapshot:
            return str(error)
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if len(numbers) == 2 and not _SOCKET.there(numbers):
            first = ".".join(map(str, _SOCKET.since))
            return (
                f"BIRD {version} here has no read-only control socket, which {first} and later have"
            )
        return str(error)

    def _doubted(self, answer: NodeAnswer[Snapshot]) -> NodeAnswer[Snapshot]:
        if answer.data is None:
            return answer
        return replace(answer, why=doubt(answer.data, self._clock()))


def _since(begin: float) -> float:
    return round((time.monotonic() - begin) * 1000, 1)


def fitting(answer: Answer[T], kind: type[Answer[T]], most: int) -> bytes:
    """An answer as JSON with at most so many bytes: of routes as many as fit in."""
    body = adapter(kind).dump_json(answer)
    while len(body) > most:
        nodes = {name: _halved(each) for name, each in answer.nodes.items()}
        if nodes == answer.nodes:
            return body
        answer = replace(answer, nodes=nodes)
        body = adapter(kind).dump_json(answer)
    return body


def _halved(answer: NodeAnswer[T]) -> NodeAnswer[T]:
    data = answer.data
    if not isinstance(data, Routes | Refused) or not data.routes:
        return answer
    kept = data.routes[: len(data.routes) // 2]
    cut = f"cut after {len(kept)} routes: there may be more"
    return replace(answer, truncated=True, data=replace(data, routes=kept, cut=cut))
