"""What an operator does with a running mesh, in the order of its life; the last test ends it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesh import netns
from mesh.cli.environment import lab_name
from mesh.lab.containers import read_state, reboot_node
from mesh.lab.lab_files import files_of
from mesh.lab.world import load as load_world
from tests.kit.sniffer import Sniffer
from tests.kit.stacks import ROOT
from tests.kit.wait import until
from tests.twin.conftest import NAME, NODES, Twin
from tests.twin.test_answers import SERVICE, answered_by

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.twin]


def operations(text: str) -> dict[str, int]:
    """What an update did, from the engine's own summary."""
    return {
        word: int(n) for n, word in re.findall(r"(\d+) (created|updated|deleted|replaced)", text)
    }


def instances(twin: Twin) -> dict[str, str]:
    """The instance of each node."""
    boxes = json.loads(twin.mesh("lab", "list", "--json").stdout)
    return {box["name"]: box["instance_id"] for box in boxes if box["name"] in NODES}


def test_a_second_up_changes_nothing(twin: Twin) -> None:
    before = twin.pulumi("stack", "output", "--json").stdout
    done = twin.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    assert not operations(done.stdout)
    assert twin.pulumi("stack", "output", "--json").stdout == before


def test_a_preview_of_what_stands_changes_nothing(twin: Twin) -> None:
    twin.pulumi("preview", "--expect-no-changes")


def test_the_status_tells_generation_and_state_of_every_node(twin: Twin) -> None:
    # What the tests before have done to it may be held against nodes for a minute more.
    status = until(lambda: well(twin), 90, "all is well")
    assert status is not None and status["problems"] == []
    assert set(status["nodes"]) == set(NODES)
    assert all(node["state"] == "applied" for node in status["nodes"].values())
    assert all(node["generation"] == status["generation"] for node in status["nodes"].values())


