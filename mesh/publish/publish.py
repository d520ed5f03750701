"""Publishing: bundle, joins, generation, and the nodes' reports that it is in force."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mesh.netns import NamespaceError, inside
from mesh.plan import Plan
from mesh.publish.announcers import Announces, announce_state, missing, prefixes
from mesh.publish.blackhole import Blackholes
from mesh.publish.drain import DRAIN_SECONDS, Drains
from mesh.publish.expected import MISSING, UP, expected
from mesh.publish.generation import SignedGeneration, make, make_retired, placements
from mesh.publish.hold import held_until
from mesh.publish.identity import adopted, new_network
from mesh.publish.joins import admit, elsewhere
from mesh.publish.order import Fleet, Member, Order, PublishError
from mesh.publish.order_log import latest
from mesh.publish.recent import is_recent, reported_at
from mesh.publish.refused import refusal_text, refusing
from mesh.publish.registry_pool import Deadline, RegistryPool
from mesh.publish.rendered import digests
from mesh.publish.unconfirmed import AwaitedLogin, AwaitedLogins
from mesh.publish.uplinks import narrow_uplinks
from mesh.registry.client import Unreachable
from mesh.trust import joining
from mesh.trust.documents import (
    BlackholeOrder,
    Manifest,
    Planned,
    PlannedNode,
    Refusal,
    Report,
)

Progress = Callable[[str], None]

POLL = 0.2
"""Seconds between requests to the registries."""
AFTERMATH = 5.0
"""Seconds that the other nodes get to report after one has failed."""
REPEAT = 10.0
"""Seconds after which the line of a wait is repeated."""


def publish(order: Order, fleet: Fleet | None, progress: Progress) -> tuple[Fleet, dict[str, str]]:
    """Brings the plan into force on all nodes; returns what the stack's state keeps: the fleet, and
    digests of what its members got (:func:`mesh.publish.rendered.digests`).

    ``fleet`` is the one in the state. Raises :class:`PublishError` with nodes and reasons; the
    network then keeps the generation that it has.
    """
    try:
        return inside(order.namespace, lambda: _publication(order, progress).publish(fleet))
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
        self._progress = _Progress(progress)
        self._clock = Deadline(order.deadline)
        self._network: str | None = None
        """The network's name; None until it is known."""
        self._awaited = [n.id for n in order.plan.nodes if n.id not in order.plan.without]
        self._drains: Drains
        self._new: frozenset[str] = frozenset()
        """Nodes that are new, or another instance than before."""

    def publish(self, fleet: Fleet | None) -> tuple[Fleet, dict[str, str]]:
        self._network = None if fleet is None else fleet.network
        try:
            self._prepare()
            members = self._wait_for_joins(fleet)
            network = self._identify(members)
            self._drains = self._drain_orders(members, fleet, network)
            if fleet is not None:
                self._new = frozenset(_new_instances(fleet, members))
                self._bring_back()
                self._drain_leaving(fleet)
            floor = 0 if fleet is None else fleet.generation
            while True:
                made = self._put(members, floor, network)
                self._compare_certificates(made)
                if self._wait_for_reports(made, members):
                    self._wait_for_health(made, members)
                    break
                # The registries hold a higher generation of this operator that the state does not
                # know: they had lost it, or those that have it did not answer before.
                floor = made.manifest.generation
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

    # --- before ------------------------------------------------------------------------------

    def _prepare(self) -> None:
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
            if self._clock.over:
                raise PublishError(
                    f"no registry came up within {self._order.deadline:g} s: {self._reasons()}"
                )
            time.sleep(POLL)

    def _try_prepare(self) -> bool:
        if len(self._pool.ready) < len(self._pool):
            before = len(self._pool.ready)
            self._pool.prepare(self._order.bundle, _planned(self._order, self._network))
            if len(self._pool.ready) > before:
                self._progress(f"{len(self._pool.ready)} of {len(self._pool)} registries ready")
        return bool(self._pool.ready)

    def _reasons(self) -> str:
        return "; ".join(f"{node}: {why}" for node, why in sorted(self._pool.reasons.items()))

    def _wait_for_joins(self, fleet: Fleet | None) -> dict[str, Member]:
        known = {} if fleet is None else fleet.members
        while True:
            self._try_prepare()
            found = admit(self._order.instances, fleet, self._pool.joins(), datetime.now(UTC))
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
                for remark in narrow_uplinks(self._order.plan, found.members, known):
                    self._progress(remark)
                return found.members
            if self._clock.over:
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

    def _identify(self, members: Mapping[str, Member]) -> str:
        """The name of the network. A state without one is new or lost: nodes that already belong to
        a network have returned its manifest to the registries before they join, and keep it."""
        if self._network is None:
            held = [manifest for _, manifest in self._pool.manifests().values()]
            identities = {member.identity for member in members.values()}
            self._network = adopted(held, identities) or new_network(self._order.plan)
            # The registries get the name as well.
            self._pool.ready.clear()
            self._prepare()
        return self._network

    # --- nodes that are added and removed
    # -------------------------------------------------------------

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
        drained = self._drains.drained() & self._new
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
        try:
            missing = self._drains.wait(leaving, DRAIN_SECONDS, on_refused=refused.__setitem__)
        except Unreachable as error:
            self._progress(f"warning: {names}: not drained: {error}")
            return
        for node in (node for node in missing if node in refused):
            self._progress(f"warning: {refusal_text(node, refused[node])}")
        silent = [node for node in missing if node not in refused]
        if silent:
            self._progress(
                f"warning: {', '.join(silent)}: no report within {DRAIN_SECONDS:g} s that it has "
                f"withdrawn; continuing without it"
            )
        elif not missing:
            self._progress(f"{names}: withdrawn")

    # --- the generation ----------------------------------------------------------------------

    def _put(self, members: dict[str, Member], floor: int, network: str) -> SignedGeneration:
        # Above every network's generations: registries and nodes require higher numbers.
        highest = self._pool.highest()
        top = max(floor, 0 if highest is None else highest[1].generation)
        made = make(self._order, members, top + 1, network)
        for failure in self._pool.put_generation(made.generation):
            self._progress(f"not stored at {failure}")
        self._progress(f"generation {top + 1} signed for {len(members)} nodes")
        return made

    def _rendered(self, made: SignedGeneration, members: Mapping[str, Member]) -> dict[str, str]:
        order, facts = self._order, {node: member.facts for node, member in members.items()}
        return digests(order.plan, facts, placements(order), order.registries, made.files)

    def _compare_certificates(self, made: SignedGeneration) -> None:
        """Reports registries whose certificate is not the one that their node reported."""
        shown = self._pool.certificates()
        for entry in made.manifest.registries:
            seen = shown.get(entry.url)
            if entry.tls_sha256 is not None and seen not in (None, entry.tls_sha256):
                self._progress(f"{entry.url}: presents another certificate than its node reported")

    def _wait_for_reports(self, made: SignedGeneration, members: Mapping[str, Member]) -> bool:
        """True once all have applied it; False where the registries hold another generation of this
        operator that is not below it."""
        identities = {node: member.identity for node, member in members.items()}
        awaited = [node for node in self._awaited if node in members]
        aftermath: Deadline | None = None
        waits = AwaitedLogins(made.manifest.generation)
        while True:
            reports = self._pool.reports(identities)
            outcome = _outcomes(reports, made.manifest, made.digest)
            applied = [node for node in awaited if outcome.get(node, ("", ""))[0] == "applied"]
            failed = {n: outcome[n][1] for n in awaited if outcome.get(n, ("", ""))[0] == "failed"}
            missing = [node for node in awaited if node not in applied and node not in failed]
            unconfirmed = waits.of(reports, missing)
            held = self._held(reports, set(missing) - {one.node for one in unconfirmed})
            waiting = [node for node in missing if node not in held]
            progress = (
                f"{len(applied)} of {len(awaited)} applied generation {made.manifest.generation}"
                + (f", waiting for {', '.join(waiting)}" if waiting else "")
            )
            (self._progress if unconfirmed else self._progress.waiting)(progress)
            for node, until in held.items():
                self._progress(
                    f"{node}: is held until {until}, and applies generation "
                    f"{made.manifest.generation} then (mesh unhold {node})"
                )
            if not waiting and not failed and (applied or not held):
                return True
            refused = {n: r for n, r in refusing(reports, made.digest).items() if n in missing}
            for node, refusal in refused.items():
                self._progress(refusal_text(node, refusal))
            if unconfirmed:
                # The operator gets the time to log in, whatever else has timed out.
                self._ask_for_logins(unconfirmed)
                aftermath = None
                time.sleep(POLL)
                continue
            if (failed or refused) and aftermath is None:
                aftermath = Deadline(AFTERMATH)
            over = aftermath is not None and aftermath.over
            if (not waiting and (failed or held)) or over:
                raise PublishError(_not_applied(made.manifest, failed, held, [], refused))
            if self._clock.over:
                raise PublishError(_not_applied(made.manifest, failed, held, waiting, refused))
            if self._pool.holds_another(made.manifest, made.digest):
                return False
            time.sleep(POLL)

    def _ask_for_logins(self, waiting: Sequence[AwaitedLogin]) -> None:
        """Shows how to confirm a change, and the time left."""
        for one in waiting:
            instance = self._order.instances.get(one.node)
            self._progress(one.text)
            self._progress(f"  {one.command(None if instance is None else instance.placement)}")
        least = max(0.0, min(one.left for one in waiting))
        nodes = ", ".join(one.node for one in waiting)
        self._progress.counting(f"waiting for a log-in to {nodes}", f"{least:.0f} s left")

    def _held(self, reports: Iterable[Report], missing: Collection[str]) -> dict[str, str]:
        """The nodes that report that they are held, and until when. They are not waited for, since
        they apply the generation when the hold ends."""
        now = time.time()
        return {
            node: until
            for node, report in sorted(latest(reports).items())
            if node in missing and is_recent(report, now) and (until := held_until(report, now))
        }

    def _wait_for_health(self, made: SignedGeneration, members: Mapping[str, Member]) -> None:
        """Waits for sessions and announcements, which come up after the configuration."""
        identities = {node: member.identity for node, member in members.items()}
        settled = Deadline(self._order.settle)
        while True:
            self._bring_back()
            latest = _latest(self._pool.reports(identities), made.manifest, made.digest)
            mesh = health(self._order.plan, latest, self._drains.drained())
            self._progress.waiting(
                f"{mesh.up} of {mesh.sessions} sessions up, "
                f"{mesh.announcing} of {mesh.edges} edges announce"
            )
            if not mesh.down:
                return
            if settled.over or self._clock.over:
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
            outcome = _outcomes(reports, manifest, digest)
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
            if self._clock.over:
                raise PublishError(
                    f"retire: no report from {', '.join(missing)} within {self._order.deadline:g} s"
                )
            time.sleep(POLL)


