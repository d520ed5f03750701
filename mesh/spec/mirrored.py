"""The IPv6 address that belongs to a host of the IPv4 aggregate."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network


def mirrored(host: int, prefix: IPv6Network) -> IPv6Address:
    """The IPv6 address of a slot: the IPv4 host number written in decimal digits.

    Host 17 of the IPv4 aggregate is ``2620:71:4000::17``: easy to read beside the IPv4 one, and
    unique because digits of different numbers differ.
    """
    return prefix[int(str(host), 16)]
