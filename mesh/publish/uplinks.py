"""Uplinks that carry less than planned: the network takes them, and the operator is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.plan import Plan
from mesh.plan.links import WIREGUARD_OVERHEAD
from mesh.publish.order import Member
from mesh.render import tunnel_mtu


def narrow(plan: Plan, members: Mapping[str, Member], known: Mapping[str, Member]) -> Iterator[str]:
    """A sentence for each member whose tunnels carry less than planned because its own uplink
    does. What was so at the last publication, by ``known``, is no news."""
    for node in plan.nodes:
        member, before = members.get(node.id), known.get(node.id)
        if member is None or not node.links:
            continue
        uplink = member.facts.mtu
        planned, fits = max((link.mtu, tunnel_mtu(link, (uplink,))) for link in node.links)
        if fits == planned or (before is not None and before.facts.mtu == uplink):
            continue
        fragments = fits > uplink - WIREGUARD_OVERHEAD
        yield (
            f"{node.id}: its uplink's MTU is {uplink}, so its tunnels take {fits} instead of "
            f"{planned}"
            + (
                ", the least that IPv6 needs, and what fills them goes in fragments; give the "
                f"uplink an MTU of {fits + WIREGUARD_OVERHEAD} or more"
                if fragments
                else ""
            )
        )
