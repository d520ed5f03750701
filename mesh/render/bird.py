"""Features that a network uses and that a version of BIRD lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mesh.bird.features import FEATURES, capabilities
from mesh.plan import Imports, Plan


def _announces(plan: Plan) -> bool:
    return any(node.upstreams for node in plan.nodes)


def _imports(plan: Plan) -> Iterator[Imports]:
    """The import settings of upstream sessions that import anything."""
    imports = (session.imports for node in plan.nodes for session in node.upstreams)
    return (each for each in imports if each.take != "none")


ASKED: Mapping[str, Callable[[Plan], bool]] = {
    "send_hold_time": _announces,
    "log_udp": lambda plan: any(_imports(plan)),
    "export_block": _announces,
    "restart_at_limit": lambda plan: any(each.action == "restart" for each in _imports(plan)),
    "room_again": lambda plan: any(each.action == "block" for each in _imports(plan)),
    "restricted_socket": lambda plan: plan.glass is not None,
    "aspa": lambda plan: bool(plan.rpki),
    "aspa_at_once": lambda plan: bool(plan.rpki),
}
"""Whether a network uses a feature that a version may lack, by the feature's name."""


def lacks(plan: Plan, version: str) -> tuple[str, ...]:
    """What is missing on nodes with that BIRD, of the features that the network uses."""
    able = capabilities(version)
    return tuple(
        each.lack
        for each in FEATURES
        if each.lack and not able.can(each.name) and ASKED[each.name](plan)
    )