def _new_instances(fleet: Fleet, members: Mapping[str, Member]) -> list[str]:
    before = {node: member.instance_id for node, member in fleet.members.items()}
    return [node for node, one in members.items() if before.get(node) != one.instance_id]


class _Progress:
    """Shows each line once, and repeats the line of a wait with its time."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._began = progress, time.monotonic()
        self._last = self._began
        self._shown: set[str] = set()

    def __call__(self, line: str) -> None:
        if line not in self._shown:
            self._shown.add(line)
            self._show(line)

    def waiting(self, line: str) -> None:
        """Shows what is waited for; again with the seconds after some time without a line."""
        if line not in self._shown:
            self(line)
        elif time.monotonic() - self._last >= REPEAT:
            self._show(f"{line} ({time.monotonic() - self._began:.0f} s)")

    def counting(self, line: str, left: str) -> None:
        """Shows what is waited for and the time left, from time to time."""
        if line not in self._shown:
            self._shown.add(line)
            self._show(f"{line}: {left}")
        elif time.monotonic() - self._last >= REPEAT:
            self._show(f"{line}: {left}")

    def _show(self, line: str) -> None:
        self._last = time.monotonic()
        self._progress(line)


def _planned(order: Order, network: str | None) -> Planned:
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


@dataclass(frozen=True, slots=True)
class MeshHealth:
    """Sessions and edges of the nodes that are waited for; ``down`` lists what is missing. An edge
    counts as announcing when it announces all prefixes of its upstreams' families."""

    sessions: int
    up: int
    edges: int
    announcing: int
    down: tuple[str, ...]


