"""Vultr as the engine sees it through the plugin of ``ediri_vultr`` 2.27.1.

The replace rules are the ForceNew of terraform-provider-vultr (github.com/vultr/
terraform-provider-vultr, ``vultr/resource_vultr_*.go``), under which that plugin stands;
``defaults`` are its Default. Behind it stands Vultr's API as it was when the plugin was released,
with which all of it works; ``cloud.facts |= TODAY`` makes it the API that users report in 2026.
What the plugin does then was seen with the real one, against an HTTP server that answers so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import ediri_vultr as sdk

from tests.kit.clouds.cloud import (
    REPLACES,
    UPDATES,
    Cloud,
    Kind,
    Made,
    Refused,
)
from tests.kit.clouds.schema import Misfit, Values
from tests.kit.vultr_api.machines import loopback

KEY = "THE-API-KEY-OF-THE-TESTS-0123456789"
MAX_RULES = 50
THEN: Values = {"vpc2": True, "gone": "invalid instance ID", "filled": False}
TODAY: Values = {"vpc2": False, "gone": "instance not found", "filled": True}
"""The API: whether it has VPC 2.0 endpoints (terraform-provider-vultr, issue 753), what it says of
a server that is gone (issue 688), and whether a rule's ``source`` comes back as ``subnet/size``
(issue 722)."""


def refused(text: str, status: int) -> Refused:
    """The API's own form of an error."""
    return Refused(json.dumps({"error": text, "status": status}, separators=(",", ":")))


