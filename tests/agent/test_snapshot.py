"""The snapshot of a node: by a real node whose BIRD works, is killed and hangs, and by an agent
whose disk refuses it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from mesh.agent import snapshot as module
from mesh.agent.config import Config
from mesh.agent.service_state import CheckState
from mesh.agent.snapshot import exported, results
from mesh.glass import network as network_of_glass
from mesh.glass.metrics import METRICS, Requests, exposition
from mesh.glass.network import Network
from mesh.glass.snapshot import PATH, CheckResult, Snapshot
from mesh.render import node_files, placeholder_facts
from mesh.services.checks.check import Target
from mesh.services.checks.exec import ExecCheck
from mesh.services.checks.tcp import TcpCheck
from mesh.trust.documents import Health
from mesh.trust.encoding import Malformed, parse
from tests.agent.member import NODE, member
from tests.agent.test_node import LAX, ORD, Running, two_nodes
from tests.kit.machines import AgentMachine
from tests.kit.promtool import promtool
from tests.kit.stacks import plan_of, prod, with_members
from tests.kit.wait import PATIENCE, until


def read(path: Path) -> Snapshot | None:
    try:
        return parse(Snapshot, path.read_bytes())
    except FileNotFoundError:
        return None


# --- a real node ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with two_nodes(tmp_path_factory.mktemp("wire")) as running:
        yield running


def written(box: AgentMachine) -> Snapshot | None:
    return read(box.path(PATH))


def later(box: AgentMachine, holds: Callable[[Snapshot], object], what: str) -> Snapshot:
    """A snapshot, written from now on, of which that holds."""
    began = time.time()

    def look() -> Snapshot | None:
        found = written(box)
        return found if found is not None and found.at > began and holds(found) else None

    return until(look, 20, what)


def measured(found: Snapshot) -> bool:
    """The tunnels are looked at less often than a snapshot is written."""
    return bool(found.tunnels) and all(one.handshake for one in found.tunnels)


def all_up(found: Snapshot) -> bool:
    inside = [one for one in found.sessions if one.kind != "upstream"]
    return len(inside) == 3 and all(
        one.up and all(each.accepted for each in one.channels.values()) for one in inside
    )


@pytest.mark.image
@pytest.mark.beside_labs
def test_a_node_says_its_sessions_with_their_routes(mesh: Running) -> None:
    def is_whole(found: Snapshot) -> bool:
        # BFD and routes of our own come after the session, and the health is read by itself.
        tunnels = [one for one in found.sessions if one.kind == "tunnel"]
        return (
            all_up(found)
            and all(one.bfd for one in tunnels)
            and all(each.exported for one in tunnels for each in one.channels.values())
            and found.health.sessions.keys() == {one.name for one in found.sessions}
        )

    found = later(mesh.ord, is_whole, "the sessions are up, with routes")
    by_name = {one.name: one for one in found.sessions}
    tunnel = by_name["u_lax_vultr_1"]
    assert (tunnel.kind, tunnel.peer, tunnel.bfd) == ("tunnel", LAX, True)
    assert tunnel.neighbor_asn == mesh.network.plan.node(LAX).underlay_asn
    assert 0 < time.time() - tunnel.since < 600
    for family in ("ipv4", "ipv6"):
        channel = tunnel.channels[family]
        assert channel.received == channel.accepted + channel.refused and channel.exported
        assert channel.limit > 100 and not channel.at_limit
    mate = by_name["mate4_lax_vultr_1"]
    assert (mate.kind, mate.peer, mate.bfd, set(mate.channels)) == ("ibgp", LAX, None, {"ipv4"})
    upstream = by_name["vultr4"]
    assert (upstream.kind, upstream.peer, upstream.up) == ("upstream", "vultr", False)
    assert found.health.sessions.keys() == by_name.keys()


WITHOUT_CAUSE = {
    "mesh_fault", "mesh_alarm", "mesh_clock_offset_seconds", "mesh_refused_routes_total",
    "mesh_blackhole_until_timestamp_seconds",
    "mesh_rpki_session_up", "mesh_rpki_records",  # this network has no caches
    "mesh_glass_requests_total",  # nobody has asked
}  # fmt: skip
"""Metrics without a sample where nothing is wrong."""


@pytest.mark.image
@pytest.mark.beside_labs
def test_a_node_has_each_metric_that_rules_and_dashboards_ask_for(mesh: Running) -> None:
    network = parse(Network, mesh.lax.path(network_of_glass.PATH).read_bytes())

    def metrics(found: Snapshot) -> str:
        return exposition(found, network, time.time(), Requests(node=LAX))

    def lacking(text: str) -> set[str]:
        there = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
        return {metric.name for metric in METRICS} - there

    def has_all(found: Snapshot) -> bool:
        whole = all_up(found) and len(found.checks) == 2
        return whole and lacking(metrics(found)) <= WITHOUT_CAUSE

    text = metrics(later(mesh.lax, has_all, "it has all"))
    done = promtool("trixie", "check", "metrics", stdin=text)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.image
@pytest.mark.beside_labs
def test_a_node_says_why_a_session_is_down(mesh: Running) -> None:
    """Nobody plays the upstream here."""

    def upstream_errors(found: Snapshot) -> list[str]:
        return [one.error for one in found.sessions if one.kind == "upstream" and one.error]

    found = later(mesh.ord, lambda one: len(upstream_errors(one)) == 2, "both errors")
    assert set(upstream_errors(found)) == {"Socket: No route to host"}


@pytest.mark.image
@pytest.mark.beside_labs
def test_a_node_says_what_others_of_its_agent_know(mesh: Running) -> None:
    def knows(found: Snapshot) -> bool:
        # Each is looked at by itself.
        return (
            measured(found)
            and all(one.received and one.sent for one in found.tunnels)
            and len(found.checks) == 2
            and all(one.good for one in found.checks)
            and all(found.registries.values())
            and found.bird_started > 0
        )

    found = later(mesh.lax, knows, "it has all")
    (tunnel,) = found.tunnels
    assert (tunnel.interface, tunnel.peer) == ("wg-ord-vultr-1", ORD)
    assert tunnel.received and tunnel.sent
    assert {(one.service, one.subject, one.family, one.good, one.why) for one in found.checks} == {
        ("web", "http port 80", family, True, "") for family in ("ipv4", "ipv6")
    }
    assert all(0 < one.seconds < PATIENCE for one in found.checks)
    assert found.registries == dict.fromkeys(mesh.network.registries().values(), True)
    assert 9 < (found.certificate - time.time()) / 86400 < 10
    assert found.generation.applied == found.generation.published >= 1
    assert (found.generation.outcome, found.generation.rollbacks) == ("applied", 0)
    assert found.versions.bird and len(found.versions.bundle) == 64 and found.versions.kernel
    assert 0 < found.bird_started <= found.at and 0 < found.agent_started <= found.at
    assert set(found.prefixes) == {"192.30.120.0/23", "2620:71:4000::/48"}


@pytest.mark.image
@pytest.mark.beside_labs
def test_everybody_on_the_node_may_read_it(mesh: Running) -> None:
    mode = mesh.ord.run("stat", "-c", "%a %U", PATH, str(Path(PATH).parent))
    assert mode.splitlines() == ["644 root", "755 root"]


def bird_says(mesh: Running, found: Snapshot) -> bool:
    return found.health.bird == "" and all_up(found)


@contextmanager
def harmed(mesh: Running, *command: str) -> Iterator[None]:
    """While BIRD has got that, and until it is well again."""
    later(mesh.ord, partial(bird_says, mesh), "BIRD is well")
    mesh.ord.run(*command)
    try:
        yield
    finally:
        mesh.ord.run("pkill", "-CONT", "-x", "bird", check=False)
        mesh.ord.run("systemctl", "restart", "bird.service")
        later(mesh.ord, partial(bird_says, mesh), "BIRD is well again")


@pytest.mark.image
@pytest.mark.beside_labs
@pytest.mark.parametrize(
    ("signal", "words"), [("-KILL", "does not run"), ("-STOP", "runs, and does not answer")]
)
def test_a_bird_that_is_away_or_hangs_is_said_and_all_else_goes_on(
    mesh: Running, signal: str, words: str
) -> None:
    def goes_on(found: Snapshot) -> bool:
        return words in str(found.health.bird) and len(found.tunnels) == 1 == len(found.checks) - 1

    with harmed(mesh, "pkill", signal, "-x", "bird"):
        found = later(mesh.ord, goes_on, words)
        again = later(mesh.ord, goes_on, "another one")
    assert again.at > found.at
    assert again.sessions == () and again.bird_started == 0 and again.versions.bird == ""
    assert [(one.interface, one.peer) for one in again.tunnels] == [("wg-lax-vultr-1", LAX)]
    assert len(again.checks) == 2 and again.generation.outcome == "applied"


@pytest.mark.image
@pytest.mark.beside_labs
def test_an_agent_that_starts_anew_writes_on(mesh: Running) -> None:
    before = later(mesh.ord, all_up, "one before")
    mesh.ord.kill("agent")
    mesh.ord.start("agent")
    found = later(mesh.ord, all_up, "one after")
    assert found.agent_started > before.agent_started
    # BIRD prints the same time with another last digit now and then.
    assert found.bird_started == pytest.approx(before.bird_started, abs=1)


# --- an agent alone ------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_ends_nothing(tmp_path: Path) -> None:
    with member(tmp_path) as one:
        path = one.host.path(PATH)
        path.parent.parent.mkdir(parents=True)
        path.parent.write_text("in the way")
        agent = one.agent()
        try:
            until(lambda: agent._snapshots._complaint, 20, "it cannot be written")
            path.parent.unlink()
            found = until(lambda: read(path), 20, "it is written")
            assert found.node == NODE and "does not run" in str(found.health.bird)
            assert agent._workers.alive and not agent._workers.failures
        finally:
            agent.stop.set()


def test_another_health_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 10 * PATIENCE)
    with member(tmp_path) as one:
        agent = one.agent()
        path = one.host.path(PATH)
        try:
            until(lambda: read(path), 20, "the first")
            one.order(7, NODE)
            until(lambda: (s := read(path)) is not None and s.health.drained, 30, "it is drained")
        finally:
            agent.stop.set()


def test_an_old_health_is_not_written_under_a_new_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a reporting thread that hangs: the age of the snapshot is what shows it."""
    with member(tmp_path) as one:
        agent, path = one.agent(), one.host.path(PATH)
        try:
            until(lambda: read(path), 20, "it is written")
            monkeypatch.setattr(module, "STALE", 0.0)
            # One that was begun before may still be written.
            agent._snapshots._wake.set()
            until(lambda: not agent._snapshots._wake.is_set(), 20, "the next one is begun")
            until(lambda: _stays_away(path), 20, "it is not written any more")
            agent._snapshots.write()
            assert not path.exists()
        finally:
            agent.stop.set()