def health(plan: Plan, reports: Mapping[str, Report], drained: Collection[str] = ()) -> MeshHealth:
    """The mesh by its nodes' last reports. Sessions with nodes of ``mesh:without`` are not expected
    to be up, and drained nodes are not expected to announce."""
    sessions = up = edges = announcing = 0
    down: list[str] = []
    for node in plan.nodes:
        if node.id in plan.without or node.id not in reports:
            continue
        report = reports[node.id]
        own = report.health
        due = expected(plan, node, own, reports.keys())
        states = due.states(own)
        lacks = [
            f"{name} is missing" if s == MISSING else name for name, s in due.down(own).items()
        ]
        sessions += len(due.sessions)
        up += sum(state == UP for state in states.values())
        # Reports on this generation contain its nonce: they are recent, even if the clock is wrong.
        now = reported_at(report)
        found = {each: announce_state(node, each, report, now) for each in prefixes(plan, node)}
        if found and node.id not in drained:
            edges += 1
            announcing += all(one.announces is Announces.YES for one in found.values())
            lacks += [lack] if (lack := missing(found)) else []
        if not states:
            lacks.append("its sessions are unknown")
        if lacks:
            down.append(f"{node.id}: {', '.join(lacks)}")
    return MeshHealth(sessions, up, edges, announcing, tuple(down))


