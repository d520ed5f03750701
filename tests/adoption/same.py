"""The objects that a stack made at the plugin's stand-in, in an account behind the API: the same
ids, addresses and contents."""

from __future__ import annotations

import base64
from ipaddress import IPv6Address

from tests.kit.clouds.cloud import Cloud, Made
from tests.kit.vultr_api import Vultr
from tests.kit.vultr_api.objects import Address, Group, Key, Rule, Server


def account_of(cloud: Cloud, vultr: Vultr) -> None:
    """Fill an empty account with what the stand-in has."""
    for made in cloud.of("SSHKey"):
        inputs = made.inputs
        vultr.keys[made.id] = Key(made.id, Vultr.now(), inputs["name"], inputs["sshKey"])
    for made in cloud.of("ReservedIp"):
        vultr.addresses[made.id] = Address(
            made.id, made.inputs["region"], made.inputs["ipType"], made.outputs["subnet"],
            made.outputs["subnetSize"], made.inputs["label"],
        )  # fmt: skip
    for made in cloud.of("FirewallGroup"):
        now = Vultr.now()
        vultr.groups[made.id] = Group(made.id, now, now, made.inputs["description"])
    for made in cloud.of("FirewallRule"):
        _add_rule(vultr.groups[made.inputs["firewallGroupId"]], made)
    for made in (*cloud.of("Instance"), *cloud.of("BareMetalServer")):
        server = _server(vultr, made)
        vultr.servers[made.id] = server
        vultr.addresses[server.address].instance = made.id
    for made in (*cloud.of("ReverseIpv4"), *cloud.of("ReverseIpv6")):
        server = vultr.servers[made.inputs["instanceId"]]
        if made.kind == "ReverseIpv4":
            server.reverse4 = made.inputs["reverse"]
        else:
            server.reverse6[made.inputs["ip"]] = made.inputs["reverse"]


def _add_rule(group: Group, made: Made) -> None:
    inputs, number = made.inputs, int(made.id)
    group.rules[number] = Rule(
        number, inputs["ipType"], inputs["protocol"], inputs["port"], inputs["subnet"],
        inputs["subnetSize"], inputs["source"], inputs["notes"],
    )  # fmt: skip


def _server(vultr: Vultr, made: Made) -> Server:
    inputs, metal = made.inputs, made.kind == "BareMetalServer"
    address = inputs["reservedIpv4" if metal else "reservedIpId"]
    main6 = made.outputs["v6MainIp"]
    return Server(
        id=made.id, metal=metal, created=made.outputs["dateCreated"], born=vultr.clock(),
        region=inputs["region"], plan=inputs["plan"], os_id=inputs["osId"], label=inputs["label"],
        hostname=inputs["hostname"], tags=list(inputs["tags"]), address=address,
        main_ip=made.outputs["mainIp"], enable_ipv6=inputs["enableIpv6"],
        v6_network=made.outputs["v6Network"],
        v6_main_ip=str(IPv6Address(main6)) if main6 else "",
        firewall_group=inputs.get("firewallGroupId", ""), ssh_keys=tuple(inputs["sshKeyIds"]),
        user_data=base64.b64encode(inputs["userData"].encode()).decode(), ddos_protection=False,
        password="default-password-of-the-plugin", activation_email=False,
    )  # fmt: skip
