"""The metrics of a node: what its glass gives Prometheus.

A scrape asks nobody: the agent's snapshot, the plan's file and the glass's own counts are all there
is to it. Without a snapshot, or with an old one, what would come from it is left out: nobody has
seen it lately.

Names and labels are held by rules and dashboards of users (docs/architecture.md). What changes
often and what the world says (states, errors, reasons) is a value or nothing, never a label: with
another label it is another series.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mesh.glass.network import Network
from mesh.glass.prometheus import Metric, Sample, label, lines
from mesh.glass.snapshot import Channel, Session, Snapshot, Tunnel

STALE = 30.0
"""Seconds after which a snapshot says nothing: a node whose agent is away as long withdraws."""
FAMILIES = ("ipv4", "ipv6")
OUTCOMES = ("applied", "failed", "withdrawn", "pending")
UPDATES = ("waiting", "draining", "applying")


@dataclass(frozen=True, slots=True)
class Requests:
    """What the glass of ``node`` has answered since it started: how often by status code, and how
    often somebody from outside the mesh although it is not public."""

    codes: Mapping[int, int] = field(default_factory=dict)
    strangers: int = 0
    node: str = ""


@dataclass(frozen=True, slots=True)
class Scrape:
    """What is known without a snapshot: ``at`` is when the last one was written, 0 without one."""

    node: str
    network: Network
    now: float
    requests: Requests
    at: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A snapshot of now, and by name the family of each session with an upstream: by the plan, so
    that a session has the same one in every state."""

    snapshot: Snapshot
    families: Mapping[str, str]


def exposition(snapshot: Snapshot | None, network: Network, now: float, requests: Requests) -> str:
    """All metrics of this node; ``now`` is the time by its clock."""
    node = requests.node or (snapshot.node if snapshot else "")
    common = label("node", node)
    scrape = Scrape(node, network, now, requests, snapshot.at if snapshot else 0)
    text = [line for metric in OF_NODE for line in lines(metric, scrape, common)]
    if snapshot is not None and abs(now - snapshot.at) <= STALE:
        own = network.by_id.get(node)
        seen = Seen(snapshot, {each.name: each.family for each in own.upstreams} if own else {})
        text += (line for metric in OF_SNAPSHOT for line in lines(metric, seen, common))
    return "".join(text)


# --- Of the plan, and of the glass -----------------------------------------------------------


def _number(value: Callable[[Scrape], float]) -> Callable[[Scrape], Iterable[Sample]]:
    return lambda scrape: [((), value(scrape))]


def _requests(scrape: Scrape) -> Iterator[Sample]:
    return (((str(code),), count) for code, count in sorted(scrape.requests.codes.items()))


def _roles(scrape: Scrape) -> Iterator[Sample]:
    own = scrape.network.by_id.get(scrape.node)
    return (((role,), 1) for role in (own.roles if own else ()))


def _planned_upstreams(scrape: Scrape) -> Iterator[Sample]:
    return _by_family(each.family for node in scrape.network.seen for each in node.upstreams)


def _planned_instances(scrape: Scrape) -> Iterator[Sample]:
    counts = Counter(name for node in scrape.network.seen for name in node.services)
    return (((service.name,), counts[service.name]) for service in scrape.network.services)


def _planned_announcers(scrape: Scrape) -> Iterator[Sample]:
    seen = {node.id for node in scrape.network.seen}
    for each in scrape.network.aggregates:
        yield (str(each.prefix), f"ipv{each.prefix.version}"), len(seen & {*each.nodes})


def _planned_prefixes(scrape: Scrape) -> Iterator[Sample]:
    own = [each.prefix for each in scrape.network.aggregates if scrape.node in each.nodes]
    return _by_family(f"ipv{prefix.version}" for prefix in own)


def _by_family(families: Iterable[str]) -> Iterator[Sample]:
    """How many there are of each family, 0 too."""
    counts = Counter(families)
    return (((family,), counts[family]) for family in FAMILIES)


