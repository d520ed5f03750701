"""Vultr as the engine sees it.

The replace rules are the ForceNew of terraform-provider-vultr (github.com/vultr/
terraform-provider-vultr, ``vultr/resource_vultr_*.go``), under which the plugin of ``ediri_vultr``
stands; ``defaults`` are its Default.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import ediri_vultr as sdk

from tests.engine.standins.cloud import (
    REPLACES,
    UPDATES,
    Cloud,
    Kind,
    Made,
    Refused,
)
from tests.engine.standins.schema import Misfit, Values

KEY = "THE-API-KEY-OF-THE-TESTS-0123456789"
DEBIAN = "Debian 13 x64 (trixie)"
MAX_RULES = 50
REGIONS = ("lax", "ord", "mia", "ewr", "fra", "nrt", "ams")
VPS = ("vc2-1c-1gb", "vc2-2c-4gb", "vhp-1c-2gb-amd")


def refused(text: str, status: int) -> Refused:
    """The API's own form of an error."""
    return Refused(json.dumps({"error": text, "status": status}, separators=(",", ":")))


def _now() -> str:
    """As the API writes a date; a node's token is good for a day from the birth of its server."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def authorize(cloud: Cloud, config: Mapping[str, str]) -> None:
    if config.get("apiKey") != cloud.facts["key"]:
        raise refused("Invalid API token.", 401)


def _one(found: list[Values]) -> Values:
    """data_source_vultr_*.go: exactly one must match."""
    if len(found) > 1:
        raise Refused(
            "your search returned too many results. Please refine your search to be more specific"
        )
    if not found:
        raise Refused("no results were found")
    return found[0]


def _filtered(cloud: Cloud, offer: str, arguments: Values) -> Values:
    rows: list[Values] = cloud.facts[offer]
    filters = arguments.get("filters", [])
    return _one([r for r in rows if all(str(r[f["name"]]) in f["values"] for f in filters)])


def get_os(cloud: Cloud, arguments: Values) -> Values:
    return _filtered(cloud, "images", arguments)


def get_plan(cloud: Cloud, arguments: Values) -> Values:
    return _filtered(cloud, "plans", arguments)


def get_bare_metal_plan(cloud: Cloud, arguments: Values) -> Values:
    return _filtered(cloud, "bare metal", arguments)


def get_region(cloud: Cloud, arguments: Values) -> Values:
    return _filtered(cloud, "regions", arguments)


def _images_of_a_server(inputs: Values) -> Iterator[Misfit]:
    """optionCheck: exactly one of what a server can be made from."""
    given = [k for k in ("osId", "appId", "imageId", "isoId", "snapshotId") if inputs.get(k)]
    if len(given) != 1:
        yield "osId", f"exactly one of osId, appId, imageId and snapshotId is wanted, not {given}"


def _in_lower_case(inputs: Values) -> Iterator[Misfit]:
    """ValidateFunc of ip_type and protocol."""
    if inputs.get("ipType") not in ("v4", "v6"):
        yield "ipType", "expected ip_type to be one of [v4 v6]"
    if inputs.get("protocol") not in ("icmp", "tcp", "udp", "gre", "ah", "esp"):
        yield "protocol", "expected protocol to be one of [icmp tcp udp gre ah esp]"


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
    more = {"powerStatus": "running", "serverStatus": "ok", "ram": 1024, "vcpuCount": 1}
    return _server(cloud, identity, inputs) | more


def _reserved(cloud: Cloud, _identity: str, inputs: Values) -> Values:
    number = cloud.count()
    return {
        "subnet": f"127.18.{number // 250}.{number % 250 + 2}",
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
        "persistentPxe": UPDATES,  # no ForceNew
        "mdiskMode": UPDATES,  # no ForceNew
        "vpcId": UPDATES,  # no ForceNew
        "vpc2Ids": UPDATES,  # no ForceNew
    },
    defaults={"scriptId": "", "label": "", "hostname": ""},
    compute=_server,
    check=_images_of_a_server,
    refuse=_refuse_server,
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
    check=_in_lower_case,
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
    """An account with nothing in it."""
    cloud = Cloud(
        "vultr",
        KINDS,
        {
            "vultr:index/getOs:getOs": get_os,
            "vultr:index/getPlan:getPlan": get_plan,
            "vultr:index/getBareMetalPlan:getBareMetalPlan": get_bare_metal_plan,
            "vultr:index/getRegion:getRegion": get_region,
        },
        version="2.27.1",
    )
    cloud.authorize = lambda config: authorize(cloud, config)
    cloud.facts = {
        "key": KEY,
        "images": [_image(477, "Debian 11 x64 (bullseye)"), _image(2625, DEBIAN)],
        "plans": [_plan(name, list(REGIONS)) for name in VPS],
        "bare metal": [_plan("vbm-4c-32gb", ["ewr", "lax"])],
        "regions": [
            {"id": each, "city": each, "country": "US", "continent": "NA", "options": []}
            for each in REGIONS
        ],
    }
    return cloud


def _image(number: int, name: str) -> Values:
    return {"id": str(number), "name": name, "arch": "x64", "family": "debian"}


def _plan(name: str, locations: list[str]) -> dict[str, Any]:
    return {"id": name, "locations": locations, "ram": 1024, "disk": 25, "type": name[:3]}
