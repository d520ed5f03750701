"""Before a generation: registries are ready, planned nodes have joined, the network has a name."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from mesh.publish.identity import adopted, new_network
from mesh.publish.joins import admit, elsewhere
from mesh.publish.order import Fleet, Member, Order, PublishError
from mesh.publish.progress import ProgressLines
from mesh.publish.registry_pool import Deadline, RegistryPool
from mesh.publish.systems import outdated, unfit
from mesh.publish.uplinks import narrow_uplinks
from mesh.trust import joining
from mesh.trust.documents import Planned, PlannedNode

POLL = 0.2
"""Seconds between requests to the registries."""


class Preparation:
    """Registries and members of one publication. ``awaited`` are the nodes that have to join;
    ``network`` is the network's name, None until it is known."""

    def __init__(
        self,
        order: Order,
        pool: RegistryPool,
        awaited: Sequence[str],
        network: str | None,
        progress: ProgressLines,
        deadline: Deadline,
    ) -> None:
        self._order, self._pool = order, pool
        self._progress, self._deadline = progress, deadline
        self._awaited = awaited
        self._network = network

    def prepare(self) -> None:
        """Waits until one registry is ready. The others are prepared while we wait for joins, since
        their own nodes cannot join before."""
        while not self._try_prepare():
            if len(self._pool.refusing) == len(self._pool):
                raise PublishError(
                    f"every registry serves another network than this stack's, {self._network}: "
                    f"{self._reasons()}; publish with the stack of that network, or replace the "
                    f"registries' servers (mesh replace <node>)"
                )
            self._progress.waiting(f"waiting for a registry: {self._reasons()}")
            if self._deadline.over:
                raise PublishError(
                    f"no registry came up within {self._order.deadline:g} s: {self._reasons()}"
                )
            time.sleep(POLL)

    def _try_prepare(self) -> bool:
        if len(self._pool.ready) < len(self._pool):
            before = len(self._pool.ready)
            self._pool.prepare(self._order.bundle, planned(self._order, self._network))
            if len(self._pool.ready) > before:
                self._progress(f"{len(self._pool.ready)} of {len(self._pool)} registries ready")
        return bool(self._pool.ready)

    def _reasons(self) -> str:
        return "; ".join(f"{node}: {why}" for node, why in sorted(self._pool.reasons.items()))

    def wait_for_joins(self, fleet: Fleet | None) -> dict[str, Member]:
        """Waits until all awaited nodes have joined, and returns the members."""
        known = {} if fleet is None else fleet.members
        while True:
            self._try_prepare()
            now = datetime.now(UTC)
            found = admit(self._order.instances, fleet, self._pool.joins(), now)
            systems = (self._order.plan, found.members, known, now.date())
            # Waiting longer changes no server's system.
            if wrong := [*unfit(*systems)]:
                raise PublishError("; ".join(wrong))
            missing = [node for node in self._awaited if node not in found.members]
            problems = found.problems | self._from_elsewhere(missing)
            for problem in problems.values():
                self._progress(problem)
            doubted = [node for node in self._awaited if node in problems]
            self._progress.waiting(
                f"{len(self._awaited) - len(missing)} of {len(self._awaited)} joined"
                + (f", waiting for {', '.join(missing)}" if missing else "")
            )
            if not missing and not doubted:
                for remark in (
                    *narrow_uplinks(self._order.plan, found.members, known),
                    *outdated(*systems),
                ):
                    self._progress(remark)
                return found.members
            if self._deadline.over:
                raise PublishError(self._why_not_joined(missing, doubted, problems))
            time.sleep(POLL)

    def _from_elsewhere(self, missing: Collection[str]) -> dict[str, str]:
        if not missing:
            return {}
        found = elsewhere(self._order.instances, self._pool.refused_joins())
        return {node: problem for node, problem in found.items() if node in missing}

    def _why_not_joined(
        self, missing: list[str], doubted: list[str], problems: Mapping[str, str]
    ) -> str:
        lines = [problems[node] for node in doubted]
        silent = [node for node in missing if node not in problems]
        if silent:
            lines.append(
                f"{', '.join(silent)}: did not join within {self._order.deadline:g} s; look at "
                f"its console (journalctl -u anycast-mesh-bootstrap -u anycast-mesh-agent), or "
                f"continue without it (mesh:without)"
            )
        return "; ".join(lines)

    def identify(self, members: Mapping[str, Member]) -> str:
        """The name of the network. A state without one is new or lost: nodes that already belong to
        a network have returned its manifest to the registries before they join, and keep it."""
        if self._network is None:
            held = [manifest for _, manifest in self._pool.manifests().values()]
            identities = {member.identity for member in members.values()}
            self._network = adopted(held, identities) or new_network(self._order.plan)
            # The registries get the name as well.
            self._pool.ready.clear()
            self.prepare()
        return self._network


def planned(order: Order, network: str | None) -> Planned:
    """The nodes of a publication as the registries admit them."""
    regions = {node.id: node.region for node in order.plan.nodes}
    return Planned(
        {
            node: PlannedNode(
                regions[node], instance.placement.both(), joining.proof_public(instance.token)
            )
            for node, instance in sorted(order.instances.items())
            if node in regions
        },
        network,
    )
