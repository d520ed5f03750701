"""Prometheus and Alertmanager of a network, as Debian's own programs read what is rendered."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import yaml

from mesh.agent.daemons import KINDS
from mesh.lab import namespaces
from mesh.plan import Plan, Role
from mesh.plan.document import read_plan, write_plan
from mesh.render import File, node_files, node_secrets, placeholder_facts
from mesh.render.firewall import rules
from mesh.render.monitors import FOLDER, UNITS
from tests.kit.machine import Machine
from tests.kit.namespaces import spaces
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import until

LAX, MIA, ORD, EWR = "lax-vultr-1", "mia-vultr-1", "ord-vultr-1", "ewr-vultr-1"
RECEIVERS: dict[str, Any] = {
    "chat": {"kind": "slack", "channel": "#noc"},
    "deadman": {"kind": "webhook"},
    "mail": {
        "kind": "email", "to": "noc@example.net", "from": "mesh@example.net",
        "server": "smtp.example.net:587", "user": "mesh", "severities": ["warning", "info"],
    },
    "pager": {"kind": "pagerduty", "severities": ["critical"]},
}  # fmt: skip
SECRETS = {name: f"https://127.0.0.1:9/{name}" for name in RECEIVERS}


def monitored(*nodes: str, **keys: Any) -> Plan:
    section = {"nodes": list(nodes), "receivers": RECEIVERS, "watchdog": "deadman"} | keys
    return plan_of(prod() | {"monitoring": section})


def own(plan: Plan, node: str) -> dict[str, File]:
    """The files of a node by path, with those that are sealed."""
    files = node_files(plan, placeholder_facts(plan))[node].files
    sealed = node_secrets(plan, node, {"vultr": "s3cret"}, SECRETS)
    return {file.path: file for file in (*files, *sealed)}


def test_only_the_named_nodes_have_any_of_it() -> None:
    plan = monitored(LAX)
    for node in plan.nodes:
        paths = {path for path in own(plan, node.id) if path.startswith(FOLDER)}
        units = set(node_files(plan, placeholder_facts(plan))[node.id].units)
        assert bool(paths) is (node.id == LAX)
        assert set(UNITS) <= units if node.id == LAX else not set(UNITS) & units


def test_each_receivers_secret_is_a_file_for_the_daemon_alone() -> None:
    files = own(monitored(LAX), LAX)
    for name, secret in SECRETS.items():
        file = files[f"{FOLDER}/receivers/{name}"]
        assert (file.content, file.mode, file.group) == (secret, 0o640, "prometheus")
    shown = [file.content for path, file in files.items() if "/receivers/" not in path]
    assert not any(secret in text for secret in SECRETS.values() for text in shown)


def test_a_missing_secret_is_named() -> None:
    with pytest.raises(KeyError, match="alertReceiver-chat"):
        node_secrets(monitored(LAX), LAX, {"vultr": "s3cret"}, {})


def test_the_operator_reaches_both_through_ssh_where_they_run() -> None:
    plan = monitored(LAX)
    for node in (LAX, MIA):
        sshd = own(plan, node)["/etc/ssh/sshd_config.d/00-anycast-mesh.conf"].content
        assert "127.0.0.1:8080" in sshd
        assert all((f"127.0.0.1:{port}" in sshd) is (node == LAX) for port in (9090, 9093))


def asked(plan: Plan) -> dict[str, list[str]]:
    """The targets of Prometheus at Los Angeles, by node."""
    text = own(plan, LAX)[f"{FOLDER}/prometheus.yml"].content
    (mesh,) = (
        each for each in yaml.safe_load(text)["scrape_configs"] if each["job_name"] == "mesh"
    )
    return {each["labels"]["node"]: each["targets"] for each in mesh["static_configs"]}


def test_every_node_is_asked_at_its_tunnel_address() -> None:
    plan = monitored(LAX)
    assert asked(plan) == {node.id: [f"[{node.tunnel.ipv6}]:8080"] for node in plan.nodes}


def test_a_node_without_a_looking_glass_is_not_asked() -> None:
    values = prod() | {"monitoring": {"nodes": [LAX], "receivers": RECEIVERS}}
    values["nodes"][MIA]["os"] = "openbsd"
    assert asked(plan_of(values)).keys() == {LAX, ORD, EWR}


def test_several_alertmanagers_hear_each_other_and_nobody_else_does() -> None:
    plan = monitored(LAX, MIA)
    unit = own(plan, LAX)["/etc/systemd/system/anycast-mesh-alertmanager.service"].content
    assert f"--cluster.peer=[{plan.node(MIA).tunnel.ipv6}]:9094" in unit
    for node in plan.nodes:
        opened = [line for line in rules(plan, node)["tunnel"] if "dport 9094" in line]
        assert bool(opened) is (Role.MONITOR in node.roles)
        assert all(f"saddr @monitors{'46'['ip6' in line]}" in line for line in opened)
    alone = monitored(LAX)
    unit = own(alone, LAX)["/etc/systemd/system/anycast-mesh-alertmanager.service"].content
    assert "--cluster.listen-address=\n" in unit, "an empty address switches it off"
    assert not [line for line in rules(alone, alone.node(LAX))["tunnel"] if "9094" in line]


def test_no_page_of_another_site_reads_what_prometheus_knows() -> None:
    unit = own(monitored(LAX), LAX)["/etc/systemd/system/anycast-mesh-prometheus.service"].content
    assert " --web.cors.origin=http://localhost:9090 " in unit


def test_a_plan_of_an_earlier_version_monitors_nothing() -> None:
    document = json.loads(write_plan(plan_of(prod())))
    del document["monitoring"]
    assert read_plan(json.dumps(document)).monitoring is None


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A Debian with the files of a node of two that monitor."""
    with spaces("monitor", "n") as (space,):
        made = Machine(tmp_path_factory.mktemp("monitor"), space)
        try:
            made.put(own(monitored(LAX, MIA), LAX).values())
            yield made
        finally:
            made.close()


