"""What each rule lets through and what it refuses, on inputs as the providers' SDKs name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mesh.plan.document import write_plan
from mesh.plan.model import FirewallRule
from mesh.policy.resource import Resource
from mesh.policy.rules import (
    Settings,
    ipv6_where_planned,
    no_own_ssh_port_from_anywhere,
    no_plain_secret,
    no_ssh_from_anywhere,
    protected_addresses,
    tagged_servers,
    two_ssh_keys,
)
from tests.kit.previews import NODE, PUBLISH, STACK
from tests.kit.program import KEYS
from tests.kit.stacks import bent, one_node_without_ipv6, plan_of, prod

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
UNKNOWN_LIST = "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2"
VULTR_RULE = "vultr:index/firewallRule:FirewallRule"
VULTR_GROUP = "pulumi-python:dynamic/vultr:Firewall"
AWS_RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
AWS_GROUP = "aws:ec2/securityGroup:SecurityGroup"
PEM = "-----BEGIN"
AWS_DEFAULT = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
EIGHTS = [f"{first}.0.0.0/8" for first in range(256)]
AWS_GROUP_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
GCP_RULE = "gcp:compute/firewall:Firewall"


def resource(type_: str, props: Mapping[str, Any], **more: Any) -> Resource:
    return Resource(type_, "it", props, **more)


def vultr(port: str | None, subnet: str = "0.0.0.0", size: Any = 0, protocol: str = "tcp") -> Any:
    rule = {"ipType": "v4", "protocol": protocol, "subnet": subnet, "subnetSize": size}
    return rule | ({} if port is None else {"port": port})


def group(*rules: tuple[str, str, Any, str]) -> Any:
    """A group of our own: protocol, subnet, size and port of each rule."""
    keys = ("protocol", "subnet", "size", "port")
    return {"rules": [{"family": 4, **dict(zip(keys, rule, strict=True))} for rule in rules]}


def aws(first: Any, last: Any, protocol: str = "tcp", **networks: str) -> Any:
    return {"ipProtocol": protocol, "fromPort": first, "toPort": last, **networks}


def gcp(ports: Any, sources: Any = ("0.0.0.0/0",), protocol: str = "tcp", **more: Any) -> Any:
    allowed = {"protocol": protocol} | ({} if ports is None else {"ports": ports})
    return {"allows": [allowed], "sourceRanges": list(sources), **more}


OLD = {"protocol": "tcp", "fromPort": 0, "toPort": 65535, "cidrBlocks": ["0.0.0.0/0"]}
V6 = {"protocol": "tcp", "fromPort": 22, "toPort": 22, "ipv6CidrBlocks": ["::/0"]}


@pytest.mark.parametrize(
    ("type_", "props", "refused"),
    [
        (VULTR_RULE, vultr("22"), True),
        (VULTR_RULE, vultr("20:30"), True),
        (VULTR_RULE, vultr(None), True),
        (VULTR_RULE, vultr("22", "::", 0), True),
        (VULTR_RULE, vultr("22", "128.0.0.0", 1), True),
        (VULTR_RULE, vultr("22", "0.0.0.0", 0.0), True),
        (VULTR_RULE, vultr("22", "207.231.1.46", 32), False),
        (VULTR_RULE, vultr("22", "2001:db8::", 32), False),
        (VULTR_RULE, vultr("443"), False),
        (VULTR_RULE, vultr("22", protocol="udp"), False),
        (VULTR_RULE, vultr("22", UNKNOWN, 0), False),
        (VULTR_RULE, vultr("22", protocol="TCP"), True),
        (VULTR_RULE, vultr("22", "10.0.0.0", 7), True),
        (VULTR_RULE, vultr("22", "10.0.0.0", 8), False),
        (VULTR_RULE, vultr("22", "2000::", 15), True),
        (VULTR_GROUP, group(("tcp", "0.0.0.0", 0, "22")), True),
        (VULTR_GROUP, group(("tcp", "0.0.0.0", 0.0, "20:30")), True),
        (VULTR_GROUP, group(("tcp", "0.0.0.0", 1, "22"), ("tcp", "128.0.0.0", 1, "22")), True),
        (VULTR_GROUP, group(("tcp", "0.0.0.0", 0, "443"), ("tcp", "192.0.2.1", 32, "22")), False),
        (VULTR_GROUP, group(("udp", "0.0.0.0", 0, "22"), ("icmp", "::", 0, "")), False),
        (VULTR_GROUP, group(("tcp", UNKNOWN, 32, "22")), False),
        (VULTR_GROUP, {"rules": UNKNOWN_LIST}, False),
        (AWS_RULE, aws(22, 22, "TCP", cidrIpv4="0.0.0.0/0"), True),
        (AWS_RULE, aws(22, 22, "6", cidrIpv4="0.0.0.0/0"), True),
        (AWS_DEFAULT, {"ingress": [OLD]}, True),
        (AWS_DEFAULT, {"ingress": [OLD | {"protocol": "ALL"}]}, True),
        (AWS_DEFAULT, {"ingress": [OLD | {"cidrBlocks": ["10.0.0.0/8", "12.0.0.0/8"]}]}, False),
        (AWS_DEFAULT, {"ingress": [OLD | {"cidrBlocks": ["10.0.0.0/8", "11.0.0.0/8"]}]}, True),
        (AWS_DEFAULT, {"ingress": [OLD | {"cidrBlocks": EIGHTS}]}, True),
        (AWS_DEFAULT, {"ingress": [OLD | {"protocol": "udp"}]}, False),
        (GCP_RULE, gcp(["22"], protocol="TCP"), True),
        (AWS_RULE, aws(22, 22, cidrIpv4="0.0.0.0/0"), True),
        (AWS_RULE, aws(0, 65535, cidrIpv6="::/0"), True),
        (AWS_RULE, {"ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0"}, True),
        (AWS_RULE, aws(22, 22, cidrIpv4="198.51.100.0/24"), False),
        (AWS_RULE, aws(179, 179, cidrIpv4="0.0.0.0/0"), False),
        (AWS_RULE, aws(22, 22, referencedSecurityGroupId="sg-1"), False),
        (AWS_RULE, aws(22, 22, "udp", cidrIpv4="0.0.0.0/0"), False),
        (AWS_RULE, aws(22, 22, cidrIpv4=UNKNOWN), False),
        (AWS_GROUP, {"ingress": [OLD]}, True),
        (AWS_GROUP, {"ingress": [V6]}, True),
        (AWS_GROUP, {"ingress": [OLD | {"cidrBlocks": ["10.0.0.0/8"]}]}, False),
        (AWS_GROUP, {"egress": [OLD]}, False),
        (AWS_GROUP, {"ingress": UNKNOWN_LIST}, False),
        (AWS_GROUP_RULE, OLD | {"type": "ingress"}, True),
        (AWS_GROUP_RULE, OLD | {"type": "egress"}, False),
        (GCP_RULE, gcp(["22"]), True),
        (GCP_RULE, gcp(["80", "20-30"]), True),
        (GCP_RULE, gcp(None), True),
        (GCP_RULE, gcp(["22"], ["::/0"]), True),
        (GCP_RULE, gcp(None, protocol="all"), True),
        (GCP_RULE, gcp(["22"], []), True),
        (GCP_RULE, gcp(["22"], [], sourceTags=["bastion"]), False),
        (GCP_RULE, gcp(["22"], ["198.51.100.0/24"]), False),
        (GCP_RULE, gcp(["443"]), False),
        (GCP_RULE, gcp(["22"], direction="EGRESS"), False),
        (GCP_RULE, gcp(["22"], disabled=True), False),
        (GCP_RULE, {"allows": [{"protocol": "tcp"}], "sourceRanges": UNKNOWN_LIST}, False),
    ],
)
def test_no_provider_s_firewall_opens_ssh_to_the_world(
    type_: str, props: Any, refused: bool
) -> None:
    found = list(no_ssh_from_anywhere(resource(type_, props), {}))
    assert bool(found) == refused, found
    assert list(no_ssh_from_anywhere(resource(type_, props), {"allowWorld": True})) == []


def publication(values: dict[str, Any]) -> Resource:
    return resource(PUBLISH, {"plan": write_plan(plan_of(values))})


@pytest.mark.parametrize(
    ("ssh", "settings", "refused"),
    [
        (["0.0.0.0/0"], {}, True),
        (["::/0"], {}, True),
        (["198.51.100.0/24", "0.0.0.0/0"], {"allowWorld": False}, True),
        (["0.0.0.0/0"], {"allowWorld": True}, False),
        (["198.51.100.0/24"], {}, False),
    ],
)
def test_the_plan_lets_nobody_log_in_from_anywhere_even_where_the_stack_file_does(
    ssh: list[str], settings: Settings, refused: bool
) -> None:
    stack = bent("admin", {"ssh": ssh, "keys": KEYS, "world": True})
    assert bool(list(no_ssh_from_anywhere(publication(stack), settings))) == refused


# As mesh.plan.firewall makes them of a host's ssh.port; 443 is a service's too.
SSH_2222 = FirewallRule("ssh-2222", "uplink", "tcp", (2222, 2222), "admin")
SSH_443 = FirewallRule("ssh-443", "uplink", "tcp", (443, 443), "admin")


@pytest.mark.parametrize(
    ("props", "settings", "refused"),
    [
        (vultr("2222"), {}, True),
        (vultr("2000:3000"), {}, True),
        (vultr("2222"), {"allowWorld": True}, False),
        (vultr("2222", "198.51.100.0", 24), {}, False),
        (vultr("2223"), {}, False),
        (vultr("443"), {}, False),
    ],
)
def test_a_port_that_a_host_has_for_ssh_is_open_to_nobody_else_either(
    props: Any, settings: Settings, refused: bool
) -> None:
    plan = plan_of(prod())
    own = replace(plan, firewall=(*plan.firewall, SSH_2222, SSH_443))
    found = [resource(PUBLISH, {"plan": write_plan(own)}), resource(VULTR_RULE, props)]
    assert bool(list(no_own_ssh_port_from_anywhere(found, settings))) == refused
    without = [publication(prod()), resource(VULTR_RULE, props)]
    assert list(no_own_ssh_port_from_anywhere(without, settings)) == []


@pytest.mark.parametrize(("keys", "refused"), [(KEYS, False), (KEYS[:1], True), ([], True)])
def test_two_keys_may_log_in(keys: list[str], refused: bool) -> None:
    found = publication(bent("admin", {"ssh": ["198.51.100.0/24"], "keys": keys}))
    assert bool(list(two_ssh_keys(found, {}))) == refused


def test_one_key_with_two_comments_is_one_key() -> None:
    plan = write_plan(plan_of(prod())).replace(
        '"ssh_keys":[]', f'"ssh_keys":["{KEYS[0]}","{KEYS[0]}-again"]'
    )
    assert list(two_ssh_keys(resource(PUBLISH, {"plan": plan}), {}))


@pytest.mark.parametrize(
    ("type_", "props", "refused"),
    [
        ("vultr:index/instance:Instance", {"tags": ["anycast-mesh"], "label": "x"}, False),
        ("vultr:index/instance:Instance", {"label": "x"}, True),
        ("vultr:index/bareMetalServer:BareMetalServer", {"tags": []}, True),
        ("pulumi-python:dynamic/vultr:Instance", {"tags": ["anycast-mesh"]}, False),
        ("pulumi-python:dynamic/vultr:Instance", {"tags": []}, True),
        ("pulumi-python:dynamic/vultr:BareMetal", {"node": "x"}, True),
        ("aws:ec2/instance:Instance", {"tags": {"mesh": "prod"}}, False),
        ("aws:ec2/instance:Instance", {}, True),
        ("gcp:compute/instance:Instance", {"labels": {"mesh": "prod"}}, False),
        ("gcp:compute/instance:Instance", {"labels": {}, "tags": ["mesh"]}, True),
        ("pulumi-python:dynamic/lab:Instance", {}, False),
        ("aws:ec2/subnet:Subnet", {}, False),
    ],
)
def test_every_server_carries_tags(type_: str, props: Any, refused: bool) -> None:
    assert bool(list(tagged_servers(resource(type_, props), {}))) == refused


@pytest.mark.parametrize(
    ("type_", "counts"),
    [
        ("vultr:index/reservedIp:ReservedIp", True),
        ("pulumi-python:dynamic/vultr:Address", True),
        ("aws:ec2/eip:Eip", True),
        ("aws:ec2/eipAssociation:EipAssociation", False),
        ("gcp:compute/address:Address", True),
        ("pulumi-python:dynamic/lab:Address", True),
        ("vultr:index/instance:Instance", False),
    ],
)
def test_addresses_are_protected(type_: str, counts: bool) -> None:
    assert bool(list(protected_addresses(resource(type_, {}), {}))) == counts
    assert list(protected_addresses(resource(type_, {}, protect=True), {})) == []
    inside = {"addressType": "INTERNAL"}
    assert list(protected_addresses(resource("gcp:compute/address:Address", inside), {})) == []


@pytest.mark.parametrize(
    ("type_", "props", "where"),
    [
        ("vultr:index/instance:Instance", {"userData": "#!/bin/sh"}, "userData"),
        ("aws:ec2/instance:Instance", {"userDataBase64": "H4sI"}, "userDataBase64"),
        ("gcp:compute/instance:Instance", {"metadata": {"user-data": "x"}}, "metadata.user-data"),
        (
            "gcp:compute/routerPeer:RouterPeer",
            {"md5AuthenticationKey": {"name": "k", "key": "x"}},
            "md5AuthenticationKey.key",
        ),
        ("pulumi-python:dynamic/mesh:Publish", {"passwords": {"vultr": "x"}}, "passwords.vultr"),
        ("pulumi-python:dynamic/mesh:Publish", {"receivers": {"noc": "x"}}, "receivers.noc"),
        ("pulumi-python:dynamic/mesh:Publish", {"operator_key": "x"}, "operator_key"),
        ("anything:at/all:All", {"steps": [{"apiToken": "x"}]}, "steps.apiToken"),
        ("anything:at/all:All", {"ssh_key": "x"}, "ssh_key"),
        ("anything:at/all:All", {"sshKey": "x"}, "sshKey"),
        ("anything:at/all:All", {"apiKey": "x"}, "apiKey"),
        ("anything:at/all:All", {"accessKey": "x"}, "accessKey"),
        (
            "aws:ec2/vpnConnection:VpnConnection",
            {"tunnel1PresharedKey": "x"},
            "tunnel1PresharedKey",
        ),
        ("anything:at/all:All", {"tokens": ["x"]}, "tokens"),
        ("anything:at/all:All", {"credentials": {"id": "x"}}, "credentials.id"),
        ("anything:at/all:All", {"private": "x"}, "private"),
        ("anything:at/all:All", {"key": "x"}, "key"),
        ("anything:at/all:All", {"note": f"{PEM} PRIVATE KEY-----\nx"}, "note"),
        ("anything:at/all:All", {"notes": [f"{PEM} OPENSSH PRIVATE KEY-----\nx"]}, "notes"),
        ("anything:at/all:All", {"sshKey": f"{PEM} EC PRIVATE KEY-----\nx"}, "sshKey"),
        ("anything:at/all:All", {"key": f"{PEM} PUBLIC KEY-----\nx"}, None),
        ("vultr:index/sSHKey:SSHKey", {"name": "me", "sshKey": KEYS[0]}, None),
        ("aws:ec2/keyPair:KeyPair", {"publicKey": KEYS[0], "keyName": "me"}, None),
        ("gcp:compute/instance:Instance", {"metadata": {"ssh-keys": f"me:{KEYS[0]}"}}, None),
        ("gcp:compute/instance:Instance", {"metadata": {"block-project-ssh-keys": "TRUE"}}, None),
        ("vultr:index/instance:Instance", {"sshKeyIds": ["cb676a46-66fd"]}, None),
        ("pulumi-python:dynamic/vultr:Instance", {"user_data": "#!/bin/sh"}, "user_data"),
        ("pulumi-python:dynamic/vultr:Instance", {"ssh_key_ids": ["cb676a46-66fd"]}, None),
        ("pulumi-python:dynamic/vultr:SSHKey", {"ssh_key": KEYS[0]}, None),
        ("aws:ec2/networkInterface:NetworkInterface", {"privateIps": ["10.0.0.4"]}, None),
        ("aws:ebs/volume:Volume", {"kmsKeyId": "arn:aws:kms:1"}, None),
        ("vultr:index/instance:Instance", {"userData": None}, None),
        ("vultr:index/instance:Instance", {"userData": UNKNOWN}, None),
        ("vultr:index/instance:Instance", {"plan": "vc2-1c-1gb"}, None),
        ("aws:ec2/instance:Instance", {"userDataReplaceOnChange": False}, None),
        ("aws:ec2/instance:Instance", {"metadataOptions": {"httpTokens": "required"}}, None),
        (
            "gcp:compute/routerPeer:RouterPeer",
            {"md5AuthenticationKey": {"name": "k", "key": None}},
            None,
        ),
    ],
)
def test_secrets_arrive_as_secrets(type_: str, props: Any, where: str | None) -> None:
    """As the pack hands them over: what is secret is None already."""
    found = list(no_plain_secret(resource(type_, props), {}))
    assert [words.split()[2] for words in found] == ([] if where is None else [where])
    assert "x" not in " ".join(found).split()


def of_node(type_: str, props: Any, node: str = "mia-vultr-1") -> Resource:
    return resource(type_, props, urn="urn:it", parent=f"{STACK}{NODE}::mesh-{node}")


WITH = {
    "vultr:index/instance:Instance": {"enableIpv6": True},
    "vultr:index/bareMetalServer:BareMetalServer": {"enableIpv6": True},
    "pulumi-python:dynamic/vultr:Instance": {"enable_ipv6": True},
    "pulumi-python:dynamic/vultr:BareMetal": {"enable_ipv6": True},
    "aws:ec2/instance:Instance": {"ipv6AddressCount": 1},
    "gcp:compute/instance:Instance": {
        "networkInterfaces": [{"stackType": "IPV4_IPV6", "ipv6AccessConfigs": [{}]}]
    },
    "pulumi-python:dynamic/lab:Address": {"with_ipv6": True},
}


@pytest.mark.parametrize("type_", sorted(WITH))
def test_nodes_have_ipv6_where_it_is_planned(type_: str) -> None:
    def refused(props: Any, values: Any, node: str = "mia-vultr-1") -> bool:
        found = [publication(values), of_node(type_, props, node)]
        return bool(list(ipv6_where_planned(found, {})))

    assert refused({}, prod())
    assert not refused(WITH[type_], prod())
    assert not refused({}, one_node_without_ipv6())
    assert not refused({}, prod(), node="not-planned-1")
    assert list(ipv6_where_planned([of_node(type_, {})], {})) == []