def _stays_away(path: Path) -> bool:
    """Whether it is gone; removes it."""
    there = path.exists()
    path.unlink(missing_ok=True)
    return not there


# --- its parts -----------------------------------------------------------------------------------


def config_of(plan_values: dict[str, object], node: str) -> Config:
    plan = plan_of(plan_values)
    files = node_files(plan, placeholder_facts(plan))[node].files
    return parse(Config, next(f.content for f in files if f.path.endswith("agent.json")))


def watch(address: str, problem: str = "", seconds: float = 0.1, port: int = 53) -> CheckState:
    kind = IPv6Address if ":" in address else IPv4Address
    return CheckState(
        TcpCheck(port=port), Target(kind(address), LAX), (4,), problem=problem, seconds=seconds
    )


def test_of_several_addresses_of_a_family_the_worst_counts() -> None:
    asked = (
        watch("192.30.120.1", seconds=0.5),
        watch("192.30.120.2", "refused", 0.1),
        watch("192.30.120.3", "refused", 0.2),
        watch("192.30.120.4", seconds=0.9),
        watch("2620:71:4000::1", seconds=0.3),
        watch("192.30.120.1", port=80),
    )
    assert set(results(("dns", each) for each in asked)) == {
        CheckResult("dns", "tcp port 53", "ipv4", 0.2, False, "refused"),
        CheckResult("dns", "tcp port 53", "ipv6", 0.3, True, ""),
        CheckResult("dns", "tcp port 80", "ipv4", 0.1, True, ""),
    }


