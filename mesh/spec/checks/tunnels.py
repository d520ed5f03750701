"""Tunnel addresses, ports and the BFD timers of single links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.spec.aggregates import limited
from mesh.spec.examples import LINK, for_example
from mesh.spec.model import Node, Prefixes, Tunnels
from mesh.spec.problems import Problem
from mesh.spec.section import Sections


def check_tunnels(sections: Sections) -> Iterator[Problem]:
    """Tunnel addresses are private and hold every node's number."""
    tunnels: Tunnels | None = sections.get("tunnels")
    if tunnels is None:
        return
    for family, network in (("ipv4", tunnels.ipv4), ("ipv6", tunnels.ipv6)):
        if not network.is_private:
            yield Problem(
                f"mesh:tunnels.{family}", str(network), "tunnel addresses have to be private",
                for_example("use a range of RFC 1918 or RFC 4193", "tunnels", family),
            )  # fmt: skip
    nodes: Mapping[str, Node] = sections.get("nodes") or {}
    prefixes: Prefixes | None = sections.get("prefixes")
    # The last but one is for exits, and one more for those of each other set of announcers.
    taken = 3 + (0 if prefixes is None else len(limited(prefixes, nodes)))
    for node_id, node in nodes.items():
        narrow = [
            str(network)
            for network, host in (
                (tunnels.ipv4, node.number),
                (tunnels.ipv6, int(str(node.number), 16)),
            )
            if host > network.num_addresses - taken
        ]
        if narrow:
            yield Problem(
                f"mesh:nodes.{node_id}.number", str(node.number),
                f"{' and '.join(narrow)} has no address of that number",
                "give a lower free number or widen mesh:tunnels",
            )  # fmt: skip
        if tunnels.port + node.number - 1 > 65535:
            yield Problem(
                "mesh:tunnels.port", str(tunnels.port),
                f"{node_id} has number {node.number}, and its port would be above 65535",
                "give a lower base port",
            )  # fmt: skip
    for name in tunnels.links:
        ends = name.split(":")
        if len(ends) != 2 or ends[0] == ends[1] or not set(ends) <= set(nodes):
            yield Problem(
                f"mesh:tunnels.links.{name}", name, "a link is named by its two nodes",
                f"write it as {LINK}",
            )  # fmt: skip