@pytest.mark.image
class TestByDebiansPrograms:
    """What Debian's Prometheus and Alertmanager make of it."""

    @pytest.mark.parametrize("plan", [
        monitored(LAX), monitored(LAX, MIA), monitored(LAX, receivers={}, watchdog=None),
    ], ids=["one", "two", "nobody is told"])  # fmt: skip
    def test_they_take_it(self, machine: Machine, plan: Plan) -> None:
        machine.put(file for path, file in own(plan, LAX).items() if path.startswith(FOLDER))
        assert "SUCCESS" in machine.output(
            "promtool", "check", "config", f"{FOLDER}/prometheus.yml"
        )
        assert "SUCCESS" in machine.output("amtool", "check-config", f"{FOLDER}/alertmanager.yml")

    @pytest.mark.parametrize(
        ("labels", "told"),
        [
            (("alertname=MeshNodeDown", "severity=critical"), "chat,pager"),
            (("alertname=MeshTunnelDown", "severity=warning"), "chat,mail"),
            (("alertname=MeshDrained", "severity=info"), "mail"),
            (("alertname=MeshWatchdog", "severity=none"), "deadman"),
            (("alertname=Other",), "(nobody)"),
        ],
    )
    def test_an_alert_reaches_whom_it_concerns(
        self, machine: Machine, labels: tuple[str, ...], told: str
    ) -> None:
        machine.put(own(monitored(LAX), LAX).values())
        routes = ("amtool", "config", "routes", "test", f"--config.file={FOLDER}/alertmanager.yml")
        assert machine.output(*routes, *labels).strip() == told


KNOCK = """
import os, pwd, socket, sys
server = socket.create_server(("127.0.0.1", 9093))
for user in sys.argv[1:]:
    if (child := os.fork()) == 0:
        os.setuid(pwd.getpwnam(user).pw_uid)
        os._exit(socket.socket().connect_ex(("127.0.0.1", 9093)) != 0)
    print(user, os.waitpid(child, 0)[1] == 0)
"""


@pytest.mark.image
def test_no_service_of_the_node_silences_an_alert(machine: Machine) -> None:
    """Alertmanager takes silences from whoever connects."""
    machine.put([own(monitored(LAX), LAX)["/etc/nftables.conf"], File("/root/knock.py", KNOCK)])
    machine.output("ip", "link", "set", "lo", "up")
    machine.output("nft", "-f", "/etc/nftables.conf")
    users = ("root", "prometheus", "www-data", "nobody")
    said = machine.output("python3", "/root/knock.py", *users).split()
    let_in = dict(zip(said[::2], said[1::2], strict=True))
    assert let_in == {
        "root": "True", "prometheus": "True", "www-data": "False", "nobody": "False",
    }  # fmt: skip


