"""Two nodes and their operator, with real daemons: from first boot to the end of the network.

The tests of this file share the boxes and run in order; each leaves a mesh in operation behind.
"""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from mesh.agent import bundle
from mesh.agent.announce_state import AnnounceState
from mesh.content import artefact
from mesh.glass.snapshot import PATH, Generation, Snapshot
from mesh.netns import inside
from mesh.plan import Plan
from mesh.publish import Fleet, PublishError, publish, published, retire
from mesh.publish.choices import Choices
from mesh.publish.generation import make
from mesh.publish.registry_pool import RegistryPool
from mesh.publish.status import MeshStatus, look
from mesh.registry import paths, serve
from mesh.registry.client import Answer, Client
from mesh.registry.registry import Registry
from mesh.registry.serve import Settings
from mesh.registry.store import Store
from mesh.render import File, NodeFiles, node_files
from mesh.services.content import Content
from mesh.trust.documents import DrainOrder
from mesh.trust.encoding import dump, parse, sha256
from mesh.trust.joining import stated_facts
from mesh.trust.keys import signing_public
from mesh.trust.orders import DRAIN
from mesh.trust.signing import Signed
from tests.agent.test_bundle_trial import with_patience
from tests.kit.machine import IMAGES
from tests.kit.machines import AgentMachine, Network, Wire
from tests.kit.registry import certify
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import PATIENCE, patience, until

pytestmark = [pytest.mark.image, pytest.mark.beside_labs]
LAX, ORD = "lax-vultr-1", "ord-vultr-1"
SERVICE = {"192.30.120.100", "2620:71:4000::100"}
OWN = {LAX: {"192.30.120.1", "10.10.10.1"}, ORD: {"192.30.120.9", "10.10.10.2"}}


class Running:
    """The network under test, and what the stack remembers of it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.lax = network.boot(LAX, 11)
        self.ord = network.boot(ORD, 12)
        self.fleet: Fleet | None = None
        self.lines: list[str] = []

    @property
    def boxes(self) -> tuple[AgentMachine, AgentMachine]:
        return self.lax, self.ord

    def publish(self, **changed: Any) -> Fleet:
        self.lines.clear()
        order = self.network.order(**changed)
        self.fleet, _ = publish(order, self.fleet, self.lines.append)
        return self.fleet

    def status(self) -> MeshStatus:
        assert self.fleet is not None
        order = self.network.order()
        return look(order.operator_key, order.registries, self.fleet, order.namespace)

    def in_operation(self) -> None:
        """Sessions up, service bound, announced, on both nodes."""
        for box in self.boxes:
            until(partial(serves, box), 20, f"{box.name} serves")
            until(partial(announces, box), 20, f"{box.name} announces")
        until(lambda: "Established" in mate_session(self.ord), 30, "the mates' session")


@contextmanager
def two_nodes(
    folder: Path, changed: Mapping[str, Any] = MappingProxyType({}), **network: Any
) -> Iterator[Running]:
    """Los Angeles and Chicago in operation, with these keys changed, and these fields of the
    network."""
    values = prod() | dict(changed)
    values["nodes"] = {node: values["nodes"][node] for node in (LAX, ORD)}
    wire = Wire(folder)
    try:
        running = Running(Network(wire, plan_of(values), **network))
        running.publish()
        running.in_operation()
        yield running
    finally:
        wire.close()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # A later bundle shows that it works within seconds, and much later on a busy machine.
    own = with_patience(bundle.build(), 120)
    with two_nodes(tmp_path_factory.mktemp("wire"), bundle=own) as running:
        yield running


def serves(box: AgentMachine) -> bool:
    return box.bound() >= SERVICE


def serves_nothing(box: AgentMachine) -> bool:
    return not box.bound() & SERVICE


def announces(box: AgentMachine) -> bool:
    word = box.path("/run/anycast-mesh/bird/announce.conf").read_bytes()
    return word == AnnounceState(in_service=True).file()


def mate_session(box: AgentMachine) -> str:
    return next((line for name, line in box.sessions().items() if name.startswith("mate4")), "")


def connections(box: AgentMachine) -> list[str]:
    """The TCP connections of BIRD's sessions: a session that was restarted has another one."""
    bgp = "( sport = :179 or dport = :179 )"
    lines = box.run("ss", "-Htn", "state", "established", bgp).splitlines()
    return sorted(" ".join(line.split()[2:4]) for line in lines)


def stands(box: AgentMachine) -> bool:
    """Whether the tunnel's session is up, and one of each family between the tunnel addresses."""
    up = sum("Established" in line for line in box.sessions().values())
    return up == len(connections(box)) == 3


def fingerprint(box: AgentMachine) -> dict[str, tuple[bytes, int]]:
    """All files that a generation writes: content and mode."""
    folders = ("bird", "wireguard", "sysctl.d", "ssh/sshd_config.d", "systemd/system")
    root = box.path("/etc")
    files = [root / "nftables.conf", root / "anycast-mesh/agent.json"]
    files += [f for folder in folders for f in (root / folder).rglob("*") if f.is_file()]
    return {
        str(f.relative_to(root)): (f.read_bytes(), f.stat().st_mode & 0o7777)
        for f in files
        if f.exists() and not f.is_symlink()
    }