def _now() -> str:
    """As the API writes a date; a node's token is good for a day from the birth of its server."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def authorize(cloud: Cloud, config: Mapping[str, str]) -> None:
    if config.get("apiKey") != cloud.facts["key"]:
        raise refused("Invalid API token.", 401)


def _images_of_a_server(inputs: Values) -> Iterator[Misfit]:
    """optionCheck: exactly one of what a server can be made from."""
    given = [k for k in ("osId", "appId", "imageId", "isoId", "snapshotId") if inputs.get(k)]
    if len(given) != 1:
        yield "osId", f"exactly one of osId, appId, imageId and snapshotId is wanted, not {given}"


def _judged_rule(inputs: Values) -> Iterator[Misfit]:
    """ValidateFunc of ip_type, protocol and source."""
    if inputs.get("ipType") not in ("v4", "v6"):
        yield "ipType", "expected ip_type to be one of [v4 v6]"
    if inputs.get("protocol") not in ("icmp", "tcp", "udp", "gre", "ah", "esp"):
        yield "protocol", "expected protocol to be one of [icmp tcp udp gre ah esp]"
    if inputs.get("source") not in (None, "", "cloudflare"):
        yield "source", 'expected source to be one of ["" "cloudflare"]'


def _source(cloud: Cloud, inputs: Values) -> Values:
    """As the API tells it of a rule that gave none."""
    if inputs.get("source") or not cloud.facts["filled"]:
        return {}
    return {"source": f"{inputs['subnet']}/{inputs['subnetSize']}"}


def _attached(cloud: Cloud, address: str) -> str:
    """The server that holds a reserved address; empty where none does."""
    for made in (*cloud.of("Instance"), *cloud.of("BareMetalServer")):
        if address in (made.inputs.get("reservedIpId"), made.inputs.get("reservedIpv4")):
            return made.id
    return ""


def _refuse_server(cloud: Cloud, inputs: Values) -> None:
    address = inputs.get("reservedIpId") or inputs.get("reservedIpv4")
    if address and address not in cloud.made:
        raise refused("Server add failed: Invalid reserved IP", 400)
    if address and _attached(cloud, address):
        # The real provider tries again for 59 minutes before it says so.
        said = "Server add failed: Floating IPv4 address is already attached to another server"
        raise Refused(f"error creating server: {refused(said, 400)}")


def _read_vpc2(cloud: Cloud) -> None:
    """Each read of a server asks for its VPCs 2.0, and takes every error for its own."""
    if not cloud.facts["vpc2"]:
        said = '{"error":"Not found.","status":404}'
        raise Refused(f"error getting list of attached VPCs 2.0: {said}")


def _missing(cloud: Cloud, identity: str) -> None:
    """Only one text means to the plugin that a server is gone."""
    if cloud.facts["gone"] != THEN["gone"]:
        raise Refused(f"error getting instance ({identity}): {refused(cloud.facts['gone'], 404)}")


def _server(cloud: Cloud, identity: str, inputs: Values) -> Values:
    address = cloud.made.get(inputs.get("reservedIpId") or inputs.get("reservedIpv4") or "")
    number = cloud.count()
    ipv6 = f"2001:19f0:{number:x}::" if inputs.get("enableIpv6") else ""
    return {
        "mainIp": address.outputs["subnet"] if address else f"127.19.0.{number}",
        "v6MainIp": f"{ipv6}1" if ipv6 else "",
        "v6Network": ipv6,
        "v6NetworkSize": 64 if ipv6 else 0,
        "defaultPassword": f"default-password-of-{identity}",
        "dateCreated": _now(),
        "status": "active",
        "gatewayV4": "127.18.0.1",
        "netmaskV4": "255.255.254.0",
    }


def _instance(cloud: Cloud, identity: str, inputs: Values) -> Values:
    more = {
        "powerStatus": "running",
        "serverStatus": "ok",
        "ram": 1024,
        "vcpuCount": 1,
        # A console that opens to whoever has this address; not Sensitive (issue 690).
        "kvm": f"https://my.vultr.com/subs/vps/novnc/api.php?data=console-of-{identity}",
    }
    return _server(cloud, identity, inputs) | more


def _reserved(cloud: Cloud, _identity: str, inputs: Values) -> Values:
    number = cloud.count()
    return {
        "subnet": loopback(number),
        "subnetSize": 32 if inputs["ipType"] == "v4" else 64,
    }


def _detach(cloud: Cloud, made: Made) -> None:
    if _attached(cloud, made.id):
        said = "Unable to detach subnet, please restart your server from the control panel"
        raise Refused(f"error destroying Reserved IP ({made.id}): {refused(said, 400)}")


def _group(_cloud: Cloud, _identity: str, _inputs: Values) -> Values:
    return {
        "dateCreated": _now(),
        "dateModified": _now(),
        "instanceCount": 0,
        "ruleCount": 0,
        "maxRuleCount": MAX_RULES,
    }


def _look_at_group(cloud: Cloud, made: Made) -> Values:
    servers = [s for s in cloud.of("Instance") if s.inputs.get("firewallGroupId") == made.id]
    return {"ruleCount": len(_rules(cloud, made.id)), "instanceCount": len(servers)}


def _rules(cloud: Cloud, group: str) -> list[Made]:
    return [r for r in cloud.of("FirewallRule") if r.inputs["firewallGroupId"] == group]


def _refuse_rule(cloud: Cloud, inputs: Values) -> None:
    rules = _rules(cloud, inputs["firewallGroupId"])
    if inputs["firewallGroupId"] not in cloud.made:
        raise Refused(f"error creating firewall rule : {refused('Invalid firewall group', 404)}")
    if len(rules) >= MAX_RULES:
        said = "Unable to create firewall rule: maximum number of rules reached"
        raise Refused(f"error creating firewall rule : {refused(said, 400)}")
    same = {"ipType", "protocol", "subnet", "subnetSize", "port"}
    if any(all(r.inputs.get(k) == inputs.get(k) for k in same) for r in rules):
        said = "Unable to create firewall rule: This rule is already defined"
        raise Refused(f"error creating firewall rule : {refused(said, 400)}")


def _number(cloud: Cloud, _inputs: Values) -> str:
    return str(cloud.count())


def _address(_cloud: Cloud, inputs: Values) -> str:
    # resource_vultr_reverse_ipv4.go: d.SetId(ip). The address itself may be the id of another.
    return f"reverse-{inputs['ip']}"


INSTANCE = Kind(  # resource_vultr_instance.go
    args=sdk.InstanceArgs,
    resource=sdk.Instance,
    rules={
        "region": REPLACES,  # ForceNew
        "appId": REPLACES,  # ForceNew
        "imageId": REPLACES,  # ForceNew
        "osId": REPLACES,  # ForceNew
        "scriptId": REPLACES,  # ForceNew
        "disablePublicIpv4": REPLACES,  # ForceNew
        "sshKeyIds": REPLACES,  # ForceNew
        "snapshotId": REPLACES,  # ForceNew
        "userData": REPLACES,  # ForceNew
        "hostname": REPLACES,  # ForceNew: the API would reinstall the server
        "reservedIpId": REPLACES,  # ForceNew
        "userScheme": REPLACES,  # ForceNew
        "appVariables": REPLACES,  # ForceNew
        "ipxeChainUrl": REPLACES,  # docs: "iPXE chain URL", at creation only; judged strictly
        "plan": UPDATES,  # InstanceUpdateReq.Plan, waitForPlanUpgrade
        "isoId": UPDATES,  # AttachISO, DetachISO
        "enableIpv6": UPDATES,  # InstanceUpdateReq.EnableIPv6
        "vpcIds": UPDATES,  # AttachVPC, DetachVPC
        "vpc2Ids": UPDATES,  # AttachVPC2, DetachVPC2
        "label": UPDATES,  # InstanceUpdateReq.Label
        "activationEmail": UPDATES,  # no ForceNew, no effect
        "ddosProtection": UPDATES,  # InstanceUpdateReq.DDOSProtection
        "tags": UPDATES,  # InstanceUpdateReq.Tags
        "firewallGroupId": UPDATES,  # InstanceUpdateReq.FirewallGroupID
        "backups": UPDATES,  # InstanceUpdateReq.Backups
        "backupsSchedule": UPDATES,  # SetBackupSchedule
    },
    defaults={"isoId": "", "backups": "disabled", "ddosProtection": False},
    compute=_instance,
    check=_images_of_a_server,
    refuse=_refuse_server,
    missing=_missing,
    unreadable=_read_vpc2,
    secrets=frozenset({"defaultPassword"}),  # Sensitive
)

BARE_METAL = Kind(  # resource_vultr_bare_metal_server.go
    args=sdk.BareMetalServerArgs,
    resource=sdk.BareMetalServer,
    rules={
        "region": REPLACES,  # ForceNew
        "plan": REPLACES,  # ForceNew
        "scriptId": REPLACES,  # ForceNew
        "snapshotId": REPLACES,  # ForceNew
        "enableIpv6": REPLACES,  # ForceNew
        "sshKeyIds": REPLACES,  # ForceNew
        "userData": REPLACES,  # ForceNew
        "hostname": REPLACES,  # ForceNew
        "imageId": REPLACES,  # ForceNew
        "appVariables": REPLACES,  # as of an instance; judged strictly
        "userScheme": REPLACES,  # as of an instance; judged strictly
        "osId": UPDATES,  # BareMetalUpdate.OsID: in place, and the server is reinstalled
        "appId": UPDATES,  # BareMetalUpdate.AppID: likewise
        "label": UPDATES,  # BareMetalUpdate.Label
        "tags": UPDATES,  # BareMetalUpdate.Tags
        "activationEmail": UPDATES,  # no ForceNew, no effect
        "reservedIpv4": UPDATES,  # no ForceNew, no effect
        "persistentPxe": REPLACES,  # seen of plugin 2.27.1
        "mdiskMode": REPLACES,  # seen of plugin 2.27.1
        "vpcId": UPDATES,  # no ForceNew
        "vpc2Ids": UPDATES,  # no ForceNew
    },
    defaults={"scriptId": "", "label": "", "hostname": ""},
    compute=_server,
    check=_images_of_a_server,
    refuse=_refuse_server,
    missing=_missing,
    unreadable=_read_vpc2,
    secrets=frozenset({"defaultPassword"}),  # Sensitive
)

RESERVED_IP = Kind(  # resource_vultr_reserved_ip.go
    args=sdk.ReservedIpArgs,
    resource=sdk.ReservedIp,
    rules={
        "region": REPLACES,  # ForceNew
        "ipType": REPLACES,  # ForceNew
        "label": UPDATES,  # ReservedIP.Update
        # Optional and Computed since issue 121 of that provider. Held to the Default "" of before,
        # with which an update after a refresh detaches what was attached through the server.
        "instanceId": UPDATES,
    },
    defaults={"label": "", "instanceId": ""},
    compute=_reserved,
    look=lambda cloud, made: {"instanceId": _attached(cloud, made.id)},
    forget=_detach,
)

FIREWALL_GROUP = Kind(  # resource_vultr_firewall_group.go
    args=sdk.FirewallGroupArgs,
    resource=sdk.FirewallGroup,
    rules={"description": UPDATES},  # FirewallGroup.Update
    defaults={"description": ""},
    compute=_group,
    look=_look_at_group,
)

FIREWALL_RULE = Kind(  # resource_vultr_firewall_rule.go: there is no Update
    args=sdk.FirewallRuleArgs,
    resource=sdk.FirewallRule,
    rules={
        "firewallGroupId": REPLACES,  # ForceNew
        "ipType": REPLACES,  # ForceNew
        "protocol": REPLACES,  # ForceNew
        "subnet": REPLACES,  # ForceNew
        "subnetSize": REPLACES,  # ForceNew
        "port": REPLACES,  # ForceNew
        "source": REPLACES,  # ForceNew
        "notes": REPLACES,  # ForceNew
    },
    defaults={"port": "", "source": "", "notes": ""},
    identify=_number,
    compute=lambda cloud, _id, inputs: _source(cloud, inputs),
    look=lambda cloud, made: _source(cloud, made.inputs),
    check=_judged_rule,
    refuse=_refuse_rule,
)

SSH_KEY = Kind(  # resource_vultr_ssh_key.go
    args=sdk.SSHKeyArgs,
    resource=sdk.SSHKey,
    rules={"name": UPDATES, "sshKey": UPDATES},  # SSHKey.Update
    compute=lambda _cloud, _id, _inputs: {"dateCreated": _now()},
)

REVERSE_IPV4 = Kind(  # resource_vultr_reverse_ipv4.go: there is no Update
    args=sdk.ReverseIpv4Args,
    resource=sdk.ReverseIpv4,
    rules={"instanceId": REPLACES, "ip": REPLACES, "reverse": REPLACES},  # ForceNew
    identify=_address,
    compute=lambda _cloud, _id, _inputs: {"gateway": "127.18.0.1", "netmask": "255.255.254.0"},
)

REVERSE_IPV6 = Kind(  # resource_vultr_reverse_ipv6.go: there is no Update
    args=sdk.ReverseIpv6Args,
    resource=sdk.ReverseIpv6,
    rules={"instanceId": REPLACES, "ip": REPLACES, "reverse": REPLACES},  # ForceNew
    identify=_address,
)

KINDS = (
    INSTANCE,
    BARE_METAL,
    RESERVED_IP,
    FIREWALL_GROUP,
    FIREWALL_RULE,
    SSH_KEY,
    REVERSE_IPV4,
    REVERSE_IPV6,
)


def vultr() -> Cloud:
    """An account with nothing in it. What Vultr has to offer, a preview asks of its API."""
    cloud = Cloud("vultr", KINDS, {}, version="2.27.1")
    cloud.authorize = lambda config: authorize(cloud, config)
    cloud.facts = THEN | {"key": KEY}
    return cloud