EXPLAINED: dict[str, tuple[dict[str, str], dict[str, str], bool]] = {
    "what a node that is down says itself": (
        {"alertname": "MeshNodeDown", "node": LAX, "severity": "critical"},
        {"alertname": "MeshUpstreamDown", "node": LAX, "severity": "critical"},
        True,
    ),
    "what its peers say of it": (
        {"alertname": "MeshNodeDown", "node": LAX, "severity": "critical"},
        {"alertname": "MeshTunnelDown", "node": ORD, "peer": LAX, "severity": "warning"},
        True,
    ),
    "and of another one": (
        {"alertname": "MeshNodeDown", "node": LAX, "severity": "critical"},
        {"alertname": "MeshTunnelDown", "node": ORD, "peer": EWR, "severity": "warning"},
        False,
    ),
    "what a monitor without BIRD believes": (
        {"alertname": "MeshBirdDown", "node": LAX, "severity": "critical"},
        {"alertname": "MeshPrefixNotAnnounced", "prefix": "192.30.120.0/23"},
        True,
    ),
    "what it says of others": (
        {"alertname": "MeshBirdDown", "node": LAX, "severity": "critical"},
        {"alertname": "MeshNodeDown", "node": ORD, "severity": "critical"},
        True,
    ),
    "what it knows of itself": (
        {"alertname": "MeshBirdDown", "node": LAX, "severity": "critical"},
        {"alertname": "MeshGenerationFailed", "node": LAX, "severity": "critical"},
        False,
    ),
    "a ticket of a node without BIRD": (
        {"alertname": "MeshBirdDown", "node": MIA, "severity": "critical"},
        {"alertname": "MeshServiceDownAtNode", "node": MIA, "severity": "warning"},
        True,
    ),
    "what wakes somebody": (
        {"alertname": "MeshBirdDown", "node": MIA, "severity": "critical"},
        {"alertname": "MeshGlassOpen", "node": MIA, "severity": "critical"},
        False,
    ),
    "a node that is drained": (
        {"alertname": "MeshDrained", "node": EWR, "severity": "info"},
        {"alertname": "MeshNotAnnouncing", "node": EWR, "severity": "critical"},
        True,
    ),
    "a node that has been drained for long": (
        {"alertname": "MeshDrained", "node": EWR, "severity": "info"},
        {"alertname": "MeshDrainedLong", "node": EWR, "severity": "warning"},
        False,
    ),
    "the last nodes of a service that nobody serves": (
        {"alertname": "MeshServiceDownEverywhere", "service": "web", "severity": "critical"},
        {"alertname": "MeshServiceOnOneNode", "service": "web", "severity": "warning"},
        True,
    ),
    "those of another service": (
        {"alertname": "MeshServiceDownEverywhere", "service": "web", "severity": "critical"},
        {"alertname": "MeshServiceOnOneNode", "service": "east", "severity": "warning"},
        False,
    ),
}


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A Debian whose Alertmanager runs as its unit says, for one node that monitors."""
    with spaces("alerts", "n") as (space,):
        namespaces.ip(["link set lo up"], space)
        made = Machine(tmp_path_factory.mktemp("alerts"), space)
        files = own(monitored(LAX), LAX)
        unit = files["/etc/systemd/system/anycast-mesh-alertmanager.service"].content
        (line,) = (each for each in unit.splitlines() if each.startswith("ExecStart="))
        daemon = None
        try:
            made.put(files.values())
            command = line.removeprefix("ExecStart=").split()
            with (tmp_path_factory.mktemp("log") / "log").open("w") as log:
                daemon = subprocess.Popen([*made.enter, *command], stdout=log, stderr=log)
            asks = partial(made.output, *TOOL, "alert", "query", check=False)
            until(lambda: "Alertname" in asks(), 20, "it answers")
            yield made
        finally:
            if daemon is not None:
                daemon.kill()
                daemon.wait()
            made.close()


TOOL = ("amtool", "--alertmanager.url=http://127.0.0.1:9093")


def state(machine: Machine, labels: dict[str, str]) -> str:
    """What Alertmanager makes of an alert: ``active`` or ``suppressed``; empty before it has it."""
    asked = [f"{key}={value}" for key, value in labels.items()]
    query = (*TOOL, "alert", "query", "--output=json", "--active", "--inhibited", *asked)
    found = json.loads(machine.output(*query))
    return str(found[0]["status"]["state"]) if found else ""


@pytest.mark.image
@pytest.mark.parametrize(("why", "what", "explained"), EXPLAINED.values(), ids=EXPLAINED)
def test_what_is_explained_rings_nobody(
    alertmanager: Machine, why: dict[str, str], what: dict[str, str], explained: bool
) -> None:
    for labels in (why, what):
        given = [f"{key}={value}" for key, value in labels.items()]
        alertmanager.output(*TOOL, "alert", "add", *given)
    wanted = "suppressed" if explained else "active"
    until(lambda: state(alertmanager, what) == wanted, 10, f"it is {wanted}")
    for labels in (why, what):
        given = [f"{key}={value}" for key, value in labels.items()]
        alertmanager.output(*TOOL, "alert", "add", "--end=2020-01-01T00:00:00Z", *given)


@pytest.mark.parametrize("path", [path for path in own(monitored(LAX), LAX) if FOLDER in path])
def test_the_agent_has_a_kind_for_each_file(path: str) -> None:
    kind = next((one for one in KINDS if one.has(path)), None)
    assert kind is not None
    assert kind.name == "monitoring"
