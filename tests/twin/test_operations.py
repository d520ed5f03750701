"""What an operator does with a running mesh, in the order of its life; the last test ends it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesh import netns
from mesh.cli.environment import lab_name
from mesh.lab.containers import reboot_node
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


def test_a_dead_node_is_seen_by_refresh_and_repaired_by_up(twin: Twin) -> None:
    """It comes back as a new instance that joins with its token once more."""
    before = instances(twin)
    twin.mesh("lab", "fault", "power-loss", "mia-vultr-1")
    refreshed = twin.pulumi("refresh", "--yes", "--skip-preview")
    assert operations(refreshed.stdout).get("deleted") == 1
    repaired = twin.pulumi("up", "--yes", "--skip-preview")
    assert operations(repaired.stdout).get("created") == 1
    after = instances(twin)
    assert [node for node in NODES if after[node] != before[node]] == ["mia-vultr-1"]
    for address in SERVICE.values():
        answered_by(twin, "client-mia", address, "mia-vultr-1", 20)


def passed(moment: float) -> bool:
    """Whether a moment of the monotonic clock is over."""
    return time.monotonic() > moment


# Seconds after its machine has started: before cloud-init, within it, within the bootstrap,
# while joining, while applying its first generation.
MOMENTS = (0.2, 0.5, 0.8, 1.1, 1.5, 2.0, 3.0, 4.5)


def test_a_node_that_is_rebooted_at_any_moment_of_its_first_boot_still_joins(twin: Twin) -> None:
    node = "ord-vultr-1"
    before = instances(twin)[node]
    twin.mesh("lab", "fault", "power-loss", node)
    twin.pulumi("refresh", "--yes", "--skip-preview")
    with twin.start("up", "--yes", "--skip-preview") as up:
        until(lambda: instances(twin)[node] not in (before, None), 30, "a new instance")
        for moment in MOMENTS:
            started = time.monotonic()
            until(partial(passed, started + moment), 10, "the moment has come")
            reboot_node(NAME, node, load_world(NAME))
        output = up.communicate(timeout=1200)[0]
    assert up.returncode == 0, output
    until(lambda: answers(twin, node), 20, f"{node} answers")


@pytest.mark.parametrize("node", NODES)
def test_a_node_that_loses_its_power_comes_back_by_itself(twin: Twin, node: str) -> None:
    """From its own disk, into namespaces that know nothing: firewall, addresses, tunnels, BIRD."""
    twin.mesh("lab", "fault", "power-loss", node)
    until(lambda: not answers(twin, node), 30, f"{node} is gone")
    twin.mesh("lab", "heal", node)
    until(lambda: answers(twin, node), 60, f"{node} is back")


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
