"""GCP as the engine sees it.

The replace rules are the ForceNew of terraform-provider-google (github.com/hashicorp/
terraform-provider-google, ``google/services/compute`` and ``google/services/networkconnectivity``),
under which the plugin of ``pulumi_gcp`` stands; ``defaults`` are its Default. Texts of errors are
those of google.golang.org/api/googleapi and of the API; where its order of things is documented in
words only, the stand-in is the stricter one, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mesh.infra.providers.submodules import submodules_only
from tests.kit.clouds.cloud import REPLACES, UPDATES, Cloud, Kind, Made, Refused, Rule
from tests.kit.clouds.schema import Misfit, Values

with submodules_only("pulumi_gcp.compute"):
    from pulumi_gcp.compute.address import Address, AddressArgs
    from pulumi_gcp.compute.firewall import Firewall, FirewallArgs
    from pulumi_gcp.compute.instance import Instance, InstanceArgs
    from pulumi_gcp.compute.network import Network, NetworkArgs
    from pulumi_gcp.compute.router import Router, RouterArgs
    from pulumi_gcp.compute.router_interface import RouterInterface, RouterInterfaceArgs
    from pulumi_gcp.compute.router_peer import RouterPeer, RouterPeerArgs
    from pulumi_gcp.compute.subnetwork import Subnetwork, SubnetworkArgs
with submodules_only("pulumi_gcp.networkconnectivity"):
    from pulumi_gcp.networkconnectivity.hub import Hub, HubArgs
    from pulumi_gcp.networkconnectivity.spoke import Spoke, SpokeArgs

CREDENTIALS = '{"type": "service_account", "private_key": "PRIVATE-KEY-OF-THE-TESTS-0123456789"}'
PROJECT = "anycast-mesh-example"
BORN = "2026-01-01T00:00:00.000-07:00"
API = "https://www.googleapis.com/compute/v1"
NO_CREDENTIALS = (  # pulumi-gcp, provider/resources.go and its provider_test.go
    "failed to load application credentials.\nTo use your default gcloud credentials, run:\n"
    "\t`gcloud auth application-default login`\nSee https://www.pulumi.com/registry/packages/gcp/"
    "installation-configuration/ for details.\nExpanded error message: Attempted to load "
    "application default credentials since neither `credentials` nor `access_token` was set in "
    "the provider block.  No credentials loaded. Original error: google: could not find default "
    "credentials. See https://cloud.google.com/docs/authentication/external/set-up-adc for more "
    "information"
)
ALWAYS: dict[str, Rule] = {
    "name": REPLACES,  # ForceNew
    "project": REPLACES,  # ForceNew
    "deletionPolicy": UPDATES,  # kept by Terraform only
}


def refused(status: int, text: str, reason: str) -> Refused:
    """googleapi.Error.Error."""
    return Refused(f"googleapi: Error {status}: {text}, {reason}")


def authorize(cloud: Cloud, config: Mapping[str, str]) -> None:
    given = config.get("credentials")
    if given is None:
        raise Refused(NO_CREDENTIALS)
    if given != cloud.facts["credentials"]:
        raise Refused(
            'oauth2: cannot fetch token: 400 Bad Request Response: {"error":"invalid_grant",'
            '"error_description":"Invalid JWT Signature."}'
        )


def project_of(cloud: Cloud, values: Values) -> str:
    found: str | None = values.get("project") or cloud.config.get("project")
    if found is None:
        raise Refused("project: required field is not set")
    if found not in cloud.facts["projects"]:
        raise refused(404, f"The resource 'projects/{found}' was not found", "notFound")
    return found


def get_image(cloud: Cloud, arguments: Values) -> Values:
    """data_source_google_compute_image.go"""
    family, project = arguments["family"], arguments["project"]
    if family not in cloud.facts["families"]:
        where = f"projects/{project}/global/images/family/{family}"
        said = refused(404, f"The resource '{where}' was not found", "notFound")
        raise Refused(f"error retrieving latest image from family {family}: {said}")
    name = f"{family}-trixie-v20261110"
    link = f"{API}/projects/{project}/global/images/{name}"
    texts = (
        "creationTimestamp", "description", "filter", "imageEncryptionKeySha256", "imageId",
        "labelFingerprint", "sourceDisk", "sourceDiskEncryptionKeySha256", "sourceDiskId",
        "sourceImageId", "status",
    )  # fmt: skip
    return dict.fromkeys(texts, "") | {
        "archiveSizeBytes": 1, "diskSizeGb": 10, "family": family, "id": link, "labels": {},
        "licenses": [], "mostRecent": False, "name": name, "project": project, "selfLink": link,
    }  # fmt: skip


def get_machine_types(cloud: Cloud, arguments: Values) -> Values:
    """data_source_google_compute_machine_types.go"""
    zone, wanted = arguments["zone"], arguments["filter"]
    if zone.rpartition("-")[2] not in cloud.facts["zones"]:
        said = f"Invalid value for field 'zone': '{zone}'. Unknown zone."
        raise refused(400, said, "invalid")
    names = [name for name in cloud.facts["types"] if f"name = {name})" in wanted]
    return {
        "id": zone, "filter": wanted, "zone": zone, "project": project_of(cloud, arguments),
        "machineTypes": [{"name": name} for name in names],
    }  # fmt: skip


def _named(made: Made) -> str:
    """Pulumi's own names: the resource's, and seven letters that make it unique."""
    return f"{made.name}-{made.id[:7]}"


def _resource(collection: str) -> Callable[[Cloud, str, Values], Values]:
    """What each resource of Compute Engine says of itself."""

    def compute_outputs(cloud: Cloud, identity: str, inputs: Values) -> Values:
        project, name = project_of(cloud, inputs), _named(cloud.made[identity])
        where = inputs.get("zone") or inputs.get("region")
        kind = "zones" if inputs.get("zone") else "regions"
        place = "global" if where is None else f"{kind}/{where}"
        link = f"{API}/projects/{project}/{place}/{collection}/{name}"
        return {"name": name, "project": project, "selfLink": link}

    return compute_outputs


def _network(cloud: Cloud, identity: str, inputs: Values) -> Values:
    number = str(cloud.count())
    return _resource("networks")(cloud, identity, inputs) | {"networkId": number}


def _subnetwork(cloud: Cloud, identity: str, inputs: Values) -> Values:
    outputs = _resource("subnetworks")(cloud, identity, inputs)
    first = inputs["ipCidrRange"].rpartition(".")[0]
    return outputs | {"gatewayAddress": f"{first}.1", "creationTimestamp": BORN}


def _address(cloud: Cloud, identity: str, inputs: Values) -> Values:
    number = cloud.count()
    if inputs.get("ipVersion") == "IPV6":
        given = {"address": f"2600:1900:4000:{number:x}:8000::", "prefixLength": 96}
    elif inputs["addressType"] == "INTERNAL":
        subnet = _linked(cloud, "Subnetwork", inputs["subnetwork"])
        first = subnet.outputs["ipCidrRange"].rpartition(".")[0]
        given = {"address": f"{first}.{number + 2}"}
    else:
        # Nobody listens there, and what is sent there stays on this machine.
        given = {"address": f"127.16.{number // 250}.{number % 250 + 2}"}
    outputs = _resource("addresses")(cloud, identity, inputs)
    return outputs | {"creationTimestamp": BORN, "users": []} | given


def _instance(cloud: Cloud, identity: str, inputs: Values) -> Values:
    return _resource("instances")(cloud, identity, inputs) | {
        "instanceId": f"4{cloud.count():018d}",
        "creationTimestamp": BORN,
        "currentStatus": "RUNNING",
        "cpuPlatform": "Intel Broadwell",
    }


def _plain(cloud: Cloud, identity: str, inputs: Values) -> Values:
    return {"name": _named(cloud.made[identity]), "project": project_of(cloud, inputs)}


def _peer(cloud: Cloud, identity: str, inputs: Values) -> Values:
    interface = next(
        i for i in cloud.of("RouterInterface") if i.outputs["name"] == inputs["interface"]
    )
    return _plain(cloud, identity, inputs) | {
        "ipAddress": interface.outputs["privateIpAddress"],
        "managementType": "MANAGED_BY_USER",
    }


def _linked(cloud: Cloud, kind: str, link: str) -> Made:
    for made in cloud.of(kind):
        if made.outputs.get("selfLink") == link:
            return made
    raise refused(404, f"The resource '{link.partition('/v1/')[2]}' was not found", "notFound")


def _links(value: object) -> Iterator[str]:
    """Every text in a property."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _links(each)
    elif isinstance(value, list):
        for each in value:
            yield from _links(each)


