"""Every rendered file of every node is accepted by the daemon that will read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.agent.announce_state import AnnounceState
from mesh.plan import Plan
from mesh.render import (
    File,
    Seed,
    node_files,
    node_secrets,
    placeholder_facts,
    placeholder_placements,
    user_data,
)
from tests.kit.machine import NEWEST, OLDEST, Debian
from tests.kit.stacks import (
    bent,
    ipv6_alone,
    long_ids,
    one_family,
    one_node,
    one_node_without_ipv6,
    plan_of,
    prod,
    several_prefixes,
    with_members,
    with_sessions,
    without_ipv6,
)

pytestmark = pytest.mark.image


def many_nodes() -> dict[str, Any]:
    """Hubs: more nodes than a full mesh takes, and two reflectors."""
    values = bent("tunnels/fullMesh", 3)
    values["nodes"]["lax-vultr-2"] = {"number": 5}
    values["reflectors"] = ["lax-vultr-1", "ewr-vultr-1"]
    return values


def members_of_ipv6() -> dict[str, Any]:
    """Members and an existing host in a network with IPv6 alone."""
    return ipv6_alone(with_members())


def no_services() -> dict[str, Any]:
    """A network that serves nothing yet."""
    return bent("services", {})


def members_without_a_vpc() -> dict[str, Any]:
    """A member beside the clouds', and an edge whose upstream has IPv4 only."""
    values = with_members()
    values["nodes"]["lax-vultr-2"] = {"number": 8, "announce": False}
    values["nodes"]["ewr-buyvm-1"] = {"number": 7, "host": one_family()}
    return values


def several_with_members() -> dict[str, Any]:
    """Several prefixes, announced at some edges each, and members."""
    values, several = with_members(), several_prefixes()
    return values | {"prefixes": several["prefixes"], "services": several["services"]}


STACKS: dict[str, Callable[[], dict[str, Any]]] = {
    "the seed": prod,
    "no IPv6 anywhere": without_ipv6,
    "one node without IPv6": one_node_without_ipv6,
    "hubs": many_nodes,
    "no services": no_services,
    "IPv6 alone": members_of_ipv6,
    "one node": one_node,
    "members and an existing host": with_members,
    "several prefixes": several_prefixes,
    "several prefixes and members": several_with_members,
    "several sessions": with_sessions,
    "members without a VPC, an edge of one family": members_without_a_vpc,
}
PASSWORDS = dict.fromkeys(("vultr", "gcp", "buyvm", "ewr-buyvm-1-transit-b"), "s3cret")
SEED = Seed(("https://203.0.113.1:8443",), "A" * 43 + "=", "0" * 64, "token")


@pytest.fixture(params=STACKS, scope="module")
def plan(request: pytest.FixtureRequest) -> Plan:
    """One plan of each kind."""
    return plan_of(STACKS[request.param]())


@pytest.fixture(scope="module")
def nodes(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Debian]:
    """A Debian for each node of it, with its files in place."""
    files = node_files(plan, placeholder_facts(plan), placeholder_placements(plan))
    machines = {}
    for node_id, each in files.items():
        machine = Debian(tmp_path_factory.mktemp(node_id))
        machine.put(bird_files(plan, node_id, each.files))
        machines[node_id] = machine
    return machines


def bird_files(plan: Plan, node_id: str, files: Iterable[File]) -> list[File]:
    """The files of a node with what is added on it: secrets, and the announce state at a start."""
    reset = next(f for f in files if f.path.endswith("out-of-service.conf"))
    state = File("/run/anycast-mesh/bird/announce.conf", reset.content)
    return [*files, *node_secrets(plan, node_id, PASSWORDS), state]


