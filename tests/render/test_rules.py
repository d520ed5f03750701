"""Each alert rings for what it is about, and nothing else does; Prometheus itself evaluates it.

What is scraped is a network of four nodes where all is well, as the glass writes it, and what a
case changes of it. No case lists what must be silent: whatever it does not name must not ring.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.glass.metrics import METRICS, Requests, exposition
from mesh.render import monitors
from tests.kit.promtool import RELEASES, promtool
from tests.kit.scrapes import NOW, healthy, network
from tests.kit.stacks import ROOT

STEP = 15
"""Seconds between two scrapes, and between two evaluations."""
HOUR, DAY = 3600, 86400
A, B, C, D = NODES = [node.id for node in network().nodes]
REGISTRIES = ("https://203.0.113.1:8443", "https://203.0.113.2:8443")


def values(metric: str, value: str) -> str:
    """A series as promtool reads it, with ``N`` for the number of steps and ``S`` for the seconds
    of one: the beginning is second 0, and clocks go on."""
    if metric in ("mesh_time_seconds", "mesh_snapshot_timestamp_seconds"):
        return "0+SxN"
    if metric == "mesh_certificate_not_after_timestamp_seconds":
        return f"{100 * 86400}xN"
    return f"{value}xN"


def groups() -> list[str]:
    """The names of the rules' groups, in their order."""
    return [each["name"] for each in yaml.safe_load(monitors.rules())["groups"]]


@cache
def alerts() -> Mapping[str, Mapping[str, Any]]:
    """The alerts of the rules, by name."""
    groups = yaml.safe_load(monitors.rules())["groups"]
    return {rule["alert"]: rule for each in groups for rule in each["rules"] if "alert" in rule}


def minutes(alert: str) -> float:
    """For how long what an alert is about has to last until it rings."""
    number, unit = re.fullmatch(r"(\d+)([smh])", alerts()[alert].get("for", "0s")).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1 / 60, "m": 1, "h": 60}[unit]


def named() -> set[str]:
    """The metrics of ours that the rules name."""
    text = re.sub(r"^ *#.*$", "", monitors.rules(), flags=re.MULTILINE)
    return set(re.findall(r"\bmesh_\w+", text))


@cache
def base() -> Mapping[str, str]:
    """All series of the network where all is well that a rule looks at."""
    series: dict[str, str] = {}
    seen = named()
    for node in NODES:
        target = f'job="mesh",instance="{node}:8080"'
        series[f'up{{{target},node="{node}"}}'] = "1xN"
        text = exposition(healthy(node), network(), NOW, Requests({200: 9}, 0, node))
        for line in text.splitlines():
            found = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
            if found and found[1] in seen:
                series[f"{found[1]}{{{target},{found[2]}}}"] = values(found[1], found[3])
    return series


