"""Publishing: bundle, joins, generation, and the nodes' reports that it is in force."""

from __future__ import annotations

import time
from collections.abc import Mapping

from mesh.netns import NamespaceError, inside
from mesh.plan import Plan
from mesh.publish import contents
from mesh.publish.blackhole import Blackholes
from mesh.publish.contents import ContentDelivery
from mesh.publish.drain import DRAIN_SECONDS, Drains
from mesh.publish.generation import SignedGeneration, make_retired, placements
from mesh.publish.mesh_health import health
from mesh.publish.order import Fleet, Member, Order, PublishError
from mesh.publish.outcomes import latest_on, outcomes
from mesh.publish.preparation import POLL, Preparation
from mesh.publish.progress import Progress, ProgressLines
from mesh.publish.refused import refusal_text, refusing
from mesh.publish.registry_pool import Deadline, RegistryPool
from mesh.publish.rendered import digests
from mesh.publish.stages import Stages
from mesh.registry.client import Unreachable
from mesh.render import load_templates
from mesh.trust.documents import BlackholeOrder, Manifest, Refusal

AFTERMATH = 5.0
"""Seconds that the other nodes get to report after one has failed."""


def publish(
    order: Order, fleet: Fleet | None, progress: Progress, before: Plan | None = None
) -> tuple[Fleet, dict[str, str]]:
    """Brings the plan into force on all nodes; returns what the stack's state keeps: the fleet, and
    digests of what its members got (:func:`mesh.publish.rendered.digests`).

    ``fleet`` is the one in the state, and ``before`` the plan there, None where there is none that
    can be read. Raises :class:`PublishError` with nodes and reasons; what was in force before is
    then in force again, or the message names the nodes where it is not.
    """

    def run() -> tuple[Fleet, dict[str, str]]:
        return _publication(order, progress).publish(fleet, before)

    try:
        return inside(order.namespace, run)
    except NamespaceError as error:
        raise PublishError(f"{error}; its lab is not up") from None


def retire(order: Order, fleet: Fleet, progress: Progress) -> None:
    """Orders all nodes to withdraw for good, without a floor, and waits for their reports.

    Nodes that do not report are a warning only.
    """
    try:
        inside(order.namespace, lambda: _publication(order, progress).retire(fleet))
    except (PublishError, NamespaceError) as error:
        progress(f"warning: {error}")


def published(order: Order, fleet: Fleet, progress: Progress = lambda _: None) -> bool:
    """Whether at least one registry answers, every one that does holds this generation complete,
    and none holds a higher one."""

    def ask() -> bool:
        pool = RegistryPool(order.operator_key, order.registries)
        try:
            answered, held = pool.holders(fleet.manifest_sha256)
            highest = pool.highest(fleet.network)
        finally:
            pool.close()
        if highest is not None and highest[1].generation > fleet.generation:
            progress(
                f"the registries hold generation {highest[1].generation}, and this state knows "
                f"{fleet.generation}: the next update publishes above both"
            )
            return False
        return answered == held > 0

    try:
        return inside(order.namespace, ask)
    except NamespaceError:
        return False


def _publication(order: Order, progress: Progress) -> _Publication:
    return _Publication(order, RegistryPool(order.operator_key, order.registries), progress)


