"""Which nodes announce which prefix, and where the replies of the others leave."""

from __future__ import annotations

from mesh.plan.model import Address, Aggregate
from mesh.spec import Spec
from mesh.spec.aggregates import Announced, able, announced, announcers, limited

EXIT = -2
"""Index of the exit's address in the tunnel ranges: the last one but one. Exits of aggregates that
some edges only announce have those before it."""


def aggregates(spec: Spec) -> tuple[Aggregate, ...]:
    """Everything that is announced, with its announcers."""
    of_family = able(spec.nodes, spec.prefixes)
    sets = limited(spec.prefixes, spec.nodes)

    def exit_of(each: Announced, nodes: tuple[str, ...]) -> Address | None:
        if each.is_more_specific or nodes not in sets or nodes == of_family[each.family]:
            return None
        index = EXIT - 1 - sets.index(nodes)
        return (spec.tunnels.ipv4 if each.prefix.version == 4 else spec.tunnels.ipv6)[index]

    return tuple(
        Aggregate(each.prefix, nodes, each.covering, exit_of(each, nodes))
        for each in announced(spec.prefixes)
        for nodes in [announcers(each, of_family)]
    )
