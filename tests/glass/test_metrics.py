"""What a node gives Prometheus: text that Prometheus reads, from a snapshot of now."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import pytest

from mesh.foreign import printable
from mesh.glass.metrics import METRICS, OF_NODE, STALE, Requests, exposition
from mesh.glass.network import Network
from mesh.glass.snapshot import Session, Snapshot
from mesh.trust.documents import Health
from tests.kit.promtool import RELEASES, promtool
from tests.kit.scrapes import FIRST, NOW, network, snapshot
from tests.kit.wait import until

REQUESTS = Requests({200: 4, 404: 1}, 0, FIRST)
SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (-?[0-9.e+]+)')


def scraped(
    known: Snapshot | None, now: float = NOW, planned: Network | None = None
) -> dict[str, float]:
    """The samples by name and labels, as they stand in the text."""
    text = exposition(known, planned or network(), now, REQUESTS)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = [SAMPLE.fullmatch(line) for line in lines]
    assert all(found), "each line is a sample"
    return {
        f"{each[1]}{{{each[2].replace(f'node={chr(34)}{FIRST}{chr(34)}', '').lstrip(',')}}}":
        float(each[3]) for each in found if each
    }  # fmt: skip


def names(samples: dict[str, float]) -> set[str]:
    return {sample.partition("{")[0] for sample in samples}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("known", [snapshot(), snapshot(64), None], ids=["four", "64", "none"])
def test_prometheus_reads_it(release: str, known: Snapshot | None) -> None:
    done = promtool(release, "check", "metrics", stdin=exposition(known, network(), NOW, REQUESTS))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_full_snapshot_has_a_sample_of_each_metric() -> None:
    assert names(scraped(snapshot())) == {metric.name for metric in METRICS}


def test_each_metric_names_its_node_and_says_what_it_is() -> None:
    text = exposition(snapshot(), network(), NOW, REQUESTS)
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.text}\n# TYPE {metric.name} {metric.kind}\n" in text
        assert f'\n{metric.name}{{node="{FIRST}"' in text
        assert metric.text.endswith(".")
        assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize(
    ("at", "current"),
    [(NOW, True), (NOW - STALE + 1, True), (NOW - STALE - 1, False), (NOW + STALE + 1, False)],
)
def test_an_old_snapshot_says_only_how_old_it_is(at: float, current: bool) -> None:
    samples = scraped(snapshot(at=at))
    assert samples["mesh_snapshot_timestamp_seconds{}"] == at
    assert samples["mesh_time_seconds{}"] == NOW
    assert ("mesh_bird_up{}" in samples) == current
    if not current:
        assert names(samples) == {metric.name for metric in OF_NODE}


def test_without_a_snapshot_the_glass_and_the_plan_are_there() -> None:
    samples = scraped(None)
    assert samples["mesh_snapshot_timestamp_seconds{}"] == 0
    assert samples['mesh_glass_requests_total{code="404"}'] == 1
    assert samples['mesh_planned_announcers{prefix="192.30.120.0/23",family="ipv4"}'] == 4
    assert "mesh_bird_up{}" not in samples


def test_what_is_planned_of_a_node_that_gives_no_metrics_is_not_expected() -> None:
    """A sum over all nodes would always lack it, and an alert ring."""
    every = network()
    last = every.nodes[-1]
    less = replace(every, nodes=(*every.nodes[:-1], replace(last, os="openbsd")))
    (before, after) = (scraped(None, planned=each) for each in (every, less))
    for sample, own in {
        'mesh_planned_announcers{prefix="192.30.120.0/23",family="ipv4"}': 1,
        f'mesh_planned_instances{{service="{last.services[0]}"}}': 1,
        'mesh_planned_upstream_sessions{family="ipv4"}': 1,
    }.items():
        assert after[sample] == before[sample] - own


UPSTREAM = 'session="vultr6",kind="upstream",peer="vultr",family="ipv6"'


@pytest.mark.parametrize(
    ("sample", "value"),
    [
        (f"mesh_bgp_session_up{{{UPSTREAM}}}", 0),
        ('mesh_bgp_session_up{session="u_n02-vultr-1",kind="tunnel",peer="n02-vultr-1"}', 1),
        (f"mesh_bgp_session_established_timestamp_seconds{{{UPSTREAM}}}", None),
        ('mesh_bfd_session_up{session="mate4_n02-vultr-1",kind="ibgp",peer="n02-vultr-1"}', None),
        ('mesh_wireguard_bytes_total{peer="n02-vultr-1",direction="sent"}', 10**11),
        ('mesh_check_up{service="dns",check="exec check"}', 0),
        ('mesh_announcing{prefix="2620:71:4000::/48",family="ipv6"}', 0),
        ('mesh_generation_outcome{outcome="failed"}', 1),
        ('mesh_generation_outcome{outcome="applied"}', 0),
        ('mesh_blackholes_active{family="ipv6"}', 0),
        ('mesh_refused_routes_total{reason="a bogon prefix"}', 7),
        ('mesh_service_warning{service="dns"}', 0),
        ('mesh_service_warning{service="web",peer="n02-vultr-1"}', 1),
        ("mesh_repairs_stopped{}", 1),
        ('mesh_clock_offset_seconds{registry="https://203.0.113.2:8443"}', -3),
    ],
)
def test_a_value_is_the_snapshots(sample: str, value: float | None) -> None:
    assert scraped(snapshot()).get(sample) == value


def with_session(change: Callable[[Session], Session]) -> Snapshot:
    known = snapshot()
    return replace(known, sessions=tuple(map(change, known.sessions)))


def test_a_session_is_the_same_series_in_every_state() -> None:
    """Another label would be another series, and an alert would wait anew."""

    def down(session: Session) -> Session:
        return replace(session, state="Connect", error="BFD session down", channels={}, bfd=False)

    before, after = scraped(snapshot()), scraped(with_session(down))
    ups = {sample for sample in before if sample.startswith("mesh_bgp_session_up")}
    assert ups == {sample for sample in after if sample.startswith("mesh_bgp_session_up")}
    assert not any(after[sample] for sample in ups)


@pytest.mark.parametrize(
    "text", ['a"b', "a\\", "a\nb", 'x",node="other"} 1\nmesh_drained{', "Zürich", "\ud800", ""]
)
def test_what_the_world_says_stays_within_its_label(text: str) -> None:
    known = replace(snapshot(), health=replace(snapshot().health, refused={text: 1}))
    samples = scraped(known)
    assert samples["mesh_drained{}"] == 0
    assert len([name for name in samples if name.startswith("mesh_refused_routes_total")]) == 1
    done = promtool("trixie", "check", "metrics", stdin=exposition(known, network(), NOW, REQUESTS))
    assert done.returncode == 0, printable(done.stderr)


def test_what_an_agent_does_not_know_is_left_out() -> None:
    known = replace(snapshot(), health=Health(True, {}, {}), bird_started=0, certificate=0)
    samples = scraped(known)
    for name in (
        "bird_up", "bird_start_timestamp_seconds", "repairs_total", "tunnel_faults",
        "held_until_timestamp_seconds", "certificate_not_after_timestamp_seconds",
    ):  # fmt: skip
        assert f"mesh_{name}{{}}" not in samples


def test_what_is_there_twice_comes_once() -> None:
    known = snapshot()
    assert scraped(replace(known, tunnels=known.tunnels * 2)) == scraped(known)


def test_a_node_that_the_plan_does_not_have_is_none_the_worse() -> None:
    text = exposition(snapshot(), network(), NOW, replace(REQUESTS, node="new-node-1"))
    assert 'mesh_planned_prefixes{node="new-node-1",family="ipv4"} 0' in text
    assert 'mesh_bgp_session_up{node="new-node-1",session="vultr4"' in text


def test_sixty_four_nodes_take_less_than_twenty_milliseconds() -> None:
    known, plan = snapshot(64), network(64)

    def taken() -> float:
        began = time.process_time()
        exposition(known, plan, NOW, REQUESTS)
        return time.process_time() - began

    until(lambda: median(taken() for _ in range(9)) < 0.020, 1, "64 nodes in 20 ms")