class _Publication:
    """One run of a publication."""

    def __init__(self, order: Order, pool: RegistryPool, progress: Progress) -> None:
        self._order, self._pool = order, pool
        self._progress = ProgressLines(progress)
        self._deadline = Deadline(order.deadline)
        self._awaited = [n.id for n in order.plan.nodes if n.id not in order.unheard]
        self._drains: Drains
        self._contents: ContentDelivery
        self._new: frozenset[str] = frozenset()
        """Nodes that are new, or another instance than before."""
        self._returning: frozenset[str] = frozenset()
        """Those of them that no generation names. An update that did not finish may have published
        one that does: who drained them afterwards meant it."""

    def publish(
        self, fleet: Fleet | None, plan_before: Plan | None
    ) -> tuple[Fleet, dict[str, str]]:
        known = None if fleet is None else fleet.network
        before = Preparation(
            self._order, self._pool, self._awaited, known, self._progress, self._deadline
        )
        try:
            # While the nodes boot: once they have joined, they wait for what is rendered.
            load_templates(self._order.plan)
            packed = contents.packed(self._order.plan, self._order.contents)
            self._contents = ContentDelivery(
                packed, self._pool.clients, self._progress, lambda: self._deadline.over
            )
            before.prepare()
            members = before.wait_for_joins(fleet)
            network = before.identify(members)
            self._deliver_contents()
            self._drains = self._drain_orders(members, fleet, network)
            if fleet is not None:
                self._new = frozenset(_new_instances(fleet, members))
                self._returning = self._new & self._strangers(members, network)
                self._bring_back()
                self._drain_leaving(fleet)
            floor = 0 if fleet is None else fleet.generation
            stages = Stages(
                self._order,
                self._pool,
                members,
                network,
                floor,
                self._strangers(members, network) if fleet is None else self._new,
                self._contents,
                self._progress,
            )
            made = stages.run(plan_before)
            # What the rollout has taken does not count for what follows.
            self._deadline = Deadline(self._order.deadline)
            self._wait_for_contents(made, members)
            self._wait_for_health(made, members)
            published = Fleet(
                made.manifest.generation,
                made.digest,
                members,
                self._drains.order(),
                self._blackholed(members, fleet, network),
                network,
            )
            return published, self._rendered(made, members)
        except Unreachable as error:
            raise PublishError(f"no registry takes the generation: {error}") from None
        finally:
            self._pool.close()

    def retire(self, fleet: Fleet) -> None:
        try:
            highest = self._pool.highest(fleet.network)
            if highest is None:
                raise PublishError(
                    "retire: no registry holds a generation; no node was ordered to withdraw"
                )
            last = highest[1]
            number = max(last.generation, fleet.generation) + 1
            envelope, manifest = make_retired(self._order, last, number)
            if not self._pool.put_manifest(envelope):
                raise PublishError("retire: no registry takes the order to withdraw")
            self._progress(f"generation {number}: the network is taken down")
            self._wait_for_withdrawals(manifest, envelope.digest, fleet.members)
        finally:
            self._pool.close()

    def _strangers(self, members: Mapping[str, Member], network: str) -> frozenset[str]:
        """The members that no generation of the registries names: without a state, the others may
        have one in force."""
        highest = self._pool.highest(network)
        named = {} if highest is None else highest[1].nodes
        return frozenset(
            node
            for node, member in members.items()
            if node not in named or named[node].identity != member.identity
        )

    # --- nodes that are added and removed ----------------------------------------------------

    def _drain_orders(
        self, members: Mapping[str, Member], fleet: Fleet | None, network: str
    ) -> Drains:
        """The drain orders, with the reports of members and of leaving nodes."""
        known = ({} if fleet is None else fleet.members) | dict(members)
        return Drains(
            self._pool,
            self._order.operator_key,
            network,
            {node: member.identity for node, member in known.items()},
            None if fleet is None else fleet.drain,
            self._progress,
        )

    def _blackholed(
        self, members: Mapping[str, Member], fleet: Fleet | None, network: str
    ) -> BlackholeOrder | None:
        """The blackhole order in force, for the state."""
        return Blackholes(
            self._pool,
            self._order.operator_key,
            network,
            {node: member.identity for node, member in members.items()},
            None if fleet is None else fleet.blackhole,
        ).order()

    def _bring_back(self) -> None:
        """Undrains nodes that were drained for a new server and have it. Repeated while we wait: a
        registry may get back an order that it had lost."""
        drained = self._drains.drained() & self._returning
        if not drained:
            return
        names = ", ".join(sorted(drained))
        try:
            self._drains.change(undrain=drained)
        except Unreachable as error:
            self._progress(
                f"warning: {names}: has a new server and is still drained (mesh undrain): {error}"
            )
            return
        self._progress(f"{names}: has a new server, no longer drained")

    def _drain_leaving(self, fleet: Fleet) -> None:
        """Nodes that are no longer planned withdraw before the others remove them."""
        leaving = sorted(set(fleet.members) - set(self._order.instances))
        if not leaving:
            return
        names = ", ".join(leaving)
        self._progress(f"{names}: leaving, drained first")
        refused: dict[str, Refusal] = {}
        seconds = DRAIN_SECONDS + self._order.plan.linger
        try:
            missing = self._drains.wait(leaving, seconds, on_refused=refused.__setitem__)
        except Unreachable as error:
            self._progress(f"warning: {names}: not drained: {error}")
            return
        for node in (node for node in missing if node in refused):
            self._progress(f"warning: {refusal_text(node, refused[node])}")
        silent = [node for node in missing if node not in refused]
        if silent:
            self._progress(
                f"warning: {', '.join(silent)}: no report within {seconds:g} s that it has "
                f"withdrawn; continuing without it"
            )
        elif not missing:
            self._progress(f"{names}: withdrawn")

    # --- the generation ----------------------------------------------------------------------

    def _deliver_contents(self) -> None:
        """Before the generation. Registries of an earlier version, of which there may be no other,
        get the contents once they run from the new bundle."""
        self._contents.deliver()
        for node, why in self._contents.reasons.items():
            self._progress(f"{node}: does not have all contents yet: {why}")
        if self._contents.refused:
            raise PublishError(f"no registry takes the contents: {self._lacking()}")

    def _lacking(self) -> str:
        return "; ".join(f"{node}: {why}" for node, why in self._contents.reasons.items())

    def _wait_for_contents(self, made: SignedGeneration, members: Mapping[str, Member]) -> None:
        """Waits until the nodes serve what the generation names. One that does not goes on with
        what it has, so after a while it is a warning only."""
        identities = {node: member.identity for node, member in members.items()}
        # Nodes try again after half a minute at the latest.
        settled = Deadline(3 * self._order.settle)
        while True:
            self._contents.deliver()
            last = latest_on(self._pool.reports(identities), made.manifest, made.digest)
            behind = contents.lagging(self._order.plan, last) if self._contents.held else {}
            if self._contents.held and not behind:
                break
            self._progress.waiting(
                f"waiting for the contents at {', '.join(sorted(behind)) or 'the registries'}"
            )
            if self._deadline.over or (self._contents.held and settled.over):
                break
            time.sleep(POLL)
        if not self._contents.held:
            raise PublishError(f"no registry takes the contents: {self._lacking()}")
        for node, why in sorted((behind | self._contents.reasons).items()):
            self._progress(f"warning: {node}: {why}")

    def _rendered(self, made: SignedGeneration, members: Mapping[str, Member]) -> dict[str, str]:
        order, facts = self._order, {node: member.facts for node, member in members.items()}
        return digests(order.plan, facts, placements(order), order.registries, made.files)

    def _wait_for_health(self, made: SignedGeneration, members: Mapping[str, Member]) -> None:
        """Waits for sessions and announcements, which come up after the configuration."""
        identities = {node: member.identity for node, member in members.items()}
        settled = Deadline(self._order.settle)
        while True:
            self._bring_back()
            last = latest_on(self._pool.reports(identities), made.manifest, made.digest)
            mesh = health(self._order.plan, last, self._drains.drained())
            self._progress.waiting(
                f"{mesh.up} of {mesh.sessions} sessions up, "
                f"{mesh.announcing} of {mesh.edges} edges announce"
            )
            if not mesh.down:
                return
            if settled.over or self._deadline.over:
                self._progress(f"warning: not up yet: {'; '.join(mesh.down)}")
                return
            time.sleep(POLL)

    def _wait_for_withdrawals(
        self, manifest: Manifest, digest: str, members: Mapping[str, Member]
    ) -> None:
        awaited = [node for node in self._awaited if node in members and node in manifest.nodes]
        identities = {node: manifest.nodes[node].identity for node in awaited}
        while True:
            reports = self._pool.reports(identities)
            outcome = outcomes(reports, manifest, digest)
            missing = [n for n in awaited if outcome.get(n, ("", ""))[0] != "withdrawn"]
            refused = {n: r for n, r in refusing(reports, digest).items() if n in missing}
            self._progress.waiting(
                f"{len(awaited) - len(missing)} of {len(awaited)} withdrawn"
                + (f", waiting for {', '.join(missing)}" if missing else "")
            )
            if not missing:
                return
            if len(refused) == len(missing):
                raise PublishError("; ".join(refusal_text(n, one) for n, one in refused.items()))
            if self._deadline.over:
                raise PublishError(
                    f"retire: no report from {', '.join(missing)} within {self._order.deadline:g} s"
                )
            time.sleep(POLL)


def _new_instances(fleet: Fleet, members: Mapping[str, Member]) -> list[str]:
    before = {node: member.instance_id for node, member in fleet.members.items()}
    return [node for node, one in members.items() if before.get(node) != one.instance_id]
