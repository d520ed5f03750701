"""Packets of a prefix that some nodes announce: at one that does not, and at one that does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh.lab import namespaces
from mesh.render import node_files, placeholder_facts, placeholder_placements
from mesh.render.replies import REPLIES_TABLE
from tests.kit.machine import Debian
from tests.kit.namespaces import settle, spaces
from tests.kit.stacks import plan_of, several_prefixes
from tests.render.test_packets import heard_as, opened

pytestmark = pytest.mark.image
OTHER, ANNOUNCER = "mia-vultr-1", "lax-vultr-1"
"""One that announces 192.30.120.0/23 only, and one that announces 192.30.124.0/23 as well."""
TUNNEL = {ANNOUNCER: "10.10.10.1", OTHER: "10.10.10.3"}
OWN, CLIENT, PORT = "203.0.113.2", "198.51.100.2", 443
FAR = "192.0.2.9"
"""A client behind the default route."""
SERVED, NOBODYS = "192.30.124.100", "192.30.124.7"
EVERYWHERE = "192.30.120.100"


@dataclass(frozen=True)
class Node:
    """A node between its uplink and its tunnel to the other one, each a namespace of its own."""

    name: str
    uplink: str
    peer: str


@pytest.fixture
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """A node with its settings, firewall and rules, and the routes that BIRD gives the kernel."""
    node_id: str = request.param
    (peer,) = TUNNEL.keys() - {node_id}
    plan = plan_of(several_prefixes())
    files = node_files(plan, placeholder_facts(plan), placeholder_placements(plan))[node_id].files
    machine = Debian(tmp_path)
    machine.put(files)
    with spaces("prefixes", "node", "uplink", "peer") as names:
        made = Node(*names)
        _wire(made, node_id, peer)
        machine.must(
            "sysctl", "-q", "-p", "/etc/sysctl.d/99-anycast-mesh.conf", namespace=made.name
        )
        machine.must("nft", "-f", "/etc/nftables.conf", namespace=made.name)
        for file in files:
            if file.path.endswith("anycast-mesh-replies.service"):
                for line in re.findall(r"^ExecStart=\S+ -4 (.*)$", file.content, re.MULTILINE):
                    namespaces.ip([line], made.name)
        yield made


at_another = pytest.mark.parametrize("node", [OTHER], indirect=True)
at_an_announcer = pytest.mark.parametrize("node", [ANNOUNCER], indirect=True)


def _wire(node: Node, node_id: str, peer: str) -> None:
    tunnel = f"wg-{peer}"
    namespaces.ip([
        "link set lo up", "link add dummy0 type bridge", "link set dummy0 up",
        f"link add enp1s0 type veth peer name enp1s0 netns {node.uplink}",
        f"link add {tunnel} type veth peer name wg-node netns {node.peer}",
        "link set enp1s0 up", f"address add {OWN}/32 dev enp1s0",
        f"link set {tunnel} up", f"address add {TUNNEL[node_id]}/32 dev {tunnel}",
        f"route add {CLIENT} dev enp1s0", f"route add default via {CLIENT}",
        "route add blackhole 192.30.120.0/23", "route add blackhole 192.30.124.0/23",
        f"route add {TUNNEL[peer]} dev {tunnel}",
        f"route add default via {TUNNEL[peer]} dev {tunnel} onlink table {REPLIES_TABLE + 1}",
    ], node.name)  # fmt: skip
    ends = (
        (node.uplink, "enp1s0", [CLIENT], OWN),
        (node.peer, "wg-node", [TUNNEL[peer]], TUNNEL[node_id]),
    )
    for space, link, addresses, gateway in ends:
        settle(space, link, addresses, [])
        namespaces.ip([f"route add default via {gateway} dev {link} onlink"], space)


def bind(space: str, address: str, interface: str) -> None:
    """Somebody serves at this address there."""
    namespaces.ip([f"address add {address}/32 dev {interface}"], space)


@at_another
def test_what_enters_where_its_prefix_is_not_announced_reaches_its_place(node: Node) -> None:
    bind(node.peer, SERVED, "wg-node")
    namespaces.ip([f"route add {SERVED} dev wg-{ANNOUNCER}"], node.name)
    with opened(node.uplink, CLIENT) as client, opened(node.peer, SERVED, PORT) as service:
        assert heard_as(client, service) == CLIENT


@at_another
@pytest.mark.parametrize("address", [SERVED, NOBODYS], ids=["its place is down", "nobody's"])
def test_what_nobody_holds_is_discarded_where_it_enters(node: Node, address: str) -> None:
    bind(node.peer, EVERYWHERE, "wg-node")
    namespaces.ip([f"route add {EVERYWHERE} dev wg-{ANNOUNCER}"], node.name)
    before = counted(node)
    with opened(node.uplink, CLIENT) as client, opened(node.peer, EVERYWHERE, PORT) as service:
        for _ in range(20):
            client.sendto(b"?", (address, PORT))
        assert heard_as(client, service) == CLIENT, "the last packet, for another prefix"
    assert counted(node) - before == 1, "neither back to the upstream nor into the mesh"


def counted(node: Node) -> int:
    """IPv4 packets that the kernel of the node has forwarded."""
    text = namespaces.run(["ip", "netns", "exec", node.name, "cat", "/proc/net/snmp"])
    names, values = (line.split() for line in text.splitlines() if line.startswith("Ip:"))
    return int(values[names.index("ForwDatagrams")])


@at_another
@pytest.mark.parametrize("address", [SERVED, EVERYWHERE], ids=["not its own", "its own"])
def test_a_reply_leaves_where_its_source_is_announced(node: Node, address: str) -> None:
    bind(node.name, address, "dummy0")
    at_home = address == EVERYWHERE
    where = node.uplink if at_home else node.peer
    bind(where, FAR, "enp1s0" if at_home else "wg-node")
    with opened(node.name, address) as service, opened(where, FAR, PORT) as client:
        assert heard_as(service, client) == address


@at_an_announcer
@pytest.mark.parametrize(
    ("source", "heard"), [(SERVED, SERVED), (NOBODYS, ""), (EVERYWHERE, "")],
    ids=["served by others", "nobody's", "what others announce themselves"],
)  # fmt: skip
def test_replies_of_others_leave_at_an_announcer_as_whom_they_serve(
    node: Node, source: str, heard: str
) -> None:
    with opened(node.peer, source) as peer, opened(node.uplink, CLIENT, PORT) as client:
        assert heard_as(peer, client) == heard
