"""What each provider can do, as facts: one entry each, with its source.

How servers are made at a provider is its driver's concern (``mesh/infra/providers``); what the
plan must know of it stands here, so that a stack can be checked without any SDK.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider's abilities.

    ``announces`` is False with the reason in ``refusal`` where it does not take a customer's
    announcement from an instance. ``mtu`` is the path MTU between its instances and the Internet.
    """

    name: str
    announces: bool
    mtu: int
    peer_asn: int | None = None
    peer_ipv4: IPv4Address | None = None
    peer_ipv6: IPv6Address | None = None
    multihop: int | None = None
    password: bool = False
    refusal: str = ""


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        # docs.vultr.com, "Configuring BGP on Vultr": AS64515, multihop 2, TCP MD5 per account.
        Provider(
            name="vultr",
            announces=True,
            mtu=1500,
            peer_asn=64515,
            peer_ipv4=IPv4Address("169.254.169.254"),
            peer_ipv6=IPv6Address("2001:19f0:ffff::1"),
            multihop=2,
            password=True,
        ),
        # AWS announces a customer's prefix itself (BYOIP); it takes no BGP from an instance
        # but inside a VPC (Route Server).
        Provider(
            name="aws",
            announces=False,
            mtu=1500,
            refusal="AWS takes no announcement to the Internet from an instance",
        ),
        # cloud.google.com/vpc/docs/mtu: 1460 by default; BGP with a Cloud Router inside the VPC.
        Provider(
            name="gcp",
            announces=False,
            mtu=1460,
            refusal="GCP takes no announcement to the Internet from an instance",
        ),
    )
}
"""The table: a new provider is one entry here and one driver."""