def _in_use(cloud: Cloud, made: Made) -> None:
    """Nothing goes while something that exists names it. Documented for networks, subnetworks,
    addresses and hubs; for the instance of a spoke and the spoke of a peer it is the strict
    reading of "Delete router appliance"."""
    own = {made.outputs.get("selfLink"), made.id} - {None}
    if made.kind == "Address":
        own.add(made.outputs["address"])
    if made.kind in ("Router", "RouterInterface"):
        own.add(made.outputs["name"])
    for other in cloud.made.values():
        # A router's interfaces and peers are parts of it, and name it by its name.
        if other.id != made.id and own & set(_links(other.inputs)):
            said = (
                f"The {made.kind.lower()} resource '{_named(made)}' is already being used by "
                f"'{_named(other)}'"
            )
            raise refused(400, said, "resourceInUseByAnotherResource")


def _spoke_in_use(cloud: Cloud, made: Made) -> None:
    instances = {
        each["virtualMachine"]
        for each in made.outputs["linkedRouterApplianceInstances"]["instances"]
    }
    for peer in cloud.of("RouterPeer"):
        if peer.outputs["routerApplianceInstance"] in instances:
            said = f"The spoke is used by the BGP peer '{_named(peer)}'"
            raise refused(400, said, "failedPrecondition")


