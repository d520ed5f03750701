"""Servers of four cities by the resources alone: no driver, no nodes, no generation.

``resources:cities`` is how many, ``resources:plan`` their plan, ``resources:reverse`` a domain;
with ``resources:together`` none waits for the first.
"""

from __future__ import annotations

import pulumi
from pulumi import Output, ResourceOptions

from mesh.infra.dynamic.identity import Identity
from mesh.infra.dynamic.vultr.address import Address
from mesh.infra.dynamic.vultr.firewall import Firewall, RuleArgs
from mesh.infra.dynamic.vultr.instance import Instance, InstanceArgs
from mesh.infra.dynamic.vultr.key import Key
from mesh.infra.dynamic.vultr.reverse import Reverse

CITIES = ("lax", "ord", "mia", "ewr")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOzLkBfCCCiF1hsuWNaM5XrCJ2wmjKnHdBlfRAJQxvhH operator"

given = pulumi.Config("resources")
count = given.get_int("cities") or len(CITIES)
nodes = {f"{CITIES[i % 4]}-vultr-{i // 4 + 1}": CITIES[i % 4] for i in range(count)}
reverse = given.get("reverse")
sources = given.get_object("sources") or ["192.0.2.7"]

identity = Identity("identity").identity
addresses = {node: Address(f"{node}-address", identity, node, at) for node, at in nodes.items()}
key = Key("key", identity, KEY)
# Two ports, each from every source, and a rule for a handful of nodes' own addresses.
rules = [RuleArgs(f"ssh-{each}", 4, "tcp", each, 32, "22") for each in sources]
rules += [
    RuleArgs(f"wireguard-{node}", 4, "udp", address.ipv4, 32, "51820:51840")
    for node, address in list(addresses.items())[:4]
]
rules.append(RuleArgs("icmp-v6", 6, "icmp", "2001:db8:0:0::", 32, ""))
group = Firewall("firewall", identity, rules)
first: list[Instance] = []
for node, at in nodes.items():
    args = InstanceArgs(
        identity=identity,
        node=node,
        region=at,
        plan=given.get("plan") or "vc2-1c-1gb",
        os_id=2625,
        address_id=addresses[node].id,
        firewall_group_id=group.id,
        ssh_key_ids=[key.id],
        enable_ipv6=True,
        ddos_protection=False,
        hostname=node,
        tags=["anycast-mesh", pulumi.get_stack()],
        user_data=Output.secret(f"#cloud-config\nhostname: {node}\n{given.get('more') or ''}"),
    )
    settled = ["user_data", "os_id", "ssh_key_ids", "hostname"]
    after = [] if given.get_bool("together") else first[:1]
    instance = Instance(
        f"{node}-instance",
        args,
        ResourceOptions(depends_on=after, ignore_changes=settled, delete_before_replace=True),
    )
    first.append(instance)
    if reverse:
        for family, ip in (("v4", addresses[node].ipv4), ("v6", instance.ipv6)):
            Reverse(f"{node}-reverse-{family}", instance.id, ip, f"{node}.{reverse}",
                    ResourceOptions(parent=instance))  # fmt: skip