def test_a_check_of_all_families_has_none() -> None:
    check = ExecCheck(command="/usr/local/bin/check")
    state = CheckState(check, Target(IPv4Address("127.0.0.1"), LAX), (4, 6))
    (result,) = results([("dns", state)])
    assert result.family is None


def test_a_prefix_is_exported_where_some_upstream_has_it() -> None:
    config = config_of(prod(), LAX)
    four, six = config.aggregates
    health = Health(True, {}, {}, announced={"vultr4": (four,), "vultr6": ()})
    assert exported(config, health) == {str(four): True, str(six): False}
    assert exported(config, Health(True, {}, {}, bird="away")) == {
        str(four): False,
        str(six): False,
    }


@pytest.mark.parametrize("node", ["lax-aws-1", "ord-gcp-1"])
def test_a_member_may_announce_nothing(node: str) -> None:
    assert exported(config_of(with_members(), node), Health(False, {}, {})) == {}
    assert exported(None, Health(False, {}, {})) == {}


def test_a_reader_of_another_version_ignores_what_it_does_not_know(tmp_path: Path) -> None:
    with member(tmp_path) as one:
        agent = one.agent()
        try:
            until(lambda: read(one.host.path(PATH)), 20, "it is written")
            document = json.loads(one.host.path(PATH).read_text())
        finally:
            agent.stop.set()
    assert parse(Snapshot, json.dumps(document | {"later": 1})).node == NODE
    del document["node"]
    with pytest.raises(Malformed):
        parse(Snapshot, json.dumps(document))