def rendering(
    monkeypatch: pytest.MonkeyPatch, node: str, changes: dict[str, Callable[[str], str]]
) -> None:
    """From now on the operator renders these files of this node differently."""

    def bent(*given: Any) -> dict[str, NodeFiles]:
        files = node_files(*given)
        own = files[node]
        assert changes.keys() <= {file.path for file in own.files}
        changed = tuple(
            replace(f, content=changes[f.path](f.content), pieces=()) if f.path in changes else f
            for f in own.files
        )
        return {**files, node: replace(own, files=changed)}

    monkeypatch.setattr("mesh.publish.generation.node_files", bent)


# --- the first generation ------------------------------------------------------------------------


def test_two_nodes_join_by_token_and_apply_what_was_signed(mesh: Running) -> None:
    said = "\n".join(mesh.lines)
    assert "2 of 2 joined" in said
    assert "2 of 2 applied generation 1" in said
    status = mesh.status()
    assert {node: one.state for node, one in status.nodes.items()} == {
        LAX: "applied",
        ORD: "applied",
    }
    until(lambda: mesh.status().nodes[ORD].services == {"web": True}, 10, "it reports its service")
    assert not status.nodes[ORD].tls_mismatches


def test_nodes_find_their_uplink_by_route_and_report_what_they_are(mesh: Running) -> None:
    assert mesh.fleet is not None
    facts = mesh.fleet.members[ORD].facts
    assert (facts.uplink, str(facts.ipv4), str(facts.ipv6)) == (
        "enp9s0",
        "203.0.113.12",
        "2001:db8::c",
    )
    assert str(facts.gateway4) == "203.0.113.254"
    assert facts.instance_id == f"{ORD}-i"
    assert facts.bird == IMAGES
    assert facts.tls_sha256 is None
    certificate = mesh.lax.run(
        "openssl", "x509", "-in", "/var/lib/anycast-mesh/registry/tls.crt", "-outform", "DER",
        "-out", "/tmp/tls.der",
    )  # fmt: skip
    assert certificate == ""
    der = mesh.lax.path("/tmp/tls.der").read_bytes()
    assert mesh.fleet.members[LAX].facts.tls_sha256 == sha256(der)


def test_secrets_arrive_sealed_and_lie_where_only_bird_reads_them(mesh: Running) -> None:
    secret = mesh.ord.path("/etc/bird/mesh/secrets.conf")
    assert "s3cret-of-the-session" in secret.read_text()
    group = mesh.ord.run("stat", "-c", "%U:%G %a", "/etc/bird/mesh/secrets.conf").strip()
    assert group == "root:bird 640"
    for box in mesh.boxes:
        held = box.path("/var/lib/anycast-mesh/state/applied.json").read_bytes()
        assert b"s3cret" not in held


def test_the_tunnels_private_key_is_in_no_configuration(mesh: Running) -> None:
    key = mesh.ord.path("/var/lib/anycast-mesh/keys/wireguard.key")
    assert key.stat().st_mode & 0o7777 == 0o600
    text = mesh.ord.path("/etc/wireguard/wg-lax-vultr-1.conf").read_text()
    assert key.read_text().strip() not in text
    assert mesh.ord.run("wg", "show", "wg-lax-vultr-1", "private-key") == key.read_text()


def test_a_generation_without_news_touches_nothing(mesh: Running) -> None:
    until(lambda: all(map(stands, mesh.boxes)), 30, "sessions are up")
    before = {box.name: (fingerprint(box), connections(box)) for box in mesh.boxes}
    generation = mesh.publish().generation
    assert generation == 2
    assert {b.name: (fingerprint(b), connections(b)) for b in mesh.boxes} == before
    assert mesh.fleet is not None
    assert published(mesh.network.order(), mesh.fleet)


# --- content -------------------------------------------------------------------------------------


@contextmanager
def serving(mesh: Running, folder: Path) -> Iterator[Callable[[str], Fleet]]:
    """The service has this directory as its content; what is yielded publishes another page."""
    plan = mesh.network.plan

    def publish_page(text: str) -> Fleet:
        (folder / "index.html").write_text(text)
        found = artefact(folder)
        content = Content(found.sha256, found.size, len(found.entries))
        services = tuple(replace(one, content=content) for one in plan.services)
        mesh.network.plan = replace(plan, services=services)
        return mesh.publish(contents={one.name: folder for one in services})

    try:
        yield publish_page
    finally:
        mesh.network.plan = plan
    mesh.publish()


def page(box: AgentMachine) -> str:
    return box.path("/var/lib/anycast-mesh/content/web/current/index.html").read_text()


def read_at(box: AgentMachine) -> float:
    """When BIRD read its configuration last (seconds since the epoch)."""
    shown = box.run("birdc", "show", "status").splitlines()[-2]
    return datetime.fromisoformat(shown.removeprefix("Last reconfiguration on ")).timestamp()


def test_a_change_of_content_reaches_all_nodes_and_touches_no_session_and_no_rule(
    mesh: Running, tmp_path: Path
) -> None:
    until(lambda: all(map(stands, mesh.boxes)), 30, "sessions are up")
    with serving(mesh, tmp_path) as publish_page:
        publish_page("one")
        assert [page(box) for box in mesh.boxes] == ["one", "one"]

        def touched() -> list[object]:
            return [*map(ruleset, mesh.boxes), *map(connections, mesh.boxes)]

        before, read = touched(), list(map(read_at, mesh.boxes))
        publish_page("two")
        assert [page(box) for box in mesh.boxes] == ["two", "two"]
        publish_page("one")
        assert [page(box) for box in mesh.boxes] == ["one", "one"]
        assert touched() == before
        # BIRD prints the same time with another last digit now and then.
        assert [read_at(box) for box in mesh.boxes] == pytest.approx(read, abs=0.1)
        assert not [line for line in mesh.lines if "warning" in line and "content" in line]
        contents = mesh.status().nodes[ORD]
        assert contents.state == "applied"
    gone = [box.path("/var/lib/anycast-mesh/content/web") for box in mesh.boxes]
    until(lambda: not any(map(Path.exists, gone)), 30, "what no service has is removed")


