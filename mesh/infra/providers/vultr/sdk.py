"""What this program uses of Vultr's SDK, and no more of it: the whole would cost every preview
another tenth of a second."""

from __future__ import annotations

from mesh.infra.providers.narrow import narrowed

with narrowed("ediri_vultr"):
    from ediri_vultr.bare_metal_server import BareMetalServer
    from ediri_vultr.firewall_group import FirewallGroup
    from ediri_vultr.firewall_rule import FirewallRule
    from ediri_vultr.instance import Instance
    from ediri_vultr.reserved_ip import ReservedIp
    from ediri_vultr.reverse_ipv4 import ReverseIpv4
    from ediri_vultr.reverse_ipv6 import ReverseIpv6
    from ediri_vultr.ssh_key import SSHKey

__all__ = [
    "BareMetalServer",
    "FirewallGroup",
    "FirewallRule",
    "Instance",
    "ReservedIp",
    "ReverseIpv4",
    "ReverseIpv6",
    "SSHKey",
]