@dataclass(frozen=True)
class Case:
    """What is ``changed``, by ``metric label=value …`` (a series that is not there is added), which
    nodes are ``gone`` after two minutes, and how often each alert ``rings`` after ``minutes``:
    three more than the alerts take, unless said. ``spares`` are those that come close."""

    name: str
    changed: Mapping[str, str] = field(default_factory=dict)
    rings: Mapping[str, int] = field(default_factory=dict)
    spares: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    minutes: float = 0

    @property
    def end(self) -> int:
        """Seconds after which the alerts are looked at."""
        longest = max(map(minutes, (*self.rings, *self.spares)), default=0)
        return round(60 * (self.minutes or longest + 3))

    @property
    def step(self) -> int:
        """Seconds between two scrapes; hours have fewer of them."""
        return STEP if self.end < HOUR else 16 * STEP

    @property
    def pace(self) -> int:
        """Seconds between two evaluations; what lasts a day is looked at once an hour."""
        return self.step if self.end < DAY else HOUR

    def series(self) -> dict[str, str]:
        """All that is scraped."""
        found = dict(base())
        for selector, value in self.changed.items():
            metric, *labels = selector.split()
            parts = [
                f'{name}="{text}"' for name, _, text in (each.partition("=") for each in labels)
            ]
            hit = [one for one in found if one.startswith(f"{metric}{{")
                   and all(f"{part}," in one or f"{part}}}" in one for part in parts)]  # fmt: skip
            hit = hit or [f"{metric}{{{','.join(parts)}}}"]
            found |= dict.fromkeys(hit, value)
        for node in self.gone:
            for one in found:
                if f'node="{node}"' in one:
                    first = re.split(r"[x+]", found[one])[0]
                    found[one] = f"{first}x8 stale"
                    if one.startswith("up{"):
                        found[one] = "1x8 0xN"
        return found

    def text(self) -> dict[str, Any]:
        """As promtool reads it."""
        steps = str(self.end // self.step + 1)
        firing = 'count by (alertname) (ALERTS{alertstate="firing",alertname!="MeshWatchdog"})'
        return {
            "name": self.name,
            "interval": f"{self.step}s",
            "input_series": [
                {"series": one, "values": value.replace("N", steps).replace("S", str(self.step))}
                for one, value in self.series().items()
            ],
            "promql_expr_test": [{
                "expr": firing,
                "eval_time": f"{self.end}s",
                "exp_samples": [
                    {"labels": f'{{alertname="{alert}"}}', "value": count}
                    for alert, count in self.rings.items()
                ],
            }],
        }  # fmt: skip


def sessions(node: str, kind: str, value: str = "0xN") -> dict[str, str]:
    return {f"mesh_bgp_session_up node={node} kind={kind}": value}


def unseen(node: str) -> dict[str, str]:
    """BIRD of that node does not answer: its sessions are not known, those with it are down."""
    return {
        f"mesh_bird_up node={node}": "1x8 0xN",
        f"mesh_bgp_session_up peer={node}": "1x8 0xN",
        f"mesh_bgp_session_up node={node}": "1x8 stale",
        f"mesh_bgp_routes node={node}": "1x8 stale",
        f"mesh_bfd_session_up node={node}": "1x8 stale",
        f"mesh_announcing node={node}": "1x8 0xN",
        f"mesh_service_up node={node}": "1x8 0xN",
    }


def lost(node: str) -> dict[str, str]:
    """The peers' sessions with that node are down."""
    return {
        f"mesh_bgp_session_up peer={node}": "1x8 0xN",
        f"mesh_bfd_session_up peer={node}": "1x8 0xN",
    }


def leaving(node: str) -> dict[str, str]:
    """The node has withdrawn by itself before an update."""
    return {
        f"mesh_update_state node={node} state=draining": "0x8 1xN",
        f"mesh_service_up node={node}": "1x8 0xN",
        f"mesh_announcing node={node}": "1x8 0xN",
        f"mesh_bgp_routes node={node} direction=exported": "1x8 0xN",
    }


CASES = (
    Case("all is well", minutes=20, spares=("MeshDrained",)),
    # Nodes
    Case("a node is dead", lost(B), {"MeshNodeDown": 1}, gone=(B,),
         spares=("MeshTunnelDown", "MeshIbgpSessionDown", "MeshServiceOnOneNode",
                 "MeshRegistryUnreachable", "MeshGlassDown", "MeshNoMetrics")),
    Case("a node reboots", lost(B) | {f"up node={B}": "1x8 0x6 1xN"} | {
             f"mesh_bgp_session_up peer={B}": "1x8 0x6 1xN",
             f"mesh_bfd_session_up peer={B}": "1x8 0x6 1xN",
             f"mesh_wireguard_bytes_total peer={B} direction=received": "0+64x8 512x6 512+64xN",
             f"mesh_agent_start_timestamp_seconds node={B}": "1x8 _x6 240xN",
             f"mesh_bird_start_timestamp_seconds node={B}": "1x8 _x6 239xN",
         }, minutes=6, spares=("MeshNodeDown", "MeshBirdRestarted", "MeshAgentRestarting")),
    Case("a glass is dead", {}, {"MeshGlassDown": 1}, gone=(B,), spares=("MeshNodeDown",)),
    Case("the glass starts anew", {f"up node={B}": "1x8 0x4 1xN"}, minutes=5,
         spares=("MeshGlassDown",)),
    Case("nothing is scraped", {}, {"MeshNoMetrics": 1}, gone=(A, B, C, D), minutes=5,
         spares=("MeshNodeDown", "MeshServiceDownEverywhere", "MeshPrefixNotAnnounced")),
    Case("the agent writes no more", {f"mesh_snapshot_timestamp_seconds node={B}": "0+15x8 135xN"},
         {"MeshMetricsStale": 1}),
    Case("the agent writes late", {f"mesh_snapshot_timestamp_seconds node={B}": "-14+15xN"},
         spares=("MeshMetricsStale",)),
    Case("the snapshot is of the future",
         {f"mesh_snapshot_timestamp_seconds node={B}": "100+15xN"}, {"MeshMetricsStale": 1}),
    Case("BIRD is dead", unseen(B), {"MeshBirdDown": 1},
         spares=("MeshTunnelDown", "MeshIbgpSessionDown", "MeshUpstreamDown", "MeshNotAnnouncing",
                 "MeshServiceDownAtNode", "MeshNodeIsolated")),
    Case("BIRD is dead, and so is the way to its metrics",
         lost(B) | {f"mesh_wireguard_bytes_total peer={B} direction=received": "0+64xN"},
         {"MeshBirdSilent": 1}, gone=(B,),
         spares=("MeshNodeDown", "MeshTunnelDown", "MeshIbgpSessionDown", "MeshGlassDown")),
    Case("a machine goes, and its last packets are counted for a while",
         lost(B) | {f"mesh_wireguard_bytes_total peer={B} direction=received": "0+64x8 512xN"},
         {"MeshNodeDown": 1}, gone=(B,), spares=("MeshBirdSilent",)),
    Case("BIRD comes back after nobody saw it", {
             f"up node={B}": "1x8 0x10 1xN",
             f"mesh_bird_start_timestamp_seconds node={B}": "1x8 _x10 270xN",
         }, minutes=8, spares=("MeshBirdRestarted",)),
    Case("BIRD does not answer once", {f"mesh_bird_up node={B}": "1x8 0 1xN"}, minutes=3,
         spares=("MeshBirdDown",)),
    Case("BIRD starts anew", {f"mesh_bird_start_timestamp_seconds node={B}": "1x8 130xN"},
         {"MeshBirdRestarted": 1}, minutes=5),
    Case("BIRD comes back", {f"mesh_bird_start_timestamp_seconds node={B}": "1x8 _x10 270xN",
                             f"mesh_bird_up node={B}": "1x8 0x10 1xN"}, minutes=8,
         spares=("MeshBirdRestarted", "MeshBirdDown")),
    Case("the agent starts again and again",
         {f"mesh_agent_start_timestamp_seconds node={B}": "1x8 2x4 3x4 4x4 5xN"},
         {"MeshAgentRestarting": 1}, minutes=10),
    Case("the agent is updated", {f"mesh_agent_start_timestamp_seconds node={B}": "1x8 2xN"},
         spares=("MeshAgentRestarting",), minutes=10),
    Case("a disk is full", {f"mesh_fault node={B} fault=disk": "1xN"}, {"MeshNodeFault": 1}),
    Case("a disk is full for a minute", {f"mesh_fault node={B} fault=disk": "1x4 stale"},
         spares=("MeshNodeFault",)),
    Case("a clock is ahead", {f"mesh_time_seconds node={B}": "5+15xN",
                              f"mesh_snapshot_timestamp_seconds node={B}": "5+15xN"},
         {"MeshClockOff": 1}),
    Case("a clock is nearly right", {f"mesh_time_seconds node={B}": "1+15xN"},
         spares=("MeshClockOff",)),
    Case("strangers were answered", {f"mesh_glass_strangers_total node={B}": "0x4 3xN"},
         {"MeshGlassOpen": 1}),
    Case("strangers were answered long ago", {f"mesh_glass_strangers_total node={B}": "0x8 3xN"},
         spares=("MeshGlassOpen",), minutes=15),
    # Sessions
    Case("an upstream is down", {f"mesh_bgp_session_up node={B} session=vultr4": "1x8 0xN",
                                 f"mesh_announcing node={B} family=ipv4": "1x8 0xN"},
         {"MeshUpstreamDown": 1}, spares=("MeshNotAnnouncing", "MeshNoSecondUpstream")),
    Case("an upstream was down for half a minute",
         {f"mesh_bgp_session_up node={B} session=vultr4": "1x8 0x2 1xN"}, minutes=3,
         spares=("MeshUpstreamDown",)),
    Case("one upstream is left", {
             f"mesh_bgp_session_up node={each} session=vultr6": "0xN" for each in (A, B, C)
         } | {f"mesh_announcing node={each} family=ipv6": "0xN" for each in (A, B, C)},
         {"MeshUpstreamDown": 3, "MeshNoSecondUpstream": 1, "MeshLastAnnouncer": 1}),
    Case("no upstream is left, and none is known",
         {"mesh_bgp_session_up session=vultr6": "_xN"}, {"MeshNoSecondUpstream": 1}),
    Case("one upstream is planned", {"mesh_bgp_session_up kind=upstream": "_xN",
                                     f"mesh_bgp_session_up node={A} kind=upstream": "1xN",
                                     "mesh_planned_upstream_sessions": "1xN"},
         spares=("MeshNoSecondUpstream",)),
    Case("a session inside is down", {f"mesh_bgp_session_up node={A} session=mate6_{B}": "0xN"},
         {"MeshIbgpSessionDown": 1}),
    Case("a tunnel is cut", {f"mesh_bgp_session_up node={A} session=u_{B}": "1x8 0xN",
                             f"mesh_bgp_session_up node={B} session=u_{A}": "1x8 0xN",
                             f"mesh_bfd_session_up node={A} session=u_{B}": "1x8 0xN",
                             f"mesh_bfd_session_up node={B} session=u_{A}": "1x8 0xN"},
         {"MeshTunnelDown": 2}, spares=("MeshNodeIsolated", "MeshBgpWithoutBfd")),
    Case("a node is alone", sessions(B, "tunnel") | sessions(B, "ibgp") | lost(B),
         {"MeshNodeIsolated": 1}, spares=("MeshTunnelDown", "MeshIbgpSessionDown")),
    Case("a tunnel has no BFD", {f"mesh_bfd_session_up node={A} session=u_{B}": "_xN"},
         {"MeshBgpWithoutBfd": 1}),
    Case("BFD comes late", {f"mesh_bfd_session_up node={A} session=u_{B}": "0x1 1xN"}, minutes=1,
         spares=("MeshBgpWithoutBfd",)),
    Case("a session comes and goes", {
             f"mesh_bgp_session_established_timestamp_seconds node={A} session=u_{B}":
             "1x8 2x4 3x4 4x4 5xN"}, {"MeshSessionFlapping": 1}, minutes=10),
    Case("a session comes back", {
             f"mesh_bgp_session_established_timestamp_seconds node={A} session=u_{B}":
             "1x8 2x4 _x4 3xN"}, spares=("MeshSessionFlapping",), minutes=10),
    Case("a table is nearly as large as it may be",
         {f"mesh_bgp_routes node={A} session=vultr4 direction=received": "950000xN"},
         {"MeshPrefixLimitNear": 1}),
    Case("a table is large", {f"mesh_bgp_routes node={A} session=vultr4 direction=received":
                              "890000xN"}, spares=("MeshPrefixLimitNear",)),
    Case("a limit is hit", {f"mesh_bgp_routes node={A} session=vultr4 direction=received":
                            "1000000xN",
                            f"mesh_bgp_receive_limit_hit node={A} session=vultr4": "1xN"},
         {"MeshPrefixLimitHit": 1}, spares=("MeshPrefixLimitNear",)),
    Case("a small limit is nearly reached",
         {f"mesh_bgp_routes node={A} session=vultr4 direction=received": "1xN",
          f"mesh_bgp_receive_limit_routes node={A} session=vultr4": "1xN"},
         spares=("MeshPrefixLimitNear", "MeshPrefixLimitHit")),
    Case("a neighbor leaks", {f"mesh_refused_routes_total node={A}": "0+300xN"},
         {"MeshRefusedFlood": 1}),
    Case("a table comes", {f"mesh_refused_routes_total node={A}": "0x8 0+5000x2 15000xN"},
         spares=("MeshRefusedFlood",), minutes=12),
    Case("two nodes accuse a peer", {f"mesh_alarm node={A} peer={C} kind=owner": "1xN",
                                     f"mesh_alarm node={B} peer={C} kind=owner": "1xN"},
         {"MeshPeerAccused": 1}),
    Case("one node accuses a peer of two things",
         {f"mesh_alarm node={A} peer={C} kind=owner": "1xN",
          f"mesh_alarm node={A} peer={C} kind=link": "1xN"}, spares=("MeshPeerAccused",)),
    # Services
    Case("nobody serves", {"mesh_service_up service=web": "1x8 0xN"},
         {"MeshServiceDownEverywhere": 1}, spares=("MeshServiceDownAtNode",)),
    Case("nobody is known to serve", {"mesh_service_up service=web": "1x8 stale"},
         {"MeshServiceDownEverywhere": 1}),
    Case("a node does not serve", {f"mesh_service_up node={B} service=web": "1x8 0xN"},
         {"MeshServiceDownAtNode": 1},
         spares=("MeshServiceDownEverywhere", "MeshServiceOnOneNode")),
    Case("a drained node does not serve", {
             f"mesh_service_up node={B}": "1x8 0xN", f"mesh_drained node={B}": "0x8 1xN",
             f"mesh_announcing node={B}": "1x8 0xN",
             f"mesh_bgp_routes node={B} direction=exported": "1x8 0xN"},
         {"MeshDrained": 1},
         spares=("MeshServiceDownAtNode", "MeshNotAnnouncing", "MeshDrainedLong",
                 "MeshExportMissing")),
    Case("one node serves", {
             f"mesh_service_up node={each} service=dns": "0xN" for each in (A, B, C)},
         {"MeshServiceOnOneNode": 1, "MeshServiceDownAtNode": 3}),
    Case("one node is to serve", {
             f"mesh_service_up node={each} service=dns": "_xN" for each in (A, B, C)
         } | {"mesh_planned_instances service=dns": "1xN"}, spares=("MeshServiceOnOneNode",)),
    Case("a service has a warning", {f"mesh_service_warning node={A} service=web": "1xN"},
         {"MeshServiceWarning": 1}),
    Case("an instance of a dead node is warned about",
         {f"mesh_service_warning node={A} service=web peer={B}": "1xN"} | lost(B),
         {"MeshNodeDown": 1}, gone=(B,), spares=("MeshServiceWarning",)),
    Case("a certificate ends", {f"mesh_certificate_not_after_timestamp_seconds node={A}":
                                f"{13 * 86400}xN"}, {"MeshCertificateExpires": 1}, minutes=62),
    Case("a certificate ends in a month", {f"mesh_certificate_not_after_timestamp_seconds node={A}":
                                           f"{30 * 86400}xN"},
         spares=("MeshCertificateExpires",), minutes=62),
    # Announcements
    Case("a prefix is gone", {"mesh_announcing family=ipv4": "1x8 0xN"},
         {"MeshPrefixNotAnnounced": 1}, spares=("MeshNotAnnouncing", "MeshLastAnnouncer")),
    Case("a prefix is gone with all who know it", {"mesh_announcing family=ipv4": "1x8 stale"},
         {"MeshPrefixNotAnnounced": 1}),
    Case("one node announces", {f"mesh_announcing node={each} family=ipv4": "_xN"
                                for each in (A, B, C)}, {"MeshLastAnnouncer": 1}),
    Case("two nodes announce", {f"mesh_announcing node={each} family=ipv4": "_xN"
                                for each in (A, B)},
         spares=("MeshLastAnnouncer", "MeshPrefixNotAnnounced")),
    Case("one node is to announce", {f"mesh_announcing node={each} family=ipv4": "_xN"
                                     for each in (A, B, C)} | {"mesh_planned_announcers": "1xN"},
         spares=("MeshLastAnnouncer",)),
    Case("a node does not announce", {f"mesh_announcing node={B} family=ipv4": "0xN"},
         {"MeshNotAnnouncing": 1}),
    Case("a session has no routes of ours",
         {f"mesh_bgp_routes node={B} session=vultr4 direction=exported": "0xN"},
         {"MeshExportMissing": 1}),
    Case("a session has more than our routes",
         {f"mesh_bgp_routes node={B} session=vultr4 direction=exported": "2xN"},
         {"MeshExportTooMany": 1}),
    Case("a session has a blackhole",
         {f"mesh_bgp_routes node={B} session=vultr4 direction=exported": "2xN",
          f"mesh_blackholes_active node={B} family=ipv4": "1xN"}, spares=("MeshExportTooMany",)),
    Case("no validator is there", {f"mesh_rpki_session_up node={A}": "0xN"},
         {"MeshValidatorsAway": 1}),
    Case("one validator is there", {f"mesh_rpki_session_up node={A} session=rtr_lax": "0xN"},
         spares=("MeshValidatorsAway",)),
    Case("records are lost", {f"mesh_rpki_records node={A} table=roas4": "500000x8 300000xN"},
         {"MeshRecordsDropped": 1}, minutes=75),
    Case("some records are lost", {f"mesh_rpki_records node={A} table=roas4":
                                   "500000x8 450000xN"},
         spares=("MeshRecordsDropped",), minutes=75),
    # Orders
    Case("a drain is forgotten", {f"mesh_drained node={B}": "1xN", f"mesh_service_up node={B}":
                                  "0xN"}, {"MeshDrained": 1, "MeshDrainedLong": 1},
         minutes=24 * 60 + 4),
    Case("an address is blackholed", {
             f"mesh_blackhole_until_timestamp_seconds node={A} address=192.30.120.9": "9000xN",
             f"mesh_blackhole_until_timestamp_seconds node={B} address=192.30.120.9": "9000xN"},
         {"MeshBlackholeActive": 1}),
    Case("a blackhole has ended", {
             f"mesh_blackhole_until_timestamp_seconds node={A} address=192.30.120.9": "60xN"},
         spares=("MeshBlackholeActive",)),
    Case("a blackhole is hearsay", {f"mesh_blackhole_hearsay node={A}": "1xN"},
         {"MeshBlackholeHearsay": 1}),
    Case("an order comes by peers first", {f"mesh_blackhole_hearsay node={A}": "1x2 0xN"},
         minutes=2, spares=("MeshBlackholeHearsay",)),
    Case("an order is refused", {f"mesh_refused_documents node={A} what=drain": "1xN"},
         {"MeshOrderRefused": 1}),
    Case("a generation failed", {
             f"mesh_refused_documents node={A} what=manifest": "1xN",
             f"mesh_generation_outcome node={A} outcome=failed": "0x8 1xN",
             f"mesh_generation_outcome node={A} outcome=applied": "1x8 0xN",
             f"mesh_rollbacks_total node={A}": "0x8 1xN", "mesh_generation_published": "8x8 9xN",
             "mesh_generation_applied": "8x8 9xN", f"mesh_generation_applied node={A}": "8xN"},
         {"MeshGenerationFailed": 1},
         spares=("MeshOrderRefused", "MeshRolledBack", "MeshBehindGeneration")),
    Case("an order is not followed", {f"mesh_order_number node={A} order=drain": "2xN"},
         {"MeshOrderNotFollowed": 1}),
    Case("an order spreads", {"mesh_order_number order=drain": "3x8 4xN",
                              f"mesh_order_number node={A} order=drain": "3x12 4xN"},
         minutes=5, spares=("MeshOrderNotFollowed",)),
    # Generations
    Case("a generation spreads", {
             f"mesh_generation_outcome node={A} outcome=pending": "0x8 1x4 0xN",
             f"mesh_generation_outcome node={A} outcome=applied": "1x8 0x4 1xN",
             "mesh_generation_published": "8x8 9xN", "mesh_generation_applied": "8x10 9xN"},
         spares=("MeshGenerationFailed", "MeshBehindGeneration")),
    Case("a generation was rolled back", {f"mesh_rollbacks_total node={A}": "0x8 1xN"},
         {"MeshRolledBack": 1}),
    Case("a node is behind", {f"mesh_generation_applied node={A}": "7xN"},
         {"MeshBehindGeneration": 1}),
    Case("a node on hold is behind", {f"mesh_generation_applied node={A}": "7xN",
                                      f"mesh_held_until_timestamp_seconds node={A}": "9000xN"},
         spares=("MeshBehindGeneration",)),
    Case("an update goes out, and a node drains for it", leaving(B) | {
             "mesh_generation_published": "8x8 9xN", "mesh_generation_applied": "8x8 9xN",
             f"mesh_generation_applied node={B}": "8xN", f"mesh_generation_applied node={C}": "8xN",
             f"mesh_update_state node={C} state=waiting": "0x8 1xN",
             "mesh_order_number order=rollout": "1x8 2x40 3xN"},
         minutes=16, spares=("MeshNotAnnouncing", "MeshServiceDownAtNode", "MeshBehindGeneration",
                             "MeshExportMissing", "MeshUpdateStopped")),
    Case("one of two announcers drains for an update", leaving(B) | {
             f"mesh_announcing node={each}": "_xN" for each in (C, D)
         } | {f"mesh_service_up node={each}": "_xN" for each in (C, D)},
         minutes=7, spares=("MeshLastAnnouncer", "MeshServiceOnOneNode")),
    Case("an update has stopped half-way", {
             "mesh_generation_published": "8x8 9xN", "mesh_generation_applied": "8x8 9xN",
             f"mesh_generation_applied node={A}": "8xN",
             f"mesh_update_state node={A} state=waiting": "0x8 1xN",
             "mesh_order_number order=rollout": "1x8 2xN"},
         {"MeshUpdateStopped": 1}, minutes=34, spares=("MeshBehindGeneration",)),
    Case("a file is changed again and again", {f"mesh_repairs_stopped node={A}": "1xN"},
         {"MeshRepairsStopped": 1}),
    Case("a file was changed", {f"mesh_repairs_total node={A}": "0x8 1xN"},
         spares=("MeshRepairsStopped",)),
    Case("a registry is dead", {f"mesh_registry_reachable registry={REGISTRIES[1]}": "1x8 0xN"},
         {"MeshRegistryDown": 1}, spares=("MeshRegistryUnreachable",)),
    Case("a registry is dead with its node",
         lost(B) | {f"mesh_registry_reachable registry={REGISTRIES[1]}": "1x8 0xN"},
         {"MeshNodeDown": 1}, gone=(B,), spares=("MeshRegistryDown",)),
    Case("all registries are dead", {"mesh_registry_reachable": "1x8 0xN"},
         {"MeshRegistryDown": 2}, spares=("MeshRegistryUnreachable",)),
    Case("a node reaches no registry", {f"mesh_registry_reachable node={A}": "1x8 0xN"},
         {"MeshRegistryUnreachable": 1}, spares=("MeshRegistryDown",)),
    Case("a registry shows another certificate",
         {f"mesh_registry_certificate_mismatch node={A}": "1xN"},
         {"MeshRegistryCertificateOther": 1}),
    Case("a registry has a new certificate",
         {f"mesh_registry_certificate_mismatch node={A}": "1x4 0xN"},
         spares=("MeshRegistryCertificateOther",)),
)  # fmt: skip


def told(release: str, folder: Path, cases: tuple[Case, ...]) -> str:
    """What promtool has against the rules in these cases, empty for nothing. All of one pace are
    one run. What some groups record is a moment old in others, as if each had its own beginning;
    once an hour it would be gone, and so they are in order."""
    path, found = folder / "test.json", ""
    for pace in sorted({case.pace for case in cases}):
        document = {
            "rule_files": [str(monitors.RULES)],
            "evaluation_interval": f"{pace}s",
            "group_eval_order": groups() if pace == HOUR else [],
            "tests": [case.text() for case in cases if case.pace == pace],
        }
        path.write_text(json.dumps(document))
        done = promtool(release, "test", "rules", str(path))
        found += f"{done.stdout}{done.stderr}\n" if done.returncode else ""
    return found


def wrong(release: str, folder: Path, cases: tuple[Case, ...]) -> str:
    """The same with the names of the cases, each of which is run again where any is wrong."""
    if not told(release, folder, cases):
        return ""
    alone = {case.name: told(release, folder, (case,)) for case in cases}
    return "\n".join(f"{name}: {text}" for name, text in alone.items() if text)


def test_each_alert_rings_for_what_it_is_about_and_alone(tmp_path: Path) -> None:
    assert not wrong("trixie", tmp_path, CASES)


def test_so_it_is_with_the_oldest_prometheus(tmp_path: Path) -> None:
    """Those that a minute or two decides: all expressions are evaluated in each."""
    assert not wrong("bookworm", tmp_path, tuple(case for case in CASES if case.end <= 210)[:12])


def test_the_watchdog_rings_always(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text(json.dumps({
        "rule_files": [str(monitors.RULES)],
        "tests": [{"interval": "15s", "promql_expr_test": [{
            "expr": 'sum by (alertname) (ALERTS{alertstate="firing",severity="none"})',
            "eval_time": "1m",
            "exp_samples": [{"labels": '{alertname="MeshWatchdog"}', "value": 1}],
        }]}],
    }))  # fmt: skip
    done = promtool("trixie", "test", "rules", str(tmp_path / "test.json"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_case_in_which_it_rings_and_one_in_which_it_nearly_does() -> None:
    listed = set(alerts()) - {"MeshWatchdog"}
    assert {alert for case in CASES for alert in case.rings} == listed
    assert {alert for case in CASES for alert in case.spares} == listed


@pytest.mark.parametrize("release", RELEASES)
def test_prometheus_takes_the_rules(release: str) -> None:
    done = promtool(release, "check", "rules", "--lint=all", "--lint-fatal", str(monitors.RULES))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_says_what_to_do(alert: str) -> None:
    rule = alerts()[alert]
    assert alert.startswith("Mesh")
    assert rule["labels"] in [
        {"severity": each} for each in ("critical", "warning", "info", "none")
    ]
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["runbook_url"] == f"{monitors.RUNBOOKS}#{alert.lower()}"
    assert notes["description"].endswith((".", "?"))
    assert not notes["summary"].endswith(".")


def labels_of(expression: str) -> set[str]:
    """The labels that the first metric of an expression has, or that it is summed by."""
    if by := re.match(r"\(*(?:sum|max|count) by \(([\w, ]+)\)", expression):
        return set(by[1].split(", "))
    metrics = {metric.name: {"node", *metric.labels} for metric in METRICS}
    metrics |= {"up": {"node"}, "mesh:isolated:node": {"node"}}
    return metrics[next(iter(re.findall(r"mesh:\w+:\w+|\bmesh_\w+|\bup\b|\bvector\b", expression)))]


@pytest.mark.parametrize("alert", sorted({*alerts()} - {"MeshWatchdog", "MeshNoMetrics"}))
def test_what_an_alert_says_names_labels_that_it_has(alert: str) -> None:
    rule = alerts()[alert]
    named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    assert named <= labels_of(rule["expr"]), "others would be empty"


def test_rules_name_metrics_that_there_are() -> None:
    assert named() <= {metric.name for metric in METRICS}


def test_the_address_of_the_runbooks_can_be_chosen() -> None:
    text = monitors.rules("https://wiki.example.net/mesh")
    assert "runbook_url: https://wiki.example.net/mesh#meshnodedown\n" in text
    assert monitors.RUNBOOKS + "#" not in text


def test_the_rules_are_the_wheels_too() -> None:
    """`setup/wheel.py` copies templates/ as a whole."""
    assert monitors.RULES.is_relative_to(ROOT / "templates")


def test_the_page_has_a_row_with_an_anchor_for_each_alert() -> None:
    page = (ROOT / monitors.RUNBOOKS).read_text()
    rows = re.findall(
        r'^\| <a id="(\w+)"></a>(\w+) \| (\w+), (\w+) \| (.+) \| (.+) \|$', page, re.M
    )
    assert {name: (anchor, severity, after) for anchor, name, severity, after, *_ in rows} == {
        name: (name.lower(), rule["labels"]["severity"], rule.get("for", "0s"))
        for name, rule in alerts().items()
    }
    assert all(meaning.endswith(".") and first.endswith((".", "?")) for *_, meaning, first in rows)
