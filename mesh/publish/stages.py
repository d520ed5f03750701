"""Brings a plan into force: one generation, or two where the change has two ends."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace

from mesh.plan import Plan
from mesh.plan.transition import expanded, obstacles
from mesh.publish.away import NOBODY, Absence, awaited, away
from mesh.publish.contents import ContentDelivery
from mesh.publish.generation import SignedGeneration, make
from mesh.publish.going_back import GoingBack
from mesh.publish.held import held_generations
from mesh.publish.order import PRESENT, Member, Order, PublishError, SealedBefore
from mesh.publish.order_log import latest
from mesh.publish.outcomes import not_applied
from mesh.publish.preparation import POLL
from mesh.publish.progress import ProgressLines
from mesh.publish.recent import SILENT_SECONDS
from mesh.publish.registry_pool import Deadline, RegistryPool
from mesh.publish.rollout import AFTERMATH, Overtaken, Rollout, RolloutStopped
from mesh.publish.rollout_orders import Rollouts
from mesh.publish.schedule import Schedule, refuse_outages, scheduled
from mesh.publish.uptake import Uptake, Uptakes
from mesh.registry.in_force import most_in_force
from mesh.trust.documents import Report


class Stages:
    """The generations of one publication, for these members. ``floor`` is the number of the last
    one in the state, 0 without any; ``new`` are the members that it has not reached."""

    def __init__(
        self,
        order: Order,
        pool: RegistryPool,
        members: dict[str, Member],
        network: str,
        floor: int,
        new: Collection[str],
        contents: ContentDelivery,
        progress: ProgressLines,
    ) -> None:
        self._order, self._pool, self._network = order, pool, network
        self._members, self._floor, self._new = members, floor, new
        self._contents, self._progress = contents, progress
        self._first = PRESENT
        """The first generation that was signed here."""
        self._identities = {node: member.identity for node, member in members.items()}
        self._rollouts = Rollouts(
            pool, order.operator_key, network, self._identities, None, progress
        )

    def run(self, before: Plan | None) -> SignedGeneration:
        """Returns the generation that is in force at the end. ``before`` is the plan that is in
        force now, None if it is not known. Raises :class:`PublishError`."""
        self._wait_for_late_reports()
        both = self._with_both_ends(before)
        if both is not None:
            # An outage is refused before anything of the change goes out.
            self._signed(self._order)
            self._progress("the change has two ends: what works with both goes out first")
            self._bring_into_force(replace(self._order, plan=both))
        return self._bring_into_force(self._order)

    def _wait_for_late_reports(self) -> None:
        """Waits for nodes that no registry has heard of in the last seconds, and may hear of yet:
        who is silent when the waves begin is in none of them."""
        if not self._in_waves(self._reports()):
            return
        known = self._members.keys() - set(self._new) - self._order.unheard
        deadline = Deadline(SILENT_SECONDS)
        while (nodes := awaited(self._order.plan, self._reports(), known)) and not deadline.over:
            self._progress.waiting(f"waiting for a report of {', '.join(sorted(nodes))}")
            time.sleep(POLL)

    def _with_both_ends(self, before: Plan | None) -> Plan | None:
        if before is None or not self._in_waves(self._reports()):
            return None
        for obstacle in obstacles(before, self._order.plan):
            self._progress(
                f"warning: {obstacle}; if the update stops for that, mesh rollout --now takes it "
                f"to all nodes at once"
            )
        return expanded(before, self._order.plan)

    def _bring_into_force(self, order: Order) -> SignedGeneration:
        """Signs a generation and waits until all nodes have applied it."""
        while True:
            made, schedule = self._signed(order)
            self._put(made)
            self._floor = made.manifest.generation
            while (left := self._take_over(order, made, schedule)) is not None:
                if schedule is None:
                    return made
                gone = away(order.plan, self._reports(), self._members)
                back = sorted(left.nodes.keys() - gone.keys())
                if not back:
                    _refuse_absence(left)
                    return made
                self._progress(f"{', '.join(back)}: reports again, and follows now")
                schedule = self._schedule(order, made)
                still = {node: why for node, why in left.nodes.items() if node in gone}
                schedule = replace(schedule, away=replace(schedule.away, nodes=still))
            # The registries hold a higher generation of this operator that the state does not
            # know: they had lost it, or those that have it did not answer before.

    # --- signing -----------------------------------------------------------------------------

    def _signed(self, order: Order) -> tuple[SignedGeneration, Schedule | None]:
        """The next generation, and its schedule if it goes out in waves."""
        waves = self._in_waves(self._reports())
        # Above every network's generations: registries and nodes require higher numbers.
        highest = self._pool.highest()
        top = max(self._floor, 0 if highest is None else highest[1].generation)
        made = make(order, self._members, top + 1, self._network, waves=waves)
        return made, self._schedule(order, made) if waves else None

    def _schedule(self, order: Order, made: SignedGeneration) -> Schedule:
        """How a generation goes out to the nodes that do not have it yet."""
        reports = self._reports()
        held = held_generations(self._pool, reports.values())
        facts = {node: member.facts for node, member in self._members.items()}
        known = self._knowing(order)
        schedule = scheduled(known, made, facts, reports, held, self._new)
        refuse_outages(order.plan, schedule, order.choices)
        return schedule

    def _knowing(self, order: Order) -> Order:
        """The same, with what was sealed here: all that this publication has signed before has the
        present secrets."""
        known = order.sealed_before or SealedBefore(0)
        since = min(PRESENT if known.since is None else known.since, self._first)
        return replace(order, sealed_before=replace(known, since=since))

    def _in_waves(self, reports: Mapping[str, Report]) -> bool:
        """Whether nodes wait for their wave. In a network's first generation none has anything in
        force."""
        wanted = self._order.plan.waves and not self._order.choices.now
        return wanted and (self._floor > 0 or most_in_force(reports.values()) > 0)

    def _reports(self) -> dict[str, Report]:
        return latest(self._pool.reports(self._identities))

    def _put(self, made: SignedGeneration) -> None:
        for failure in self._pool.put_generation(made.generation):
            self._progress(f"not stored at {failure}")
        manifest = made.manifest
        self._first = min(self._first, manifest.generation)
        self._progress(f"generation {manifest.generation} signed for {len(manifest.nodes)} nodes")
        self._compare_certificates(made)

    def _compare_certificates(self, made: SignedGeneration) -> None:
        """Reports registries whose certificate is not the one that their node reported."""
        shown = self._pool.certificates()
        for entry in made.manifest.registries:
            seen = shown.get(entry.url)
            if entry.tls_sha256 is not None and seen not in (None, entry.tls_sha256):
                self._progress(f"{entry.url}: presents another certificate than its node reported")

    # --- the way to the nodes ----------------------------------------------------------------

    def _take_over(
        self, order: Order, made: SignedGeneration, schedule: Schedule | None
    ) -> Absence | None:
        """Who is away, once all others have a generation in force; None where the registries hold
        another one of this operator that is not below it."""
        left = NOBODY if schedule is None else self._roll_out(order, made, schedule)
        if left is None or not self._wait_for_reports(order, made, left.nodes):
            return None
        return left

    def _roll_out(self, order: Order, made: SignedGeneration, schedule: Schedule) -> Absence | None:
        """Releases the generation wave by wave. Returns who is away; None where the registries hold
        another generation of this operator that is not below it."""

        def rollout(generation: SignedGeneration) -> Rollout:
            return Rollout(
                order,
                self._pool,
                self._rollouts,
                generation,
                self._identities,
                self._progress,
                self._contents.deliver,
            )

        for node, why in sorted(schedule.away.nodes.items()):
            self._progress(f"{node}: {why}, and it goes on waiting")
        try:
            return rollout(made).run(schedule.waves, schedule.touches, schedule.away)
        except Overtaken:
            return None
        except RolloutStopped as stopped:
            back = GoingBack(order, self._pool, made, schedule, rollout, self._progress)
            raise PublishError(f"{stopped}; {back.run(stopped)}") from None

    def _wait_for_reports(
        self, order: Order, made: SignedGeneration, gone: Collection[str]
    ) -> bool:
        """True once all but the nodes of ``gone`` have applied it; False where the registries hold
        another generation of this operator that is not below it."""
        present = [
            node.id
            for node in order.plan.nodes
            if node.id in self._members and node.id not in {*order.unheard, *gone}
        ]
        uptakes, deadline = Uptakes(order, made, self._progress), Deadline(order.deadline)
        aftermath: Deadline | None = None
        while True:
            self._contents.deliver()
            now = uptakes.of(self._pool.reports(self._identities), present)
            self._show_uptake(made, now, len(present))
            uptakes.show(now)
            if not now.waiting and not now.failed and (now.applied or not now.held):
                return True
            if now.unconfirmed:
                # The operator gets the time to log in, whatever else has timed out.
                aftermath = None
                time.sleep(POLL)
                continue
            if (now.failed or now.refused) and aftermath is None:
                aftermath = Deadline(AFTERMATH)
            over = aftermath is not None and aftermath.over
            if (not now.waiting and (now.failed or now.held)) or over or deadline.over:
                missing = [] if over else list(now.waiting)
                raise PublishError(
                    not_applied(made.manifest, now.failed, now.held, missing, now.refused)
                )
            if self._pool.holds_another(made.manifest, made.digest):
                return False
            time.sleep(POLL)

    def _show_uptake(self, made: SignedGeneration, now: Uptake, awaited: int) -> None:
        progress = (
            f"{len(now.applied)} of {awaited} applied generation {made.manifest.generation}"
            + (f", waiting for {', '.join(now.waiting)}" if now.waiting else "")
        )
        (self._progress if now.unconfirmed else self._progress.waiting)(progress)


def _refuse_absence(left: Absence) -> None:
    """Raises PublishError for nodes that are away. More of them than a wave has are not released
    before they are back: they would be a wave that nobody watches."""
    lines = []
    for why in sorted(set(left.nodes.values())):
        nodes = {node for node in left.nodes if left.nodes[node] == why}
        follow = nodes.intersection(left.returning.nodes)
        keep = nodes - follow
        if follow:
            names = ", ".join(sorted(follow))
            lines.append(f"{names}: {why}, and takes it over when it is back")
        if keep:
            lines.append(f"{', '.join(sorted(keep))}: {why}, and keeps what it has in force")
    if lines:
        raise PublishError(
            f"{'; '.join(lines)}; run `pulumi up` again once it reports (mesh status), or continue "
            f"without it (mesh:without)"
        )