def _refuse_instance(cloud: Cloud, inputs: Values) -> None:
    project_of(cloud, inputs)
    wanted = {inputs["networkInterfaces"][0]["networkIp"]}
    for config in inputs["networkInterfaces"][0].get("accessConfigs", []):
        wanted.add(config["natIp"])
    for other in cloud.of("Instance"):
        taken = wanted & set(_links(other.outputs["networkInterfaces"]))
        if taken:
            said = f"IP '{min(taken)}' is already being used by another resource."
            raise Refused(f"Error waiting for instance to create: {said}")


def _refuse_peer(cloud: Cloud, inputs: Values) -> None:
    appliances = set(_links([s.outputs for s in cloud.of("Spoke")]))
    if inputs["routerApplianceInstance"] not in appliances:
        said = "The router appliance instance is not linked to a Network Connectivity Center spoke"
        raise refused(400, said, "invalid")
    name = inputs.get("md5AuthenticationKey", {}).get("name")
    for other in cloud.of("RouterPeer"):
        same = name and name == other.inputs.get("md5AuthenticationKey", {}).get("name")
        if same and other.inputs["router"] == inputs["router"]:
            raise refused(400, "MD5 key names must be unique within a router", "invalid")


def _one_family(inputs: Values) -> Iterator[Misfit]:
    """REST reference of firewalls: one rule holds ranges of one family."""
    families = {":" in each for each in inputs.get("sourceRanges", []) if isinstance(each, str)}
    if len(families) > 1:
        yield "sourceRanges", "IPv4 and IPv6 ranges cannot be mixed in one rule"


def _metadata(inputs: Values) -> Iterator[Misfit]:
    """cloud.google.com/compute/docs/metadata: 256 KB per value."""
    for key, value in inputs.get("metadata", {}).items():
        if isinstance(value, str) and len(value.encode()) > 262_144:
            yield f"metadata.{key}", "Metadata value exceeds 262144 bytes"


NETWORK = Kind(  # resource_compute_network.go
    args=NetworkArgs,
    resource=Network,
    rules={
        **ALWAYS,
        "autoCreateSubnetworks": REPLACES,  # ForceNew
        "description": REPLACES,  # ForceNew
        "internalIpv6Range": REPLACES,  # ForceNew
        "networkProfile": REPLACES,  # ForceNew
        "params": REPLACES,  # ForceNew
        "mtu": UPDATES,  # networks.patch
        "routingMode": UPDATES,  # networks.patch
        "enableUlaInternalIpv6": UPDATES,  # networks.patch
        "networkFirewallPolicyEnforcementOrder": UPDATES,  # networks.patch
        "bgpAlwaysCompareMed": UPDATES,  # networks.patch
        "bgpBestPathSelectionMode": UPDATES,  # networks.patch
        "bgpInterRegionCost": UPDATES,  # networks.patch
        "deleteBgpAlwaysCompareMed": UPDATES,  # no ForceNew
        "deleteDefaultRoutesOnCreate": UPDATES,  # no ForceNew, no effect
    },
    defaults={
        "autoCreateSubnetworks": True,
        "deleteDefaultRoutesOnCreate": False,
        "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
    },
    compute=_network,
    forget=_in_use,
)