OF_NODE: tuple[Metric[Scrape], ...] = (
    Metric("mesh_time_seconds", "gauge", (),
           "Time by the node's clock, at the scrape.", _number(lambda it: it.now)),
    Metric("mesh_snapshot_timestamp_seconds", "gauge", (),
           "When the agent wrote the snapshot from which the metrics are, 0 without one.",
           _number(lambda it: it.at)),
    Metric("mesh_role", "gauge", ("role",),
           "1 for each role of the node in the plan.", _roles),
    Metric("mesh_planned_upstream_sessions", "gauge", ("family",),
           "Sessions with upstreams that the plan has, of all nodes that give metrics.",
           _planned_upstreams),
    Metric("mesh_planned_instances", "gauge", ("service",),
           "Nodes that may serve it by the plan, of those that give metrics.", _planned_instances),
    Metric("mesh_planned_announcers", "gauge", ("prefix", "family"),
           "Nodes that announce it by the plan, of those that give metrics.", _planned_announcers),
    Metric("mesh_planned_prefixes", "gauge", ("family",),
           "Prefixes that this node announces by the plan.", _planned_prefixes),
    Metric("mesh_glass_requests_total", "counter", ("code",),
           "Requests that the glass has answered since it started, by status code.", _requests),
    Metric("mesh_glass_strangers_total", "counter", (),
           "Requests from outside the mesh since the glass started, although it is not public.",
           _number(lambda it: it.requests.strangers)),
)  # fmt: skip
"""What comes with each scrape."""


# --- Of the snapshot -------------------------------------------------------------------------


def _value(value: Callable[[Snapshot], float | None]) -> Callable[[Seen], Iterable[Sample]]:
    """One number, where it is known."""

    def samples(seen: Seen) -> Iterator[Sample]:
        if (found := value(seen.snapshot)) is not None:
            yield (), found

    return samples


def _map(values: Callable[[Snapshot], Mapping[str, float]]) -> Callable[[Seen], Iterable[Sample]]:
    """A number for each entry of a map."""
    return lambda seen: (((key,), value) for key, value in values(seen.snapshot).items())


def _session(value: Callable[[Session], float | None]) -> Callable[[Seen], Iterable[Sample]]:
    """A number for each session where it is known."""

    def samples(seen: Seen) -> Iterator[Sample]:
        for each in seen.snapshot.sessions:
            if (found := value(each)) is not None:
                yield (each.name, each.kind, each.peer, seen.families.get(each.name, "")), found

    return samples


def _channels(seen: Seen) -> Iterator[tuple[tuple[str, str, str, str], Channel]]:
    for each in seen.snapshot.sessions:
        for family, channel in each.channels.items():
            yield (each.name, each.kind, each.peer, family), channel


def _routes(seen: Seen) -> Iterator[Sample]:
    for names, channel in _channels(seen):
        yield (*names, "received"), channel.received
        yield (*names, "accepted"), channel.accepted
        yield (*names, "refused"), channel.refused
        yield (*names, "exported"), channel.exported


def _limits(value: Callable[[Channel], float]) -> Callable[[Seen], Iterable[Sample]]:
    """A number for each channel that has a limit."""
    return lambda seen: ((names, value(it)) for names, it in _channels(seen) if it.limit)


def _tunnel(value: Callable[[Tunnel], float]) -> Callable[[Seen], Iterable[Sample]]:
    return lambda seen: (((each.peer,), value(each)) for each in seen.snapshot.tunnels)


def _bytes(seen: Seen) -> Iterator[Sample]:
    for each in seen.snapshot.tunnels:
        yield (each.peer, "received"), each.received
        yield (each.peer, "sent"), each.sent


def _build(seen: Seen) -> Iterator[Sample]:
    versions = seen.snapshot.versions
    yield (versions.bird, versions.bundle, versions.kernel), 1


def _families(seen: Seen) -> Iterator[Sample]:
    for service, families in seen.snapshot.health.families.items():
        for family, serves in families.items():
            yield (service, family), serves


def _warnings(seen: Seen) -> Iterator[Sample]:
    """By service; about another node's instance as well, which is named ``web at ord-vultr-1``."""
    health = seen.snapshot.health
    for name in dict.fromkeys([*health.services, *health.warnings]):
        service, _, peer = name.partition(" at ")
        yield (service, peer), name in health.warnings


def _check_results(seen: Seen) -> Iterator[Sample]:
    for each in seen.snapshot.checks:
        yield (each.service, each.subject, each.family or ""), each.good


def _check_durations(seen: Seen) -> Iterator[Sample]:
    for each in seen.snapshot.checks:
        yield (each.service, each.subject, each.family or ""), each.seconds


def _announcing(seen: Seen) -> Iterator[Sample]:
    for prefix, announced in seen.snapshot.prefixes.items():
        yield (prefix, "ipv6" if ":" in prefix else "ipv4"), announced


def _orders(snapshot: Snapshot) -> Mapping[str, float]:
    health = snapshot.health
    return {
        "blackhole": health.blackhole,
        "drain": health.drain,
        "hold": health.hold,
        "rollout": health.rollout,
    }


def _refused_documents(snapshot: Snapshot) -> Mapping[str, float]:
    counts = Counter(refusal.what for refusal in snapshot.health.refusals)
    return {what: counts[what] for what in ("manifest", "drain", "blackhole", "hold", "rollout")}


