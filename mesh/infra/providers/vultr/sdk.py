"""The parts of Vultr's SDK that this program uses: all of it would cost every preview a tenth of a
second."""

from __future__ import annotations

from mesh.infra.providers.submodules import submodules_only

with submodules_only("ediri_vultr"):
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
