"""The looking glass comes to a network that runs: by its user, its socket and its port, and no
session of BIRD's notices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from mesh.agent import file_paths
from tests.agent.test_node import LAX, ORD, Running, connections, stands, two_nodes
from tests.kit.machines import AgentMachine
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import until

pytestmark = [pytest.mark.image, pytest.mark.beside_labs]
UNIT = "anycast-mesh-glass.service"
ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.settimeout(60)
    s.recv(4096)
    s.sendall(sys.argv[2].encode() + b"\\n")
    print(s.recv(4096).decode())
"""


def values(glass: dict[str, Any]) -> dict[str, Any]:
    """The stack file's, with tunnels that are still up where a busy machine misses packets."""
    found = prod() | {"glass": glass}
    found["tunnels"] = found["tunnels"] | {"bfd": {"interval": 1000, "multiplier": 20}}
    found["nodes"] = {node: found["nodes"][node] for node in (LAX, ORD)}
    return found


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two nodes as they are before there is a looking glass."""
    with two_nodes(tmp_path_factory.mktemp("wire"), values({"enabled": False})) as running:
        until(lambda: all(map(stands, running.boxes)), 30, "sessions are up")
        yield running


def bird(box: AgentMachine) -> int:
    """BIRD's process: it is the same for as long as BIRD has not started anew."""
    return int(box.run("pidof", "bird"))


def asked(box: AgentMachine, socket: str, command: str) -> str:
    """What the looking glass's user hears at a socket of BIRD's."""
    user = ("setpriv", "--reuid=mesh-glass", "--regid=mesh-glass", "--clear-groups")
    return box.run(*user, "python3", "-c", ASK, socket, command, check=False)


def health(box: AgentMachine, address: str) -> str:
    """What the looking glass says at an address, asked from this box."""
    return box.run("curl", "-gsm", "3", f"http://{address}:8080/health", check=False).strip()


def test_it_comes_without_a_flap_and_with_everything_it_needs(mesh: Running) -> None:
    before = {box.name: (connections(box), bird(box)) for box in mesh.boxes}
    assert not any(box.path(file_paths.GLASS_SOCKET).exists() for box in mesh.boxes)
    mesh.network.plan = plan_of(values({}))
    mesh.publish()
    assert {box.name: (connections(box), bird(box)) for box in mesh.boxes} == before
    for box in mesh.boxes:
        where = box.run("stat", "-c", "%a %G", file_paths.GLASS_SOCKET).split()
        assert where == ["660", "mesh-glass"]
        assert box.run("systemctl", "is-active", UNIT).strip() == "active"


def test_its_user_asks_and_changes_nothing(mesh: Running) -> None:
    box = mesh.ord
    assert "0013" in asked(box, file_paths.GLASS_SOCKET, "show status")
    for command in ("configure", "disable all", "down", "reload in all", "debug all all"):
        assert "8007 Access denied" in asked(box, file_paths.GLASS_SOCKET, command)
    assert asked(box, file_paths.BIRD_SOCKET, "show status") == ""


def test_it_evaluates_no_password(mesh: Running) -> None:
    box = mesh.ord
    assert "s3cret" in box.path("/etc/bird/mesh/secrets.conf").read_text()
    user = ("setpriv", "--reuid=mesh-glass", "--regid=mesh-glass", "--clear-groups")
    birdc = f"birdc -s {file_paths.GLASS_SOCKET}"
    names = f"{birdc} show symbols | awk '{{print $1}}'"
    each = f'for each in $({names}); do {birdc} eval "$each"; done; true'
    said = box.run(*user, "sh", "-c", each)
    assert "27218" in said, "a constant"
    assert "s3cret" not in said


def test_nodes_read_each_others_in_the_tunnel(mesh: Running) -> None:
    addresses = ("10.10.10.2", "[fd00:10:10::2]")
    for address in addresses:
        until(partial(health, mesh.lax, address), 20, f"it answers at {address}")
    until(partial(health, mesh.ord, "127.0.0.1"), 20, "and at home")


def test_a_change_of_the_plan_reaches_it_and_no_session_notices(mesh: Running) -> None:
    before = {box.name: (connections(box), bird(box)) for box in mesh.boxes}
    mesh.network.plan = plan_of(values({"port": 8090}))
    mesh.publish()
    read = json.loads(mesh.ord.path("/etc/anycast-mesh/glass.json").read_text())
    assert read["port"] == 8090
    asking = ("curl", "-gsm", "3", "http://10.10.10.2:8090/health")
    until(lambda: mesh.lax.run(*asking, check=False), 20, "it answers at its new port")
    assert health(mesh.lax, "10.10.10.2") == ""
    assert {box.name: (connections(box), bird(box)) for box in mesh.boxes} == before


def test_it_goes_and_leaves_no_socket_and_no_port(mesh: Running) -> None:
    before = {box.name: (connections(box), bird(box)) for box in mesh.boxes}
    mesh.network.plan = plan_of(values({"enabled": False}))
    mesh.publish()
    for box in mesh.boxes:
        assert box.run("systemctl", "is-active", UNIT, check=False).strip() == "inactive"
        assert not box.path("/etc/anycast-mesh/glass.json").exists()
        assert "8090" not in box.run("ss", "-Hltn")
    assert {box.name: (connections(box), bird(box)) for box in mesh.boxes} == before