def _outcomes(reports: list[Report], manifest: Manifest, digest: str) -> dict[str, tuple[str, str]]:
    """Each node's outcome and reason for exactly this manifest."""
    latest = _latest(reports, manifest, digest)
    return {node: (report.outcome, report.reason) for node, report in latest.items()}


def _latest(reports: list[Report], manifest: Manifest, digest: str) -> dict[str, Report]:
    """The last report of each node on exactly this manifest: number, hash and nonce are equal."""
    latest: dict[str, Report] = {}
    for report in reports:
        fits = (report.generation, report.manifest_sha256, report.nonce) == (
            manifest.generation,
            digest,
            manifest.nonce,
        )
        held = latest.get(report.node)
        if fits and (held is None or held.sequence < report.sequence):
            latest[report.node] = report
    return latest


def _not_applied(
    manifest: Manifest,
    failed: Mapping[str, str],
    held: Mapping[str, str],
    missing: list[str],
    refused: Mapping[str, Refusal],
) -> str:
    lines = [
        f"{node} rolled back generation {manifest.generation}: {why}"
        for node, why in sorted(failed.items())
    ]
    lines += [
        f"{node} is held until {until}, and does not apply generation {manifest.generation} before"
        for node, until in held.items()
    ]
    lines += [refusal_text(node, refusal) for node, refusal in sorted(refused.items())]
    silent = [node for node in missing if node not in refused]
    if silent:
        lines.append(
            f"{', '.join(silent)}: no report on generation {manifest.generation} in time; see "
            f"journalctl -u anycast-mesh-agent there, or continue without it (mesh:without)"
        )
    return "; ".join(lines)
