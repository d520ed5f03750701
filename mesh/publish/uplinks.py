"""Uplinks with a smaller MTU than planned: they work, and the operator gets a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.plan import Plan
from mesh.plan.links import WIREGUARD_OVERHEAD
from mesh.publish.order import Member
from mesh.render import tunnel_mtu


def narrow_uplinks(
    plan: Plan, members: Mapping[str, Member], known: Mapping[str, Member]
) -> Iterator[str]:
    """A message for each member whose tunnels have a smaller MTU than planned because of its
    uplink, unless ``known``, the members of the last publication, has the same MTU."""
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
            f"{node.id}: its uplink's MTU is {uplink}, so its tunnels carry {fits} instead of "
            f"{planned}"
            + (
                ", the minimum of IPv6, and full packets are fragmented; give the "
                f"uplink an MTU of {fits + WIREGUARD_OVERHEAD} or more"
                if fragments
                else ""
            )
        )