# --- roll-back -----------------------------------------------------------------------------------

REFUSED = {
    "bird refuses": (
        "/etc/bird/bird.conf",
        lambda text: text + "\nprotocol nonsense {\n",
        "bird refuses",
    ),
    "nft refuses": (
        "/etc/nftables.conf",
        lambda text: text.replace("accept", "acept"),
        "nft refuses",
    ),
    "sshd refuses": (
        "/etc/ssh/sshd_config.d/00-anycast-mesh.conf",
        lambda text: text + "\nNoSuchOption yes\n",
        "sshd refuses",
    ),
    "a tunnel that runs commands": (
        "/etc/wireguard/wg-lax-vultr-1.conf",
        lambda text: text.replace("[Peer]", "PostDown = touch /tmp/owned\n[Peer]"),
        "not a tunnel's setting",
    ),
    "a setting that is none": (
        "/etc/sysctl.d/99-anycast-mesh.conf",
        lambda text: text + "\n; rm -rf /\nnet.ipv4.ip_forward = $(id)\n",
        "not a kernel setting",
    ),
    "a kernel that says no": (
        "/etc/sysctl.d/99-anycast-mesh.conf",
        lambda text: text + "\nnet.ipv4.no_such_thing = 1\n",
        "sysctl",
    ),
    "an unknown check": (
        "/etc/anycast-mesh/agent.json",
        lambda text: text.replace('"http"', '"gopher"'),
        "agent.json",
    ),
    "no rule for SSH": (
        "/etc/nftables.conf",
        lambda text: "\n".join(line for line in text.splitlines() if "dport 22 " not in line),
        "no rule lets SSH in",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_daemon_refuses_is_rolled_back_and_reported(
    mesh: Running, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    path, change, reason = REFUSED[case]
    before = fingerprint(mesh.ord), connections(mesh.ord), ruleset(mesh.ord)
    rendering(monkeypatch, ORD, {path: change})
    with pytest.raises(PublishError, match=ORD) as caught:
        mesh.publish()
    assert reason in str(caught.value)
    assert (fingerprint(mesh.ord), connections(mesh.ord), ruleset(mesh.ord)) == before
    assert not mesh.ord.path("/tmp/owned").exists()
    assert not list(mesh.ord.path("/etc").rglob("*.mesh-new"))
    monkeypatch.undo()
    mesh.publish()


def snapshot(box: AgentMachine) -> Snapshot:
    """Its last one."""
    return parse(Snapshot, box.path(PATH).read_bytes())


def generations(box: AgentMachine) -> Generation:
    """What its snapshot says of generations."""
    return snapshot(box).generation


def settled(mesh: Running) -> Generation:
    """The same, of the second node, once it says the last one."""
    assert mesh.fleet is not None
    number = mesh.fleet.generation
    until(lambda: generations(mesh.ord).applied == number, 10, "its snapshot has the last one")
    return generations(mesh.ord)


def ruleset(box: AgentMachine) -> str:
    """The rules in force, without the counters of sets that fill by themselves."""
    document = json.loads(box.run("nft", "-j", "list", "ruleset"))
    rules = [entry["rule"] for entry in document["nftables"] if "rule" in entry]
    return json.dumps([{k: v for k, v in rule.items() if k != "handle"} for rule in rules])


BREAKING = {
    "the registry cut off": (
        "/etc/nftables.conf",
        lambda text: text.replace(
            "policy accept;", "policy accept; tcp dport 8443 drop;", 1
        ).replace("type filter hook output priority filter; policy accept;",
                  "type filter hook output priority filter; policy accept; tcp dport 8443 drop;"),
        "no registry can be reached",
    ),
    "a session that does not come back": (
        "/etc/bird/bird.conf",
        lambda text: text.replace("hold time 9;", "hold time 9; password \"wrong\";"),
        "sessions are down that were up before",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BREAKING)
def test_what_is_valid_but_cuts_the_node_off_is_undone_by_itself(
    mesh: Running, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    path, change, reason = BREAKING[case]
    before, then = (fingerprint(mesh.ord), ruleset(mesh.ord)), settled(mesh)
    rendering(monkeypatch, ORD, {path: change})
    with pytest.raises(PublishError, match=ORD) as caught:
        mesh.publish()
    assert reason in str(caught.value)
    until(lambda: generations(mesh.ord).outcome == "failed", 10, "its snapshot says so")
    now = generations(mesh.ord)
    assert reason in now.reason and now.rollbacks == then.rollbacks + 1
    assert now.applied < now.published
    assert (fingerprint(mesh.ord), ruleset(mesh.ord)) == before
    until(lambda: "Established" in mate_session(mesh.ord), 20, "the session is back")
    monkeypatch.undo()
    mesh.publish()


SHUT = {
    "no rule": lambda text: without(text, "goto registry"),
    "a rule that drops": lambda text: text.replace("goto registry", "drop"),
    "its sources alone": lambda text: without(text, "@fleet4 accept").replace(
        "0.0.0.0/0", "192.0.2.0/24"
    ),
}


def without(text: str, words: str) -> str:
    return "\n".join(line for line in text.splitlines() if words not in line) + "\n"


def lets_in(mesh: Running) -> bool:
    """Whether the other node gets a new connection to the registry."""
    connect = f"import socket; socket.create_connection(('203.0.113.11', 8443), {PATIENCE})"
    return "Error" not in mesh.ord.run("sh", "-c", f'python3 -c "{connect}" 2>&1', check=False)


@pytest.mark.parametrize("case", SHUT)
def test_a_firewall_that_shuts_nodes_out_of_their_registry_is_refused_there(
    mesh: Running, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The registry's node asks itself over lo, where every firewall lets it."""
    before = fingerprint(mesh.lax), ruleset(mesh.lax)
    rendering(monkeypatch, LAX, {"/etc/nftables.conf": SHUT[case]})
    with pytest.raises(PublishError, match=LAX) as caught:
        mesh.publish()
    assert "shuts the registry's port 8443 to the nodes at 203.0.113.12" in str(caught.value)
    assert (fingerprint(mesh.lax), ruleset(mesh.lax)) == before
    assert lets_in(mesh)
    monkeypatch.undo()
    mesh.publish()


def test_a_registry_that_is_shut_by_hand_opens_by_itself_and_says_so(mesh: Running) -> None:
    before = ruleset(mesh.lax)
    mesh.lax.run("nft", "insert", "rule", "inet", "mesh", "input", "tcp", "dport", "8443", "drop")
    until(lambda: ruleset(mesh.lax) == before, 60, "it opens")
    assert lets_in(mesh)
    until(lambda: "firewall" in put_right(mesh, LAX), 30, "it says so")
    assert put_right(mesh, ORD) == set()


def put_right(mesh: Running, node: str) -> set[str]:
    return {one.what for one in mesh.status().nodes[node].repairs}


def with_kinds() -> dict[str, Any]:
    """The same two nodes with a web server, a name server, and whoami at another address."""
    values = prod()
    values["nodes"] = {node: values["nodes"][node] for node in (LAX, ORD)}
    at = values["services"]["web"]["addresses"]
    values["services"] = {
        "web": {"kind": "web", "content": "site", "addresses": at},
        "zone": {"kind": "dns", "content": "zones", "addresses": {"ipv4": "192.30.120.101"}},
        "who": {"kind": "whoami", "addresses": {"ipv4": "192.30.120.102"}},
        "shop": {
            "kind": "external", "unit": "shop.service", "addresses": {"ipv4": "192.30.120.103"},
            "ports": {"tcp": [8081]}, "checks": [{"kind": "tcp", "port": 8081}],
        },
    }  # fmt: skip
    return values


APT = """#!/bin/sh
# Stands in for apt, and has the package only where the file says so.
case "$*" in *install*) ;; *) exit 0 ;; esac
if [ -e /run/mirror ]; then mv /usr/sbin/nginx.away /usr/sbin/nginx; exit; fi
echo "E: Unable to locate package nginx" >&2; exit 100
"""


def test_a_generation_brings_daemons_with_their_packages_and_takes_them_back(
    mesh: Running,
) -> None:
    plan, mesh.network.plan = mesh.network.plan, plan_of(with_kinds())
    mesh.ord.run("mv", "/usr/sbin/nginx", "/usr/sbin/nginx.away")
    mesh.ord.machine.put([File("/usr/local/bin/apt-get", APT, 0o755)])
    before = fingerprint(mesh.ord)
    with pytest.raises(PublishError, match=f"{ORD}.*packages nginx: .*Unable to locate package"):
        mesh.publish()
    assert fingerprint(mesh.ord) == before
    assert answered(mesh.ord, "192.30.120.102") == ""
    mesh.ord.path("/run/mirror").touch()
    began = {box.name: connections(box) for box in mesh.boxes}
    # Without content the services go down, which would stop a rollout in waves.
    mesh.publish(choices=Choices(now=True))
    assert mesh.ord.path("/run/stand-in/nginx.service.masked").exists()
    assert not mesh.ord.path("/run/stand-in/nsd.service.masked").exists()
    for box in mesh.boxes:
        until(partial(is_answered, box, "192.30.120.102", f"200 {box.name}"), 10, "who")
        for address in SERVICE:
            until(partial(is_answered, box, address, "503"), 10, f"nothing at {address}")
        until(partial(box.run, "ss", "-Hltn", "src", "192.30.120.101:53"), 10, "a name server")
        assert connections(box) == began[box.name]
    up = {"shop": False, "web": False, "zone": False, "who": True}
    until(lambda: mesh.status().nodes[ORD].services == up, 20, "what has no content is not up")
    until(lambda: mesh.status().nodes[ORD].units == {"shop": "not-found"}, 20, "a unit's state")
    mesh.network.plan = plan
    mesh.publish()
    mesh.in_operation()
    for box in mesh.boxes:
        for address in SERVICE:
            until(partial(is_answered, box, address, f"200 {box.name}"), 10, f"who at {address}")
        assert not box.path("/etc/anycast-mesh/web/web.conf").exists()
        assert not box.run("ss", "-Hltn", "sport", "=", ":53").strip()


def with_receivers(*names: str) -> Plan:
    """The same two nodes, of which Chicago monitors."""
    values = prod()
    values["nodes"] = {node: values["nodes"][node] for node in (LAX, ORD)}
    receivers = {name: {"kind": "webhook"} for name in names}
    return plan_of(values | {"monitoring": {"nodes": [ORD], "receivers": receivers}})


def test_monitoring_comes_with_its_secrets_reads_another_configuration_and_goes(
    mesh: Running,
) -> None:
    plan, folder = mesh.network.plan, "/etc/anycast-mesh/monitoring"
    units = ("anycast-mesh-prometheus.service", "anycast-mesh-alertmanager.service")
    url = "https://192.0.2.1/of-the-receiver"

    def told(path: str, port: int = 9093) -> str:
        return mesh.ord.run("curl", "-s", f"http://127.0.0.1:{port}{path}", check=False)

    def pids() -> list[str]:
        return [mesh.ord.path(f"/run/stand-in/{unit}.pid").read_text() for unit in units]

    try:
        mesh.network.plan = with_receivers("noc")
        mesh.publish(receivers={"noc": url})
        secret = mesh.ord.path(f"{folder}/receivers/noc")
        assert secret.read_text() == url
        shown = mesh.ord.run("stat", "-c", "%a %U %G", f"{folder}/receivers/noc")
        assert shown.split() == ["640", "root", "prometheus"]
        assert not mesh.lax.path(folder).exists()
        until(lambda: "Ready" in told("/-/ready", 9090), 30, "Prometheus is ready")
        until(lambda: "name: noc" in told("/api/v2/status"), 30, "Alertmanager has its receiver")
        began = pids()
        mesh.network.plan = with_receivers("noc", "second")
        mesh.publish(receivers={"noc": url, "second": url})
        until(lambda: "name: second" in told("/api/v2/status"), 10, "and the second one")
        assert pids() == began, "it was reloaded"
    finally:
        mesh.network.plan = plan
        mesh.publish()
    assert not mesh.ord.path(f"{folder}/receivers/noc").exists()
    assert not mesh.ord.run("ss", "-Hltn", "sport", "=", ":9093").strip()


def answered(box: AgentMachine, address: str) -> str:
    """What the box's own daemon says: the status, and the node's name."""
    host = f"[{address}]" if ":" in address else address
    source = "::1" if ":" in address else "127.0.0.1"
    text = box.run(
        "curl", "-gsi", "--max-time", "5", "--interface", f"ifhost!lo!{source}", f"http://{host}/whoami",
        check=False,
    )  # fmt: skip
    code = text.split(" ", 2)[1] if text else ""
    return f"{code} {text.splitlines()[-1]}" if text else ""


def is_answered(box: AgentMachine, address: str, begin: str) -> bool:
    """Whether what it says begins so. What has just been started listens a moment later."""
    return answered(box, address).startswith(begin)


def test_a_part_may_not_write_what_no_daemon_of_ours_reads(
    mesh: Running, monkeypatch: pytest.MonkeyPatch
) -> None:

    def bent(*given: Any) -> dict[str, NodeFiles]:
        files = node_files(*given)
        extra = File("/etc/cron.d/owned", "* * * * * root touch /tmp/owned\n")
        return {**files, ORD: replace(files[ORD], files=(*files[ORD].files, extra))}

    monkeypatch.setattr("mesh.publish.generation.node_files", bent)
    with pytest.raises(PublishError, match=r"/etc/cron\.d/owned: no daemon of ours reads this"):
        mesh.publish()
    assert not mesh.ord.path("/etc/cron.d/owned").exists()
    monkeypatch.undo()
    mesh.publish()


def test_an_agent_killed_in_the_middle_leaves_a_node_that_is_as_before(
    mesh: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry is gone when the agent comes back, so that it cannot simply go on."""
    before = fingerprint(mesh.ord)
    slow = mesh.ord.path("/usr/local/sbin/nft")
    slow.write_text('#!/bin/sh\n[ "$1" = -f ] && sleep 30\nexec /usr/sbin/nft "$@"\n')
    slow.chmod(0o755)
    paths = ("/etc/nftables.conf", "/etc/bird/mesh/network.conf")
    rendering(monkeypatch, ORD, {path: lambda text: text + "# another\n" for path in paths})
    errors: list[BaseException] = []

    def operator() -> None:
        try:
            publish(mesh.network.order(deadline=20.0), mesh.fleet, lambda _: None)
        except PublishError as error:
            errors.append(error)

    thread = threading.Thread(target=operator)
    thread.start()
    journal = mesh.ord.path("/var/lib/anycast-mesh/state/journal.json")
    ruleset_file = mesh.ord.path("/etc/nftables.conf")

    def in_the_middle() -> bool:
        return journal.exists() and b"# another" in ruleset_file.read_bytes()

    until(in_the_middle, 15, "the agent is in the middle")
    mesh.ord.kill("agent")
    assert fingerprint(mesh.ord) != before
    slow.unlink()
    mesh.lax.kill("registry")
    thread.join(patience(40))
    assert errors
    mesh.ord.start("agent")
    until(lambda: not journal.exists(), 15, "the journal is worked off")
    assert fingerprint(mesh.ord) == before
    assert "# another" not in mesh.ord.run("nft", "list", "ruleset")
    mesh.lax.start("registry")
    until(lambda: fingerprint(mesh.ord) != before, 30, "the generation is applied after all")
    monkeypatch.undo()
    mesh.publish()
    assert fingerprint(mesh.ord) == before


# --- registries come and go ----------------------------------------------------------------------


def test_a_node_goes_on_when_every_registry_is_gone(mesh: Running) -> None:
    mesh.lax.kill("registry")
    mesh.ord.kill("agent")
    before = fingerprint(mesh.ord), connections(mesh.ord), mesh.ord.bound()
    began = time.time()
    mesh.ord.start("agent")
    until(lambda: snapshot(mesh.ord).at > began and snapshot(mesh.ord).checks, 10, "checks run")
    time.sleep(3)  # a time in which nothing may happen
    assert (fingerprint(mesh.ord), connections(mesh.ord), mesh.ord.bound()) == before
    assert announces(mesh.ord)
    mesh.lax.start("registry")
    until(lambda: mesh.status().registries == {mesh.network.registries()[LAX]: "ok"}, 20, "back")


def test_what_bird_says_of_itself_is_in_the_agents_log(mesh: Running) -> None:
    def said() -> int:
        return mesh.ord.log("agent").count('bird line="Reconfigured"')

    before = said()
    mesh.ord.run("birdc", "configure")
    until(lambda: said() > before, 5, "it is heard")


def test_a_lower_generation_is_refused_and_the_number_rolls_forward_after_all_is_lost(
    mesh: Running,
) -> None:
    """The registry has lost its memory, and the stack its state; the nodes remember."""
    assert mesh.fleet is not None
    held, members = mesh.fleet.generation, mesh.fleet.members
    assert held > 3
    for box in mesh.boxes:
        box.kill("agent")
    forget_everything(mesh)
    order = mesh.network.order()
    lower = make(order, members, 2, mesh.fleet.network or "")

    def put_lower() -> None:
        desk = RegistryPool(order.operator_key, order.registries)
        until(lambda: try_prepare(desk, mesh), 20, "the registry is back")
        desk.put_generation(lower.generation)
        desk.close()

    inside(order.namespace, put_lower)
    for box in mesh.boxes:
        box.start("agent")
    until(
        lambda: (mesh.status().generation or 0) >= held, 30, "a node has brought back the last one"
    )
    # Whichever node came first has seen the lower one.
    until(lambda: any("not above" in box.log("agent") for box in mesh.boxes), 5, "it says so")
    for box in mesh.boxes:
        applied = json.loads(box.path("/var/lib/anycast-mesh/state/applied.json").read_text())
        assert applied["generation"] == held
    mesh.fleet = None
    assert mesh.publish().generation > held


# --- another network of the same operator key ----------------------------------------------------

OTHER = "as27218-another"


@contextmanager
def stray(mesh: Running, folder: Path) -> Iterator[tuple[str, Registry]]:
    """One more registry, beside the operator, that nobody has told which network it serves."""
    certify(folder)
    public = signing_public(mesh.network.key)
    registry = Registry(Store(f"sqlite:///{folder / 'registry.sqlite3'}"), public)
    where = Settings(folder, public, 9443, "", ("0.0.0.0",))
    server = serve.server(where, registry)
    sockets = inside(mesh.network.wire.operator, lambda: serve.sockets(where))
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets}, daemon=True)
    thread.start()
    try:
        yield STRAY, registry
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        registry.store.close()


STRAY = "https://203.0.113.250:9443"


def refused(mesh: Running) -> dict[str, set[tuple[str, int]]]:
    """What each node refuses, by its own signed word."""
    nodes = mesh.status().nodes
    return {node: {(r.what, r.number) for r in one.refusals} for node, one in nodes.items()}


@pytest.mark.slow
def test_what_another_network_of_the_same_key_offers_is_refused_and_reported(
    mesh: Running, tmp_path: Path
) -> None:
    """Two stacks with one operator key: all that either signs is validly signed for the other."""
    assert mesh.fleet is not None
    both = {**mesh.network.registries(), ORD: STRAY}
    generation = mesh.publish(registries=both).generation  # the nodes learn of the stray one
    theirs = make(mesh.network.order(), mesh.fleet.members, 900, OTHER).generation.manifest
    order = DRAIN.signed(mesh.network.key, DrainOrder(OTHER, 900, (LAX, ORD)))
    with stray(mesh, tmp_path) as (_, registry):
        assert registry.accept_manifest(dump(theirs)) and registry.accept_order(DRAIN, dump(order))
        both_kinds = {("manifest", 900), ("drain", 900)}
        until(lambda: refused(mesh) == {LAX: both_kinds, ORD: both_kinds}, 20, "it is reported")
        reasons = [r.reason for r in mesh.status().nodes[ORD].refusals]
        assert all(f"of the network {OTHER}, and this node is of" in why for why in reasons)
        assert all(why.endswith(f"offered by {STRAY}") for why in reasons)
        # The network's own registries refuse the same from whoever brings it.
        client = inside(mesh.network.wire.operator, lambda: put(mesh, theirs))
        assert client.status == 403 and f"of the network {OTHER}" in client.why()
        for box in mesh.boxes:
            assert serves(box) and announces(box), "and nothing else comes of it"
        # The next publication tells that registry which network it serves.
        assert mesh.publish(registries=both).generation > generation
        until(lambda: refused(mesh) == {LAX: set(), ORD: set()}, 20, "nothing is refused any more")
        assert registry.network == mesh.fleet.network
    mesh.publish()
    mesh.in_operation()


def put(mesh: Running, manifest: Signed) -> Answer:
    with Client(mesh.network.registries()[LAX]) as client:
        return client.ask("PUT", paths.MANIFEST, dump(manifest))


@pytest.mark.slow
def test_a_state_of_another_network_is_said_within_seconds_and_harms_nobody(
    mesh: Running,
) -> None:
    """The registry was made anew, so that only the nodes still know which network they are of."""
    assert mesh.fleet is not None
    right, began = mesh.fleet, time.monotonic()
    before = [connections(box) for box in mesh.boxes]
    mesh.fleet = replace(right, network=OTHER)
    forget_everything(mesh)
    with pytest.raises(PublishError) as failed:
        mesh.publish(deadline=300.0)
    assert time.monotonic() - began < 240, "and not at the deadline, after five minutes"
    for node in (LAX, ORD):
        assert f"{node} refuses generation {right.generation + 1}: of the network" in str(
            failed.value
        )
    assert ("manifest", right.generation + 1) in refused(mesh)[ORD]
    mesh.fleet = right
    with pytest.raises(PublishError, match=f"every registry serves another.*serves {OTHER}"):
        mesh.publish()
    assert [connections(box) for box in mesh.boxes] == before
    forget_everything(mesh)  # the cure: its server is replaced
    assert mesh.publish().network == right.network
    mesh.in_operation()


def forget_everything(mesh: Running) -> None:
    mesh.lax.kill("registry")
    for file in mesh.lax.path("/var/lib/anycast-mesh/registry").glob("registry.sqlite3*"):
        file.unlink()
    mesh.lax.start("registry")


def try_prepare(desk: RegistryPool, mesh: Running) -> bool:
    from mesh.publish.preparation import planned

    desk.prepare(mesh.network.bundle, planned(mesh.network.order(), None))
    return bool(desk.ready)


def test_another_certificate_is_reported_and_stops_nothing(mesh: Running) -> None:
    folder = mesh.lax.path("/var/lib/anycast-mesh/registry")
    kept = folder / "kept"
    kept.mkdir()
    for name in ("tls.key", "tls.crt"):
        shutil.copy(folder / name, kept / name)
    mesh.lax.kill("registry")
    certify(folder)
    mesh.lax.start("registry")
    url = mesh.network.registries()[LAX]
    until(lambda: mesh.status().nodes[ORD].tls_mismatches == (url,), 40, "it is reported")
    # The node's own facts say what the registry shows now, and the next generation names it.
    mesh.lax.kill("agent")
    mesh.lax.start("agent")
    until(lambda: mesh.publish() is not None, 5, "published all the same")
    mesh.lax.kill("registry")
    for name in ("tls.key", "tls.crt"):
        shutil.copy(kept / name, folder / name)
    mesh.lax.start("registry")
    mesh.lax.kill("agent")
    mesh.lax.start("agent")
    until(lambda: mesh.status().registries[url] == "ok", 20, "the registry is back")
    mesh.publish()


# --- health --------------------------------------------------------------------------------------


def test_a_service_that_fails_is_unbound_at_once_and_bound_when_it_is_back(mesh: Running) -> None:
    mesh.in_operation()
    pid = mesh.ord.run("cat", "/run/whoami.pid").strip()
    mesh.ord.run("kill", "-STOP", pid)
    # Two checks of at most a second's wait each, half a second apart, and the machine's own pace.
    until(lambda: not mesh.ord.bound() & SERVICE, 10, "unbound")
    assert mesh.ord.bound() >= OWN[ORD]
    # The peer's instance is reachable over the tunnel: the aggregates stay announced.
    time.sleep(2)
    assert announces(mesh.ord)
    until(lambda: mesh.status().nodes[ORD].services == {"web": False}, 10, "and reported")
    mesh.ord.run("kill", "-CONT", pid)
    until(lambda: mesh.ord.bound() >= SERVICE, 10, "bound again")


def test_the_floor_holds_when_a_check_fails_everywhere(mesh: Running) -> None:
    mesh.in_operation()
    pids = {box.name: box.run("cat", "/run/whoami.pid").strip() for box in mesh.boxes}
    for box in mesh.boxes:
        box.run("kill", "-STOP", pids[box.name])
    for box in mesh.boxes:
        until(partial(serves_nothing, box), 10, f"{box.name} unbound")
    time.sleep(3)  # a time in which nothing may happen
    assert all(announces(box) for box in mesh.boxes)
    for box in mesh.boxes:
        box.run("kill", "-CONT", pids[box.name])
    mesh.in_operation()


def test_a_restart_of_the_agent_moves_no_traffic_and_a_lost_one_withdraws(mesh: Running) -> None:
    mesh.in_operation()
    mesh.ord.kill("agent")
    assert mesh.ord.bound() >= SERVICE
    assert announces(mesh.ord)
    mesh.ord.start("agent")
    for _ in range(20):
        assert mesh.ord.bound() >= SERVICE
        time.sleep(0.1)
    mesh.ord.kill("agent")
    mesh.ord.run("python3", "/var/lib/anycast-mesh/bundle.pyz", "withdraw")
    assert not mesh.ord.bound() & SERVICE
    assert mesh.ord.bound() >= OWN[ORD]
    assert not announces(mesh.ord)
    mesh.ord.start("agent")
    mesh.in_operation()


def test_a_bird_that_starts_anew_is_told_again(mesh: Running) -> None:
    mesh.in_operation()
    mesh.ord.run("systemctl", "restart", "bird.service")
    until(lambda: announces(mesh.ord), 10, "the agent has said it again")
    until(lambda: "Established" in mate_session(mesh.ord), 20, "the mates' session")


def test_an_address_that_somebody_took_away_is_put_back(mesh: Running) -> None:
    mesh.in_operation()
    mesh.ord.run("ip", "address", "del", "192.30.120.100/32", "dev", "dummy0")
    until(lambda: mesh.ord.bound() >= SERVICE, 10, "bound again")


# --- identities and bundles ----------------------------------------------------------------------


def test_a_second_identity_for_an_instance_is_refused_and_a_new_instance_may_join(
    mesh: Running,
) -> None:
    assert mesh.fleet is not None
    identity = mesh.fleet.members[ORD].identity
    mesh.ord.kill("agent")
    mesh.ord.path("/var/lib/anycast-mesh/keys/identity.key").unlink()
    mesh.ord.start("agent")
    until(lambda: identities(mesh) > 1, 20, "somebody else claims the instance")
    with pytest.raises(PublishError, match=f"{ORD}: a second identity claims its instance"):
        mesh.publish(deadline=3.0)
    assert mesh.fleet.members[ORD].identity == identity
    # The same server made anew: another instance, the same token.
    mesh.ord.kill("agent")
    mesh.ord.path("/var/lib/cloud/data/instance-id").write_text("another-i\n")
    mesh.ord.start("agent")
    changed = mesh.network.instances(**{ORD: "another-i"})
    mesh.publish(instances=changed)
    assert mesh.fleet.members[ORD].identity != identity
    mesh.in_operation()
    real = Network.instances
    mesh.network.instances = lambda **ids: real(mesh.network, **({ORD: "another-i"} | ids))  # type: ignore[method-assign]


def identities(mesh: Running) -> int:
    order = mesh.network.order()

    def ask() -> int:
        desk = RegistryPool(order.operator_key, order.registries)
        joins = desk.joins()
        desk.close()
        return len({stated_facts(join).identity for join in joins if join.node == ORD})

    return inside(order.namespace, ask)


def test_an_expired_token_lets_nobody_in(mesh: Running) -> None:
    old = {
        node: replace(one, created="2020-01-01T00:00:00Z")
        for node, one in mesh.network.instances().items()
    }
    # Who is a member already stays one.
    mesh.publish(instances=old)
    mesh_fleet, mesh.fleet = mesh.fleet, None
    with pytest.raises(PublishError, match="its token expired"):
        mesh.publish(instances=old, deadline=2.0)
    mesh.fleet = mesh_fleet


def test_a_later_bundle_is_fetched_by_hash_tried_and_started(mesh: Running) -> None:
    buffer = io.BytesIO(mesh.network.bundle)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("later.txt", "a later bundle")
    later = buffer.getvalue()
    stopped = threading.Event()
    starter = threading.Thread(target=as_systemd, args=(mesh, stopped))
    starter.start()
    try:
        mesh.publish(bundle=later)
    finally:
        stopped.set()
        starter.join()
    for box in mesh.boxes:
        link = box.path("/var/lib/anycast-mesh/bundle.pyz")
        assert str(link.readlink()) == f"bundles/{sha256(later)}.pyz"
        assert announces(box)
    mesh.network.bundle = later


def as_systemd(mesh: Running, stopped: threading.Event) -> None:
    """Starts agents again that have ended."""
    while not stopped.wait(0.1):
        for box in mesh.boxes:
            if box.running["agent"].poll() is not None:
                box.start("agent")


def test_a_bundle_that_does_not_start_is_not_taken(mesh: Running) -> None:
    before = mesh.ord.path("/var/lib/anycast-mesh/bundle.pyz").readlink()
    with pytest.raises(PublishError, match="does not start here"):
        mesh.publish(bundle=b"no zip at all")
    assert mesh.ord.path("/var/lib/anycast-mesh/bundle.pyz").readlink() == before
    mesh.publish()


# --- the end -------------------------------------------------------------------------------------


def test_no_log_holds_a_secret(mesh: Running) -> None:
    from mesh.trust.keys import join_token

    secrets = ["s3cret-of-the-session", mesh.network.key]
    secrets += [join_token(mesh.network.key, node) for node in (LAX, ORD)]
    for box in mesh.boxes:
        for name in ("identity", "sealing", "wireguard"):
            key = box.path(f"/var/lib/anycast-mesh/keys/{name}.key")
            secrets.append(key.read_text().strip())
    for box in mesh.boxes:
        text = box.log("agent") + box.log("registry")
        assert "applied" in text
        assert not [secret for secret in secrets if secret in text]


def test_a_node_that_was_removed_while_it_was_off_serves_nobody(mesh: Running) -> None:
    """No peer knows it any more, and its own service is well; it is back once the plan has it."""
    mesh.in_operation()
    mesh.ord.kill("agent")
    mesh.ord.run("python3", "/var/lib/anycast-mesh/bundle.pyz", "withdraw")
    alone = replace(plan_of(prod() | {"nodes": {LAX: prod()["nodes"][LAX]}}), linger=0)
    mesh.publish(plan=alone, instances={LAX: mesh.network.instances()[LAX]})
    mesh.ord.start("agent")
    until(lambda: "left-out" in mesh.ord.log("agent"), 60, "it learns that it was removed")
    until(partial(serves_nothing, mesh.ord), 10, "it serves nothing")
    assert not announces(mesh.ord)
    mesh.publish()
    mesh.in_operation()


def test_a_retired_network_withdraws_whatever_its_services_say(mesh: Running) -> None:
    mesh.in_operation()
    assert mesh.fleet is not None
    lines: list[str] = []
    retire(mesh.network.order(), mesh.fleet, lines.append)
    assert "2 of 2 withdrawn" in lines
    for box in mesh.boxes:
        assert not box.bound() & SERVICE
        assert not announces(box)
    assert not published(mesh.network.order(), mesh.fleet)
    # Even after a restart; and `up` brings it back.
    mesh.ord.kill("agent")
    mesh.ord.start("agent")
    time.sleep(2)
    assert not announces(mesh.ord)
    mesh.publish()
    mesh.in_operation()