def well(twin: Twin) -> dict[str, Any] | None:
    """The status, where it has nothing to complain of."""
    done = twin.mesh("status", "--json", check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return None if done.returncode else found


def test_no_secret_is_seen_in_outputs_previews_or_the_state(twin: Twin) -> None:
    clear = json.loads(twin.pulumi("stack", "export", "--show-secrets").stdout)
    secrets = set(secret_values(clear))
    assert len(secrets) >= 3, "operator key, password and user data at least"
    shown = [
        twin.pulumi("stack", "output", "--json").stdout,
        twin.pulumi("stack", "export").stdout,
        twin.pulumi("preview", "--diff").stdout,
        twin.mesh("status", "--json", check=False).stdout,
    ]
    for secret in secrets:
        for text in shown:
            assert secret not in text


def secret_values(document: object) -> list[str]:
    """Every secret text in an exported state, of a length that cannot occur by chance."""
    if isinstance(document, dict):
        if "plaintext" in document:
            return _texts(json.loads(document["plaintext"]))
        return [text for value in document.values() for text in secret_values(value)]
    if isinstance(document, list):
        return [text for value in document for text in secret_values(value)]
    return []


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    return [value] if isinstance(value, str) and len(value) >= 16 else []


def passed(moment: float) -> bool:
    """Whether a moment of the monotonic clock is over."""
    return time.monotonic() > moment


# Seconds after its machine has started: before cloud-init, within it, within the bootstrap,
# while joining, while applying its first generation.
MOMENTS = (0.2, 0.5, 0.8, 1.1, 1.5, 2.0, 3.0, 4.5)


DEAD, REBOOTED = "mia-vultr-1", "ord-vultr-1"


@dataclass(frozen=True)
class Repair:
    """Two nodes were dead, and one `up` made both anew; one of them was rebooted meanwhile."""

    before: dict[str, str]
    after: dict[str, str]
    refreshed: str
    code: int
    output: str


@pytest.fixture(scope="module")
def repair(twin: Twin) -> Repair:
    before = instances(twin)
    for node in (DEAD, REBOOTED):
        twin.mesh("lab", "fault", "power-loss", node)
    refreshed = twin.pulumi("refresh", "--yes", "--skip-preview").stdout
    with twin.start("up", "--yes", "--skip-preview") as up:
        until(lambda: instance(REBOOTED) not in (before[REBOOTED], None), 30, "a new instance")
        for moment in MOMENTS:
            started = time.monotonic()
            until(partial(passed, started + moment), 10, "the moment has come")
            reboot_node(NAME, REBOOTED, load_world(NAME))
        output = up.communicate(timeout=1200)[0]
    return Repair(before, instances(twin), refreshed, up.returncode, output)


def instance(node: str) -> str | None:
    """The instance of a node, without a command that takes longer than the shortest moment."""
    state = read_state(files_of(NAME), node)
    return None if state is None else state.instance_id


def test_a_dead_node_is_seen_by_refresh_and_repaired_by_up(twin: Twin, repair: Repair) -> None:
    """It comes back as a new instance that joins with its token once more."""
    assert operations(repair.refreshed).get("deleted") == 2
    assert operations(repair.output).get("created") == 2, repair.output
    anew = {node for node in NODES if repair.after[node] != repair.before[node]}
    assert anew == {DEAD, REBOOTED}
    for address in SERVICE.values():
        answered_by(twin, "client-mia", address, DEAD, 20)


def test_a_node_that_is_rebooted_at_any_moment_of_its_first_boot_still_joins(
    twin: Twin, repair: Repair
) -> None:
    assert repair.code == 0, repair.output
    until(lambda: answers(twin, REBOOTED), 20, f"{REBOOTED} answers")


@pytest.mark.parametrize("nodes", [NODES[:2], NODES[2:]], ids=" and ".join)
def test_nodes_that_lose_their_power_come_back_by_themselves(
    twin: Twin, nodes: tuple[str, ...]
) -> None:
    """From their own disks, into namespaces that know nothing: firewall, addresses, tunnels,
    BIRD. Two at a time: they boot side by side."""
    for node in nodes:
        twin.mesh("lab", "fault", "power-loss", node)
    for node in nodes:
        until(lambda n=node: not answers(twin, n), 30, f"{node} is gone")  # type: ignore[misc]
    for node in nodes:
        twin.mesh("lab", "heal", node)
    for node in nodes:
        until(lambda n=node: answers(twin, n), 60, f"{node} is back")  # type: ignore[misc]


def answers(twin: Twin, node: str) -> bool:
    """Whether a client hears a node at its own address, over both families."""
    addresses = {
        "lax-vultr-1": ("192.30.120.1", "2620:71:4000::1"),
        "ord-vultr-1": ("192.30.120.9", "2620:71:4000::9"),
        "ewr-vultr-1": ("192.30.120.17", "2620:71:4000::17"),
        "mia-vultr-1": ("192.30.120.25", "2620:71:4000::25"),
    }[node]
    return all(twin.whoami("client-ord", address) == node for address in addresses)


def test_no_packet_of_the_lab_was_seen_on_the_machines_own_interfaces(
    twin: Twin, sniffer: Sniffer
) -> None:
    until(lambda: twin.whoami("client-lax", SERVICE["ipv4"]), 5, "the lab's own traffic")
    # Traffic of the machine's own shows that the sniffer is not deaf.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.sendto(b"heard", ("127.0.0.1", 9))
    until(lambda: sniffer.heard, 5, "the sniffer hears the loopback interface")
    assert sniffer.lab == []


def test_destroy_leaves_nothing(twin: Twin) -> None:
    twin.mesh("lab", "down")
    name = lab_name()
    assert not list(netns.FOLDER.glob(f"mesh-{name}-*"))
    assert not Path(f"/run/anycast-mesh/{name}").exists()
    assert not Path(f"/var/lib/anycast-mesh/{name}").exists()
    assert f"anycast-mesh/{name}" not in Path("/proc/mounts").read_text()
    assert not [line for line in command_lines() if f"/anycast-mesh/{name}/" in line]
    resources = json.loads(twin.pulumi("stack", "export").stdout)["deployment"].get("resources", [])
    assert [r["type"] for r in resources if r["type"] != "pulumi:pulumi:Stack"] == []


def command_lines() -> list[str]:
    """The command line of every process."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return lines


def test_the_checkout_is_as_it_was(twin: Twin) -> None:
    """Deploying a lab writes under .mesh only: nothing that git would see."""
    command = ["git", "-C", str(ROOT), "status", "--porcelain", "--", "Pulumi.lab.yaml"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