SUBNETWORK = Kind(  # resource_compute_subnetwork.go
    args=SubnetworkArgs,
    resource=Subnetwork,
    rules={
        **ALWAYS,
        "network": REPLACES,  # ForceNew
        "description": REPLACES,  # ForceNew
        "purpose": REPLACES,  # ForceNew
        "region": REPLACES,  # ForceNew
        "externalIpv6Prefix": REPLACES,  # ForceNew
        "internalIpv6Prefix": REPLACES,  # ForceNew
        "ipCollection": REPLACES,  # ForceNew
        "params": REPLACES,  # ForceNew
        "reservedInternalRange": REPLACES,  # ForceNew
        "ipCidrRange": REPLACES,  # CustomizeDiff: ForceNew unless the range grows; strictly
        "stackType": UPDATES,  # subnetworks.patch
        "ipv6AccessType": UPDATES,  # subnetworks.patch, with the first change to IPV4_IPV6
        "role": UPDATES,  # subnetworks.patch
        "logConfig": UPDATES,  # subnetworks.patch
        "privateIpGoogleAccess": UPDATES,  # setPrivateIpGoogleAccess
        "privateIpv6GoogleAccess": UPDATES,  # subnetworks.patch
        "secondaryIpRanges": UPDATES,  # subnetworks.patch
        "sendSecondaryIpRangeIfEmpty": UPDATES,  # kept by Terraform only
        "allowSubnetCidrRoutesOverlap": UPDATES,  # subnetworks.patch
        "resolveSubnetMask": UPDATES,  # subnetworks.patch
    },
    compute=_subnetwork,
    forget=_in_use,
)

ADDRESS = Kind(  # resource_compute_address.go
    args=AddressArgs,
    resource=Address,
    rules={
        **ALWAYS,
        "address": REPLACES,  # ForceNew
        "addressType": REPLACES,  # ForceNew
        "description": REPLACES,  # ForceNew
        "ipCollection": REPLACES,  # ForceNew
        "ipVersion": REPLACES,  # ForceNew
        "ipv6EndpointType": REPLACES,  # ForceNew
        "network": REPLACES,  # ForceNew
        "networkTier": REPLACES,  # ForceNew
        "prefixLength": REPLACES,  # ForceNew
        "purpose": REPLACES,  # ForceNew
        "region": REPLACES,  # ForceNew
        "subnetwork": REPLACES,  # ForceNew
        "labels": UPDATES,  # addresses.setLabels
    },
    defaults={"addressType": "EXTERNAL"},
    compute=_address,
    forget=_in_use,
)

FIREWALL = Kind(  # resource_compute_firewall.go
    args=FirewallArgs,
    resource=Firewall,
    rules={
        **ALWAYS,
        "network": REPLACES,  # ForceNew
        "direction": REPLACES,  # ForceNew
        "params": REPLACES,  # ForceNew
        "allows": UPDATES,  # firewalls.patch
        "denies": UPDATES,  # firewalls.patch
        "description": UPDATES,  # firewalls.patch
        "destinationRanges": UPDATES,  # firewalls.patch
        "disabled": UPDATES,  # firewalls.patch
        "enableLogging": UPDATES,  # firewalls.patch
        "logConfig": UPDATES,  # firewalls.patch
        "priority": UPDATES,  # firewalls.patch
        "sourceRanges": UPDATES,  # firewalls.patch
        "sourceServiceAccounts": UPDATES,  # firewalls.patch
        "sourceTags": UPDATES,  # firewalls.patch
        "targetServiceAccounts": UPDATES,  # firewalls.patch
        "targetTags": UPDATES,  # firewalls.patch
    },
    defaults={"priority": 1000},
    compute=_resource("firewalls"),
    check=_one_family,
)

