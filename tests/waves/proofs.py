"""How a change is proved: rolled out under probes, judged, and taken back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mesh.lab.world import load as load_world
from tests.waves.applied import in_force
from tests.waves.cases import Bad, Good
from tests.waves.network import Change, Network, Rollout
from tests.waves.outcome import Outcome

_NODE = re.compile(r"\b[a-z]{3}-[a-z]+-\d+\b")
Proof = Callable[[Network], Outcome]


def good(case: Good) -> Proof:
    """The change goes out, and no client loses an answer."""

    def prove(network: Network) -> Outcome:
        try:
            if case.first:
                network.at_once(Change(case.first))
            with network.changed(case.change):
                rollout = network.roll(case.change)
                wrong = [*_not_done(network, rollout), *network.problems()]
                wrong += [] if case.dark else lost(rollout)
        finally:
            network.restore()
        return Outcome(case.name, (rollout,), tuple(wrong))

    return prove


def bad(case: Bad) -> Proof:
    """The change stops at its first node, which comes back by itself; `up` names it."""

    def prove(network: Network) -> Outcome:
        try:
            with network.changed(case.change):
                rollout = network.roll(case.change)
                wrong = [*_not_stopped(rollout), *_not_back(network, rollout)]
                wrong += lost(rollout, *_struck(network, rollout))
        finally:
            network.restore()
        return Outcome(case.name, (rollout,), tuple(wrong))

    return prove


def lost(rollout: Rollout, *but: str) -> Iterator[str]:
    """The cities that lost an answer, but for these."""
    for city, count in rollout.lost().items():
        if count and city not in but:
            yield f"{city} lost {count}"


def _not_done(network: Network, rollout: Rollout) -> Iterator[str]:
    if rollout.code:
        yield f"`up` ended with {rollout.code}"
    last = max(rollout.generations, default=0)
    behind = sorted(node for node, number in in_force(network.name).items() if number != last)
    if behind:
        yield f"{', '.join(behind)} not at generation {last}"


def _not_stopped(rollout: Rollout) -> Iterator[str]:
    if not rollout.code:
        yield "`up` did not fail"
        return
    reached = rollout.nodes(rollout.generations[0])
    if len(reached) > 1:
        yield f"it reached {', '.join(reached)}"
    if named(rollout) is None:
        yield "its error names no node"


def _not_back(network: Network, rollout: Rollout) -> Iterator[str]:
    """`mesh status` goes on complaining, as it should: the stack file is not what nodes have."""
    if away := network.out_of_service():
        yield f"{', '.join(away)} stayed out of service"
    bad = rollout.generations[:1]
    if still := sorted(node for node, number in in_force(network.name).items() if number in bad):
        yield f"{', '.join(still)} kept it"


def named(rollout: Rollout) -> str | None:
    """The node that the error of an `up` names first; others may be witnesses. None where it names
    none."""
    errors = (line.partition("error:")[2] for _, line in rollout.said)
    return next((found[0] for error in errors if (found := _NODE.search(error))), None)


def _struck(network: Network, rollout: Rollout) -> set[str]:
    """The city of the node at which a change has stopped."""
    node, world = named(rollout), load_world(network.name)
    return set() if node is None else {world.upstream(world.node(node).upstream).region}
