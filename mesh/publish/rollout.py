"""A generation that goes out in waves: each is released, waited for, and compared with before."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mesh.plan.waves import Touch, Wave
from mesh.publish.announcers import Announces, announce_states, announcers, updating
from mesh.publish.away import LOST_SECONDS, NOBODY, UNREACHED, Absence, away, unreached
from mesh.publish.effects import Objection
from mesh.publish.generation import SignedGeneration
from mesh.publish.order import Order
from mesh.publish.progress import ProgressLines
from mesh.publish.recent import is_recent
from mesh.publish.refused import refusal_text, refusing
from mesh.publish.registry_pool import Deadline, RegistryPool
from mesh.publish.rollout_orders import Release, Rollouts
from mesh.publish.served import serving
from mesh.publish.uptake import Uptake, Uptakes
from mesh.publish.wave_effects import HOLDS, ROUNDS, WaveEffects, text
from mesh.publish.witnesses import witnesses
from mesh.registry.client import Unreachable
from mesh.trust.documents import Report
from mesh.trust.orders import DRAIN

POLL = 0.1
"""Seconds between two looks at the reports."""
BASELINE = 1.5
"""Seconds that witnesses get to examine a node before it changes."""
WAVE_SECONDS = 90.0
"""Seconds that a wave may take beside its drain: a new bundle, the sessions, and what they bring.
A node that reports that it applies the generation gets longer."""
DRAIN_STARTS = 10.0
"""Seconds from the release until a node has announced graceful shutdown and withdrawn."""
AFTERMATH = 5.0
"""Seconds that the other nodes of a wave get to report after one has failed."""
FOLLOW_SECONDS = 15.0
"""Seconds that nodes get to take over what changes nothing for them."""
RELEASE_SECONDS = 60.0
"""Seconds within which a registry has to take an order: one may start anew with a new bundle, and
one of an earlier version takes no rollout order before."""
OTHERS_EVERY = 1.0
"""Seconds between two looks whether another operator publishes."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a node stops a rollout. ``objections`` is what is worse than before, empty where it has
    not applied the generation."""

    node: str
    why: str
    objections: tuple[Objection, ...] = ()

    @property
    def objectors(self) -> frozenset[str]:
        """The other nodes that object, where nothing else is wrong."""
        who = {one.who for one in self.objections}
        return frozenset() if not who or self.node in who else frozenset(who)


class RolloutStopped(Exception):
    """A wave did not end well; the nodes of later waves do not have the generation."""

    def __init__(self, wave: str, failures: Sequence[Failure]) -> None:
        super().__init__(f"{wave}: {'; '.join(one.why for one in failures)}")
        self.failures = tuple(failures)


class Overtaken(Exception):
    """The registries hold another generation that is not below this one."""


class Rollout:
    """One generation on its way through a network. ``identities`` are those of all members;
    ``meanwhile`` is called at each look."""

    def __init__(
        self,
        order: Order,
        pool: RegistryPool,
        orders: Rollouts,
        made: SignedGeneration,
        identities: Mapping[str, str],
        progress: ProgressLines,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self._order, self._pool, self._orders, self._made = order, pool, orders, made
        self._identities, self._progress, self._meanwhile = identities, progress, meanwhile
        self._uptakes = Uptakes(order, made, progress)
        self._last: dict[str, Report] = {}
        self._release = Release()
        self._absence = NOBODY
        self._next_look = 0.0

    def run(
        self,
        waves: Sequence[Wave],
        touches: Mapping[str, Touch],
        absence: Absence,
    ) -> Absence:
        """Releases wave by wave, and then everyone but the nodes that are away; those that may
        follow by themselves too, unless they are back by then: a wave is watched. Returns the
        nodes that are away, with those that were so when their wave came. Raises
        :class:`RolloutStopped` or :class:`Overtaken`, and
        :class:`mesh.registry.client.Unreachable` where no registry takes an order."""
        self._absence = absence
        self._hear()
        able = {n for n, one in self._last.items() if one.health.update is not None}
        examined = witnesses(self._order.plan, waves, able - self._order.unheard)
        if waves:
            self._begin(waves, examined)
        for place, wave in enumerate(waves):
            name, before = f"wave {place + 1} of {len(waves)}", dict(self._last)
            self._run(name, wave, touches, before, _of(examined, waves[place : place + 2]))
        left = self._absence
        gone = away(self._order.plan, self._last, self._identities)
        later = gone.keys() & set(left.returning.nodes)
        self._release_others(left.nodes.keys() - later, left.returning.drained & later)
        return left

    def go_back(
        self,
        waves: Sequence[Wave],
        touches: Mapping[str, Touch],
        before: Mapping[str, Report],
        first: Collection[str],
        keeping: Collection[str] = (),
    ) -> list[Failure]:
        """The same for what was in force before, as the reports ``before`` have it. Nodes of
        ``first`` are released at once and not waited for, those ``keeping`` what they have not at
        all. One that does not come back stops no other; returns why it has not."""
        self._hear()
        self._release = Release(first)
        failures: list[Failure] = []
        for place, wave in enumerate(waves):
            try:
                self._run(f"back, wave {place + 1} of {len(waves)}", wave, touches, before, {})
            except RolloutStopped as stopped:
                failures += stopped.failures
        self._release_others(keeping)
        return failures + self._unfinished({*keeping, *(one.node for one in failures)})

    def keep_back(self) -> None:
        """Releases no node any more: one that has not applied the generation goes on waiting."""
        self._give(Release())

    def _unfinished(self, known: Collection[str]) -> list[Failure]:
        """The other nodes that have not applied the generation after a while, held ones apart."""
        awaited = sorted(self._identities.keys() - self._order.unheard - set(known))
        clock = Deadline(FOLLOW_SECONDS)
        while True:
            now = self._uptakes.of(self._hear(), awaited)
            if clock.over or not now.waiting:
                return [
                    *self._not_taken(now),
                    *(Failure(node, f"{node} has not reported it yet") for node in now.waiting),
                ]
            time.sleep(POLL)

    def _run(
        self,
        name: str,
        wave: Wave,
        touches: Mapping[str, Touch],
        before: Mapping[str, Report],
        examined: Mapping[str, tuple[str, ...]],
    ) -> None:
        began = time.monotonic()
        wave = self._spared(name, self._present(name, wave))
        if not wave.nodes:
            return
        self._give(
            Release(
                {*self._release.nodes, *wave.nodes},
                {*self._release.drained, *wave.drained},
                examined,
            )
        )
        self._progress(f"{name}: {_names(wave)}: {wave.why}")
        self._wait_for(name, wave, touches, before)
        self._progress(f"{name}: as well as before after {time.monotonic() - began:.1f} s")

    def _present(self, name: str, wave: Wave) -> Wave:
        """The wave without nodes that no other reaches any more: they go on waiting."""
        gone, clock = self._unreached(wave), Deadline(LOST_SECONDS)
        while gone and not clock.over:
            self._progress.waiting(f"{name}: {UNREACHED}: {', '.join(sorted(gone))}")
            time.sleep(POLL)
            self._hear()
            gone = self._unreached(wave)
        for node in sorted(gone):
            self._progress(f"{node}: {UNREACHED}, and it goes on waiting")
        if gone:
            self._absence = self._absence.with_unreached(wave, gone)
        nodes = tuple(node for node in wave.nodes if node not in gone)
        return replace(wave, nodes=nodes, drained=wave.drained - gone)

    def _unreached(self, wave: Wave) -> frozenset[str]:
        return unreached(self._order.plan, self._last, 0.0).intersection(wave.nodes)

    def _spared(self, name: str, wave: Wave) -> Wave:
        """The wave without the drains that nobody needs, or that would leave a prefix or a service
        to nobody by now: the operator may have drained other nodes since, sessions or instances
        that the plan has may be down."""
        for node in sorted(idle := frozenset(filter(self._has_lost_sessions, wave.drained))):
            self._progress(f"{node}: does not drain, since it announces nothing now")
        wave = replace(wave, drained=wave.drained - idle)
        if not wave.drained:
            return wave
        last = self._last_announcers(name, wave)
        for node in sorted(last):
            self._progress(f"{node}: does not drain, since no other node announces its prefixes")
        leaving = self._leaving(wave)
        alone = {node: self._served_alone(node, leaving) for node in sorted(wave.drained - last)}
        for node, names in alone.items():
            if names:
                self._progress(f"{node}: does not drain, since no other node serves {names}")
        return replace(wave, drained=frozenset(node for node, names in alone.items() if not names))

    def _has_lost_sessions(self, node: str) -> bool:
        """Whether a node announces none of its prefixes although it is in service: a drain would
        keep it dark for longer. One that the operator has drained may come back meanwhile."""
        report = self._last.get(node)
        if report is None or not report.health.in_service:
            return False
        states = announce_states(self._order.plan, {node: report}, time.time()).values()
        own = [found[node].announces for found in states if node in found]
        return bool(own) and all(one is Announces.NO for one in own)

    def _last_announcers(self, name: str, wave: Wave) -> frozenset[str]:
        """The drained nodes whose prefixes no other node announces: none once there is another,
        which is waited for unless the operator accepts the outage."""
        clock = Deadline(min(self._order.deadline, WAVE_SECONDS))
        while True:
            leaving = self._leaving(wave)
            found = announcers(self._order.plan, self._last, time.time(), leaving).values()
            last = frozenset(node for each in found if each <= wave.drained for node in each)
            if not last or self._order.choices.accept_outage:
                return last
            names = ", ".join(sorted(last))
            why = f"no other node announces the prefixes of {names} any more"
            if clock.over:
                raise RolloutStopped(name, [Failure(node, why) for node in sorted(last)])
            self._progress.waiting(f"{name}: {why}; waiting for one")
            self._meanwhile()
            time.sleep(POLL)
            self._hear()

    def _leaving(self, wave: Wave) -> frozenset[str]:
        """The other nodes that announce and serve for some seconds only: by a drain order that they
        may not have applied yet, or because they take an update over."""
        order = self._pool.order(DRAIN, self._made.manifest.network)
        ordered = () if order is None else order.nodes
        return updating(self._last).union(ordered) - set(wave.nodes)

    def _served_alone(self, node: str, leaving: Collection[str]) -> str:
        """The services that no other node serves in every family in which this one does."""
        now = time.time()
        found = {n: serving(one.health) for n, one in self._last.items() if is_recent(one, now)}
        own = found.pop(node, set())
        found = {n: served for n, served in found.items() if n not in leaving}
        alone = {name for name, _ in own.difference(*found.values())}
        return ", ".join(one.name for one in self._order.plan.services if one.name in alone)

    def _release_others(self, but: Collection[str], drained: Collection[str] = ()) -> None:
        """Releases the nodes of no wave too, but for these; those of ``drained`` drain first."""
        leaving = {*self._release.drained, *drained}
        if but:
            self._give(Release(self._identities.keys() - set(but), leaving))
        else:
            self._give(Release(self._release.nodes, leaving, everyone=True))

    # --- orders and reports ------------------------------------------------------------------

    def _give(self, release: Release) -> None:
        """Signs the order; tried again while a registry starts anew."""
        clock = Deadline(release_seconds(self._order))
        while True:
            try:
                self._orders.release(self._made, release)
            except Unreachable as error:
                if clock.over:
                    raise
                self._progress.waiting(f"waiting for a registry that takes the order: {error}")
                self._meanwhile()
                time.sleep(POLL)
            else:
                self._release = release
                return

    def _hear(self) -> list[Report]:
        """The last report of each node. A registry that does not answer for a moment takes none
        back."""
        for report in self._pool.reports(self._identities):
            held = self._last.get(report.node)
            if held is None or held.sequence < report.sequence:
                self._last[report.node] = report
        return list(self._last.values())

    def _begin(self, waves: Sequence[Wave], examined: Mapping[str, tuple[str, ...]]) -> None:
        """Lets the witnesses of the first wave see how its nodes are before they change."""
        first = _of(examined, waves[:1])
        self._give(Release(witnesses=first))
        clock = Deadline(BASELINE)
        while not clock.over and not self._have_examined(first):
            time.sleep(POLL)
            self._hear()

    def _have_examined(self, examined: Mapping[str, tuple[str, ...]]) -> bool:
        return all(
            node in self._last[who].health.witnessed
            and self._last[who].health.witnessed[node].rounds >= ROUNDS
            for node, by in examined.items()
            for who in by
        )

    # --- one wave ----------------------------------------------------------------------------

    def _wait_for(
        self,
        name: str,
        wave: Wave,
        touches: Mapping[str, Touch],
        before: Mapping[str, Report],
    ) -> None:
        effects = WaveEffects(
            self._order.plan,
            wave.nodes,
            [node for node in wave.nodes if touches[node].restarts_sessions],
            before,
            self._identities.keys() - self._order.unheard - self._absence.nodes.keys(),
            self._made.manifest.bundle,
            [node for node in wave.nodes if touches[node].joins],
        )
        seconds = self._seconds(wave)
        clock, aftermath = Deadline(seconds), None
        longest = Deadline(seconds + self._order.deadline)
        while True:
            self._meanwhile()
            now = self._uptakes.of(self._hear(), wave.nodes)
            self._uptakes.show(now)
            effects.look(self._last, now.applied)
            pending = effects.pending(self._last)
            failures = [*self._not_taken(now), *_worse(effects, self._last)]
            if not failures and not now.waiting and not pending:
                return
            self._show(name, now, pending)
            if now.unconfirmed:
                # The operator gets the time to log in.
                clock, aftermath = Deadline(seconds), None
            elif failures:
                aftermath = aftermath or Deadline(AFTERMATH)
                busy = [node for node in now.waiting if node not in now.refused]
                if aftermath.over or not busy:
                    raise RolloutStopped(name, failures)
            elif now.waiting and (longest.over or (clock.over and not self._is_busy(now.waiting))):
                raise RolloutStopped(name, _late(now, self._made, seconds))
            self._look_for_others()
            time.sleep(POLL)

    def _not_taken(self, now: Uptake) -> list[Failure]:
        """The nodes that have rolled back, and those that refuse the generation: all of them, since
        what one refuses in the first wave, others refuse in the last."""
        number = self._made.manifest.generation
        failed = [
            Failure(node, f"{node} rolled back generation {number}: {why}")
            for node, why in sorted(now.failed.items())
        ]
        refused = refusing(self._last.values(), self._made.digest) if now.refused else {}
        return failed + [Failure(node, refusal_text(node, one)) for node, one in refused.items()]

    def _seconds(self, wave: Wave) -> float:
        drain = DRAIN_STARTS + self._order.plan.linger if wave.drained else 0.0
        return min(self._order.deadline, WAVE_SECONDS) + drain

    def _look_for_others(self) -> None:
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + OTHERS_EVERY
            if self._pool.holds_another(self._made.manifest, self._made.digest):
                raise Overtaken

    def _show(self, name: str, now: Uptake, pending: Mapping[str, str]) -> None:
        """What the wave waits for."""
        waiting = [
            f"{node} ({stage})" if (stage := self._stage(node)) else node for node in now.waiting
        ]
        waiting += [f"{node} ({what})" for node, what in pending.items()]
        if waiting:
            self._progress.waiting(f"{name}: waiting for {', '.join(waiting)}")

    def _is_busy(self, nodes: Iterable[str]) -> bool:
        return any(self._stage(node) for node in nodes)

    def _stage(self, node: str) -> str:
        """What a node is doing of the update by a recent report; empty if nothing. One that
        installs packages takes its time."""
        report = self._last.get(node)
        if report is None or not is_recent(report, time.time()):
            return ""
        update = report.health.update or ""
        return update if update in ("draining", "applying") else ""


def release_seconds(order: Order) -> float:
    """Seconds within which a registry has to take what is signed."""
    return min(order.deadline, RELEASE_SECONDS)


def _of(
    examined: Mapping[str, tuple[str, ...]], waves: Iterable[Wave]
) -> dict[str, tuple[str, ...]]:
    return {node: examined[node] for wave in waves for node in wave.nodes if node in examined}


def _names(wave: Wave) -> str:
    return ", ".join(
        f"{node} (drains first)" if node in wave.drained else node for node in wave.nodes
    )


def _worse(effects: WaveEffects, reports: Mapping[str, Report]) -> list[Failure]:
    worse = effects.worse()
    found = [
        Failure(
            node, f"{node} is not as well as before: {'; '.join(map(text, objected))}", objected
        )
        for node, objected in worse.items()
    ]
    return found + [
        Failure(node, f"{node} is not as well as before for {HOLDS:g} s on end")
        for node in effects.unsteady(reports)
        if node not in worse
    ]


def _late(now: Uptake, made: SignedGeneration, seconds: float) -> list[Failure]:
    number = made.manifest.generation
    return [
        Failure(
            node,
            f"{node}: no report on generation {number} within {seconds:g} s; see journalctl -u "
            f"anycast-mesh-agent there",
        )
        for node in now.waiting
    ]