INSTANCE = Kind(  # resource_compute_instance.go
    args=InstanceArgs,
    resource=Instance,
    rules={
        **ALWAYS,
        "zone": REPLACES,  # ForceNew
        "hostname": REPLACES,  # ForceNew
        "description": REPLACES,  # ForceNew
        "bootDisk": REPLACES,  # ForceNew, as its initialize_params.image is
        # ForceNew of the list and of external_ipv6; nat_ip changes in place; judged strictly.
        "networkInterfaces": REPLACES,
        "metadataStartupScript": REPLACES,  # ForceNew
        "guestAccelerators": REPLACES,  # ForceNew
        "scratchDisks": REPLACES,  # ForceNew
        "params": REPLACES,  # ForceNew
        "networkPerformanceConfig": REPLACES,  # ForceNew
        "confidentialInstanceConfig": REPLACES,  # ForceNew
        "reservationAffinity": REPLACES,  # ForceNew
        "instanceEncryptionKey": REPLACES,  # ForceNew
        "eraseWindowsVssSignature": REPLACES,  # ForceNew
        "workloadIdentityConfig": REPLACES,  # ForceNew
        "metadata": UPDATES,  # instances.setMetadata
        "partnerMetadata": UPDATES,  # instances.setMetadata
        "tags": UPDATES,  # instances.setTags
        "labels": UPDATES,  # instances.setLabels
        "machineType": UPDATES,  # instances.setMachineType, stopped and started
        "canIpForward": UPDATES,  # no ForceNew: instances.update
        "attachedDisks": UPDATES,  # instances.attachDisk
        "advancedMachineFeatures": UPDATES,  # stopped and started
        "shieldedInstanceConfig": UPDATES,  # updateShieldedInstanceConfig, stopped and started
        "minCpuPlatform": UPDATES,  # stopped and started
        "serviceAccount": UPDATES,  # stopped and started
        "scheduling": UPDATES,  # instances.setScheduling
        "enableDisplay": UPDATES,  # stopped and started
        "resourcePolicies": UPDATES,  # addResourcePolicies
        "deletionProtection": UPDATES,  # setDeletionProtection
        "desiredStatus": UPDATES,  # instances.start, stop
        "keyRevocationActionType": UPDATES,  # no ForceNew
        "allowStoppingForUpdate": UPDATES,  # kept by Terraform only
    },
    defaults={"canIpForward": False, "deletionProtection": False},
    compute=_instance,
    check=_metadata,
    refuse=_refuse_instance,
    forget=_in_use,
)

ROUTER = Kind(  # resource_compute_router.go
    args=RouterArgs,
    resource=Router,
    rules={
        **ALWAYS,
        "network": REPLACES,  # ForceNew
        "region": REPLACES,  # ForceNew
        "encryptedInterconnectRouter": REPLACES,  # ForceNew
        "nccGateway": REPLACES,  # ForceNew
        "params": REPLACES,  # ForceNew
        "bgp": UPDATES,  # routers.patch
        "description": UPDATES,  # routers.patch
        "md5AuthenticationKeys": UPDATES,  # routers.patch
    },
    compute=_resource("routers"),
    forget=_in_use,
)

ROUTER_INTERFACE = Kind(  # resource_compute_router_interface.go: nothing but ForceNew
    args=RouterInterfaceArgs,
    resource=RouterInterface,
    rules={
        **ALWAYS,
        "router": REPLACES,  # ForceNew
        "interconnectAttachment": REPLACES,  # ForceNew
        "ipRange": REPLACES,  # ForceNew
        "ipVersion": REPLACES,  # ForceNew
        "privateIpAddress": REPLACES,  # ForceNew
        "redundantInterface": REPLACES,  # ForceNew
        "region": REPLACES,  # ForceNew
        "subnetwork": REPLACES,  # ForceNew
        "vpnTunnel": REPLACES,  # ForceNew
    },
    compute=_plain,
)