COMMANDS: dict[str, tuple[str, ...]] = {
    "BIRD": ("bird", "-p"),
    "nftables": ("nft", "-c", "-f", "/etc/nftables.conf"),
    "sshd": (
        "sh",
        "-c",
        "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key && mkdir -p /run/sshd"
        " && sshd -t",
    ),
    "systemd": (
        "sh",
        "-c",
        "systemd-analyze verify --man=no /etc/systemd/system/anycast-mesh-*.service bird.service"
        " anycast-mesh-tunnel@wg-x.service",
    ),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_the_daemon_accepts_every_nodes_files(
    nodes: dict[str, Debian], command: tuple[str, ...]
) -> None:
    for node_id, machine in nodes.items():
        answer = machine.run(*command)
        assert answer.returncode == 0, f"{node_id}: {answer.stdout}{answer.stderr}"
        assert "rror" not in answer.stderr, f"{node_id}: {answer.stderr}"


@pytest.mark.parametrize("bird", [OLDEST, NEWEST])
@pytest.mark.parametrize("stack", [members_of_ipv6, one_node])
def test_other_birds_accept_one_family(
    stack: Callable[[], dict[str, Any]], bird: str, tmp_path: Path
) -> None:
    plan = plan_of(stack())
    facts = {n: replace(one, bird=bird) for n, one in placeholder_facts(plan).items()}
    for node_id, each in node_files(plan, facts, placeholder_placements(plan)).items():
        machine = Debian(tmp_path / node_id, bird)
        machine.put(bird_files(plan, node_id, each.files))
        answer = machine.run(*COMMANDS["BIRD"])
        assert answer.returncode == 0, f"{node_id}: {answer.stdout}{answer.stderr}"


SCHEMA = """
import sys
from cloudinit.cmd.main import main
for path in sys.argv[1:]:
    main(["cloud-init", "schema", "--config-file", path])
"""
# `cloud-init schema` for several files: to start it takes ten times as long as what it does.


def test_cloud_init_accepts_every_nodes_user_data(tmp_path: Path) -> None:
    plans = [plan_of(values()) for values in STACKS.values()]
    seeds = [
        File(f"/root/{number}/{node.id}", user_data(each, node.id, SEED))
        for number, each in enumerate(plans)
        for node in each.nodes
    ]
    machine = Debian(tmp_path)
    machine.put(seeds)
    answer = machine.run("python3", "-c", SCHEMA, *(seed.path for seed in seeds))
    assert answer.returncode == 0, f"{answer.stdout}{answer.stderr}"
    assert answer.stdout.split("\n") == [*(f"Valid schema {seed.path}" for seed in seeds), ""]
    assert "rror" not in answer.stderr, answer.stderr


def test_wireguard_accepts_every_tunnel(plan: Plan, tmp_path: Path) -> None:
    script = """
set -e
wireguard-go wgt >/dev/null 2>&1
for file in "$@"; do
    wg-quick strip "$file" | wg setconf wgt /dev/stdin
    mapfile -t peers < <(wg show wgt peers)
    echo "$file ${#peers[@]}"
done
"""
    made = node_files(plan, placeholder_facts(plan), placeholder_placements(plan))
    tunnels = [
        replace(file, path=f"/nodes/{node_id}/{Path(file.path).name}")
        for node_id, each in made.items()
        for file in each.files
        if file.path.startswith("/etc/wireguard/")
    ]
    machine = Debian(tmp_path)
    machine.put(tunnels)
    answer = machine.run("bash", "-c", script, "bash", *(file.path for file in tunnels))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == [f"{file.path} 1" for file in tunnels], "one peer each"
    assert (len(tunnels) > 0) == (len(plan.nodes) > 1)


def test_a_tunnel_whose_name_is_too_short_for_its_peer_has_the_peer_as_its_alias(
    tmp_path: Path,
) -> None:
    plan = plan_of(long_ids())
    machine = Debian(tmp_path)
    machine.put(node_files(plan, placeholder_facts(plan))["lax-vultr-1"].files)
    script = """
set -e
mkdir -p /var/lib/anycast-mesh/keys
wg genkey >/var/lib/anycast-mesh/keys/wireguard.key
export WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go
for name in $(cd /etc/wireguard && ls wg-ewr-*.conf); do
    wg-quick up "${name%.conf}" >&2
done
ip -json link show
"""
    answer = machine.run("bash", "-c", script)
    assert answer.returncode == 0, answer.stderr
    links = {link["ifname"]: link.get("ifalias") for link in json.loads(answer.stdout)}
    expected = {
        "wg-ewr-vultr-1": None,
        "wg-ewr-3fbaa60": "ewr-hetzner-1",
        "wg-ewr-77c60bd": "ewr-hetznerserverbank-10",
    }
    assert {name: links[name] for name in expected} == expected


# What a person could get wrong in a template has to be seen by these checks: each breaks a file.
BREAKS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "BIRD": ("etc/bird/bird.conf", "router id", "router idd", COMMANDS["BIRD"]),
    "nftables": ("etc/nftables.conf", "policy drop", "policy drp", COMMANDS["nftables"]),
    "cloud-init": (
        "root/user-data",
        "bootcmd:",
        "bootcmd: 7 #",
        ("cloud-init", "schema", "--config-file", "/root/user-data"),
    ),
    "systemd": (
        "etc/systemd/system/anycast-mesh-dummy.service",
        "ExecStart=/usr/sbin/ip link",
        "ExecStart=ip-of-nobody link",
        COMMANDS["systemd"],
    ),
}


@pytest.mark.parametrize("broken", BREAKS.values(), ids=BREAKS.keys())
def test_the_checks_can_fail(tmp_path: Path, broken: tuple[str, str, str, tuple[str, ...]]) -> None:
    path, old, new, command = broken
    plan = plan_of(prod())
    machine = Debian(tmp_path)
    machine.put(node_files(plan, placeholder_facts(plan))["lax-vultr-1"].files)
    machine.put(node_secrets(plan, "lax-vultr-1", PASSWORDS))
    machine.put([File("/run/anycast-mesh/bird/announce.conf", AnnounceState().file().decode())])
    machine.put([File("/root/user-data", user_data(plan, "lax-vultr-1", SEED))])
    assert machine.run(*command).returncode == 0
    file = machine.folder / "upper" / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    answer = machine.run(*command)
    assert answer.returncode != 0 or "rror" in answer.stderr
