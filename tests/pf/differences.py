"""Where pf is meant to judge otherwise than nftables, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.limits import GLASS_PORT
from tests.pf.packets import DISCOVERY, Packet
from tests.pf.world import HERE, LOST, End

SERVICES = ("192.30.120.100", "2620:71:4000::100")


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference: nftables lets packets through that pf drops."""

    reason: str
    is_one: Callable[[Packet, End], bool]
    """Whether it is the reason, by what nftables does with a packet."""


DIFFERENCES = (
    Difference(
        "neighbor discovery with another hop limit than 255: pf drops it by itself, and with "
        "nftables the receiver does (RFC 4861, 6.1 and 7.1)",
        lambda packet, nft: packet.kind in DISCOVERY and packet.hops != 255 and nft is not LOST,
    ),
    Difference(
        "a segment without SYN that belongs to no state: pf begins none with it, and Linux picks "
        "up a connection in its middle",
        lambda packet, nft: packet.protocol == "tcp" and "S" not in packet.flags and nft == HERE,
    ),
    Difference(
        "the looking glass, which runs on Debian alone",
        lambda packet, nft: packet.protocol == "tcp" and packet.port == GLASS_PORT and nft == HERE,
    ),
    Difference(
        "to a service that another node serves, only what that node lets in as well: pf does not "
        "know whether the kernel leads it there or, where nobody serves it, to the node itself",
        lambda packet, nft: packet.destination in SERVICES and nft not in (HERE, LOST),
    ),
)


def meant(packet: Packet, nft: End, pf: End) -> Difference | None:
    """The difference that explains two verdicts which are not equal."""
    if pf is not LOST:
        return None
    return next((each for each in DIFFERENCES if each.is_one(packet, nft)), None)