ROUTER_PEER = Kind(  # resource_compute_router_peer.go
    args=RouterPeerArgs,
    resource=RouterPeer,
    rules={
        **ALWAYS,
        "interface": REPLACES,  # ForceNew
        "router": REPLACES,  # ForceNew
        "region": REPLACES,  # ForceNew
        "peerAsn": UPDATES,  # routers.patch
        "peerIpAddress": UPDATES,  # routers.patch
        "routerApplianceInstance": UPDATES,  # routers.patch
        "md5AuthenticationKey": UPDATES,  # routers.patch
        "advertiseMode": UPDATES,  # routers.patch
        "advertisedGroups": UPDATES,  # routers.patch
        "advertisedIpRanges": UPDATES,  # routers.patch
        "advertisedRoutePriority": UPDATES,  # routers.patch
        "bfd": UPDATES,  # routers.patch
        "customLearnedIpRanges": UPDATES,  # routers.patch
        "customLearnedRoutePriority": UPDATES,  # routers.patch
        "enable": UPDATES,  # routers.patch
        "enableIpv4": UPDATES,  # routers.patch
        "enableIpv6": UPDATES,  # routers.patch
        "exportPolicies": UPDATES,  # routers.patch
        "importPolicies": UPDATES,  # routers.patch
        "ipAddress": UPDATES,  # routers.patch
        "ipv4NexthopAddress": UPDATES,  # routers.patch
        "ipv6NexthopAddress": UPDATES,  # routers.patch
        "peerIpv4NexthopAddress": UPDATES,  # routers.patch
        "peerIpv6NexthopAddress": UPDATES,  # routers.patch
        "zeroAdvertisedRoutePriority": UPDATES,  # kept by Terraform only
        "zeroCustomLearnedRoutePriority": UPDATES,  # kept by Terraform only
    },
    defaults={"advertiseMode": "DEFAULT", "enable": True, "enableIpv6": False},
    compute=_peer,
    refuse=_refuse_peer,
)

HUB = Kind(  # resource_network_connectivity_hub.go
    args=HubArgs,
    resource=Hub,
    rules={
        **ALWAYS,
        "policyMode": REPLACES,  # ForceNew
        "presetTopology": REPLACES,  # ForceNew
        "description": UPDATES,  # hubs.patch
        "exportPsc": UPDATES,  # hubs.patch
        "exportPscConfig": UPDATES,  # hubs.patch
        "labels": UPDATES,  # hubs.patch
    },
    compute=_plain,
    forget=_in_use,
)

SPOKE = Kind(  # resource_network_connectivity_spoke.go
    args=SpokeArgs,
    resource=Spoke,
    rules={
        **ALWAYS,
        "hub": REPLACES,  # ForceNew
        "location": REPLACES,  # ForceNew
        "group": REPLACES,  # ForceNew
        "gateway": REPLACES,  # ForceNew
        "linkedProducerVpcNetwork": REPLACES,  # ForceNew
        "linkedVpcNetwork": REPLACES,  # ForceNew
        # Its instances have been changed in place since GoogleCloudPlatform/magic-modules 12519
        # and 14578; site_to_site_data_transfer is ForceNew, and never changes here.
        "linkedRouterApplianceInstances": UPDATES,
        "linkedInterconnectAttachments": UPDATES,  # likewise
        "linkedVpnTunnels": UPDATES,  # likewise
        "description": UPDATES,  # spokes.patch
        "labels": UPDATES,  # spokes.patch
    },
    compute=_plain,
    forget=_spoke_in_use,
)

KINDS = (
    NETWORK,
    SUBNETWORK,
    ADDRESS,
    FIREWALL,
    INSTANCE,
    ROUTER,
    ROUTER_INTERFACE,
    ROUTER_PEER,
    HUB,
    SPOKE,
)


def gcp() -> Cloud:
    """A project with nothing in it."""
    cloud = Cloud(
        "gcp",
        KINDS,
        {
            "gcp:compute/getImage:getImage": get_image,
            "gcp:compute/getMachineTypes:getMachineTypes": get_machine_types,
        },
        version="10.2.0",
    )
    cloud.authorize = lambda config: authorize(cloud, config)
    cloud.facts = {
        "credentials": CREDENTIALS,
        "projects": [PROJECT],
        "families": ["debian-12", "debian-13"],
        "types": ["e2-small", "e2-medium", "n2-standard-2"],
        "zones": ["a", "b", "c", "f"],
    }
    return cloud