def _blackholes(seen: Seen) -> Iterator[Sample]:
    return _by_family(f"ipv{each.address.version}" for each in seen.snapshot.blackholes)


def _outcomes(snapshot: Snapshot) -> Mapping[str, float]:
    return {outcome: outcome == snapshot.generation.outcome for outcome in OUTCOMES}


def _update_states(snapshot: Snapshot) -> Mapping[str, float]:
    update = snapshot.health.update
    return {} if update is None else {state: state == update for state in UPDATES}


def _bird_up(snapshot: Snapshot) -> float | None:
    return None if snapshot.health.bird is None else not snapshot.health.bird


def _stopped(snapshot: Snapshot) -> float | None:
    repairs = snapshot.health.repairs
    return None if repairs is None else sum(each.stopped for each in repairs.objects)


def _faults(snapshot: Snapshot) -> Mapping[str, float]:
    return dict.fromkeys(snapshot.health.faults or {}, 1)


def _alarms(seen: Seen) -> Iterator[Sample]:
    return (((alarm.mate, alarm.kind), 1) for alarm in seen.snapshot.health.alarms)


_OF_A_SESSION = ("session", "kind", "peer", "family")
_OF_A_CHECK = ("service", "check", "family")

OF_SNAPSHOT: tuple[Metric[Seen], ...] = (
    # Daemons
    Metric("mesh_build_info", "gauge", ("bird", "bundle", "kernel"),
           "1; the versions of BIRD and of the kernel, and the SHA-256 of the bundle.", _build),
    Metric("mesh_agent_start_timestamp_seconds", "gauge", (),
           "When the agent started.", _value(lambda it: it.agent_started or None)),
    Metric("mesh_bird_start_timestamp_seconds", "gauge", (),
           "When BIRD started.", _value(lambda it: it.bird_started or None)),
    Metric("mesh_bird_up", "gauge", (),
           "Whether BIRD answers.", _value(_bird_up)),
    Metric("mesh_fault", "gauge", ("fault",),
           "1 for each fault of the node or its agent, as `disk`.", _map(_faults)),
    # BGP and BFD
    Metric("mesh_bgp_session_up", "gauge", _OF_A_SESSION,
           "Whether it is Established. `family` is named for upstreams, whose sessions have one.",
           _session(lambda it: it.up)),
    Metric("mesh_bgp_session_established_timestamp_seconds", "gauge", _OF_A_SESSION,
           "Since when it is Established; no sample while it is not.",
           _session(lambda it: it.since if it.up and it.since else None)),
    Metric("mesh_bfd_session_up", "gauge", _OF_A_SESSION,
           "Whether BFD is up for the session; no sample where BFD has none for it.",
           _session(lambda it: it.bfd)),
    Metric("mesh_bgp_routes", "gauge", (*_OF_A_SESSION, "direction"),
           "Routes: received, of these accepted and refused by the import policy, and exported.",
           _routes),
    Metric("mesh_bgp_receive_limit_routes", "gauge", _OF_A_SESSION,
           "How many routes it may bring.", _limits(lambda it: it.limit)),
    Metric("mesh_bgp_receive_limit_hit", "gauge", _OF_A_SESSION,
           "Whether it has brought as many as it may.", _limits(lambda it: it.at_limit)),
    Metric("mesh_refused_routes_total", "counter", ("reason",),
           "Routes refused by the import policy since the agent started, by reason.",
           _map(lambda it: it.health.refused)),
    Metric("mesh_alarm", "gauge", ("peer", "kind"),
           "1 for each kind of announcement of a peer that violates the plan.", _alarms),
    Metric("mesh_detours", "gauge", (),
           "Ways through other nodes that have been in use for some time.",
           _value(lambda it: len(it.health.ways))),
    # Tunnels
    Metric("mesh_wireguard_handshake_timestamp_seconds", "gauge", ("peer",),
           "The latest handshake, 0 before the first.", _tunnel(lambda it: it.handshake)),
    Metric("mesh_wireguard_bytes_total", "counter", ("peer", "direction"),
           "Bytes received and sent since the interface is there.", _bytes),
    Metric("mesh_tunnel_faults", "gauge", (),
           "Tunnels whose interface is not in order.",
           _value(lambda it: None if it.health.tunnels is None else len(it.health.tunnels))),
    # Services
    Metric("mesh_service_up", "gauge", ("service",),
           "Whether the node serves it; a drained node serves nothing.",
           _map(lambda it: it.health.services)),
    Metric("mesh_service_family_up", "gauge", ("service", "family"),
           "The same by family.", _families),
    Metric("mesh_service_warning", "gauge", ("service", "peer"),
           "Whether there is something to see to although it works, here or at a peer.",
           _warnings),
    Metric("mesh_check_up", "gauge", _OF_A_CHECK,
           "Whether the last answer to a health check was good.", _check_results),
    Metric("mesh_check_duration_seconds", "gauge", _OF_A_CHECK,
           "How long it took.", _check_durations),
    # Announcements and orders
    Metric("mesh_in_service", "gauge", (),
           "Whether the node is in service.", _value(lambda it: it.health.in_service)),
    Metric("mesh_announcing", "gauge", ("prefix", "family"),
           "Whether the node exports it to an upstream, for each prefix that it may announce.",
           _announcing),
    Metric("mesh_withheld_prefixes", "gauge", (),
           "Prefixes for which the node is not in service, where they come and go by themselves.",
           _value(lambda it: len(it.health.withheld))),
    Metric("mesh_drained", "gauge", (),
           "Whether the node has withdrawn by order.", _value(lambda it: it.health.drained)),
    Metric("mesh_held_until_timestamp_seconds", "gauge", (),
           "When its hold ends, 0 where it is not on hold.", _value(lambda it: it.health.held)),
    Metric("mesh_order_number", "gauge", ("order",),
           "The number of the order that the node follows, 0 for none.", _map(_orders)),
    Metric("mesh_refused_documents", "gauge", ("what",),
           "Manifests and orders that registries offer and the node does not follow.",
           _map(_refused_documents)),
    Metric("mesh_blackholes_active", "gauge", ("family",),
           "Addresses that the node discards.", _blackholes),
    Metric("mesh_blackhole_until_timestamp_seconds", "gauge", ("address",),
           "When the blackhole of an address ends, where an order says it.",
           _map(lambda it: {str(one.address): one.until for one in it.blackholes if one.until})),
    Metric("mesh_blackhole_hearsay", "gauge", (),
           "Addresses that it discards although no order that it holds names them.",
           _value(lambda it: len(it.health.hearsay))),
    Metric("mesh_blackhole_dropped_packets_total", "counter", (),
           "Packets discarded since the ruleset was loaded.",
           _value(lambda it: it.discarded_packets)),
    # Generations
    Metric("mesh_generation_applied", "gauge", (),
           "The number of the generation in force.", _value(lambda it: it.generation.applied)),
    Metric("mesh_generation_published", "gauge", (),
           "The highest number that the node knows of.",
           _value(lambda it: it.generation.published)),
    Metric("mesh_generation_outcome", "gauge", ("outcome",),
           "1 for what came of the highest one, 0 for the other outcomes.", _map(_outcomes)),
    Metric("mesh_update_state", "gauge", ("state",),
           "1 for where the node is in an update: it waits for its wave, drains by itself, or "
           "applies it.", _map(_update_states)),
    Metric("mesh_generation_unconfirmed", "gauge", (),
           "Whether one is rolled back unless somebody logs in.",
           _value(lambda it: it.health.unconfirmed is not None)),
    Metric("mesh_rollbacks_total", "counter", (),
           "Roll-backs since the agent started.", _value(lambda it: it.generation.rollbacks)),
    Metric("mesh_repairs_total", "counter", (),
           "Repairs since the agent started.",
           _value(lambda it: None if it.health.repairs is None else it.health.repairs.count)),
    Metric("mesh_repairs_stopped", "gauge", (),
           "What is changed again and again, and not repaired for a while.", _value(_stopped)),
    # Registries and clocks
    Metric("mesh_registry_reachable", "gauge", ("registry",),
           "Whether it answers this node.", _map(lambda it: it.registries)),
    Metric("mesh_registry_certificate_mismatch", "gauge", (),
           "Registries whose certificate is not the manifest's.",
           _value(lambda it: len(it.health.tls_mismatches))),
    Metric("mesh_certificate_not_after_timestamp_seconds", "gauge", (),
           "When the certificate of this node's registry ends.",
           _value(lambda it: it.certificate or None)),
    Metric("mesh_clock_offset_seconds", "gauge", ("registry",),
           "By how much this node is ahead of a registry whose clock differs.",
           _map(lambda it: it.health.clocks or {})),
    # RPKI
    Metric("mesh_rpki_session_up", "gauge", ("session",),
           "Whether the session with an RPKI cache is up.",
           _map(lambda it: {each.name: each.up for each in it.caches})),
    Metric("mesh_rpki_records", "gauge", ("table",),
           "Records in a table of BIRD, as `roas4`.", _map(lambda it: it.records)),
)  # fmt: skip
"""What comes with each scrape while there is a snapshot of now."""

METRICS: tuple[Metric[Scrape] | Metric[Seen], ...] = (*OF_NODE, *OF_SNAPSHOT)
