"""AWS as the engine sees it: EC2 and its VPCs, in as many regions as are asked for.

The replace rules are those of terraform-provider-aws (github.com/hashicorp/terraform-provider-aws,
``internal/service/ec2``; the file stands beside each table), under which the plugin of
``pulumi_aws`` stands. ``region`` replaces everywhere (``internal/provider``: the enhanced region
support of version 6); ``timeouts`` never do.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

from mesh.infra.providers.submodules import submodules_only
from tests.kit.clouds.cloud import REPLACES, UPDATES, Cloud, Kind, Made, Refused, Rule
from tests.kit.clouds.schema import Misfit, Values, inputs_of

with submodules_only("pulumi_aws.ec2"):
    from pulumi_aws.ec2.eip import Eip, EipArgs
    from pulumi_aws.ec2.eip_association import EipAssociation, EipAssociationArgs
    from pulumi_aws.ec2.instance import Instance, InstanceArgs
    from pulumi_aws.ec2.internet_gateway import InternetGateway, InternetGatewayArgs
    from pulumi_aws.ec2.network_interface import NetworkInterface, NetworkInterfaceArgs
    from pulumi_aws.ec2.route import Route, RouteArgs
    from pulumi_aws.ec2.route_table import RouteTable, RouteTableArgs
    from pulumi_aws.ec2.route_table_association import (
        RouteTableAssociation,
        RouteTableAssociationArgs,
    )
    from pulumi_aws.ec2.security_group import SecurityGroup, SecurityGroupArgs
    from pulumi_aws.ec2.subnet import Subnet, SubnetArgs
    from pulumi_aws.ec2.subnet_cidr_reservation import (
        SubnetCidrReservation,
        SubnetCidrReservationArgs,
    )
    from pulumi_aws.ec2.vpc import Vpc, VpcArgs
with submodules_only("pulumi_aws.vpc"):
    from pulumi_aws.vpc.route_server import RouteServer, RouteServerArgs
    from pulumi_aws.vpc.route_server_endpoint import RouteServerEndpoint, RouteServerEndpointArgs
    from pulumi_aws.vpc.route_server_peer import RouteServerPeer, RouteServerPeerArgs
    from pulumi_aws.vpc.route_server_propagation import (
        RouteServerPropagation,
        RouteServerPropagationArgs,
    )
    from pulumi_aws.vpc.route_server_vpc_association import (
        RouteServerVpcAssociation,
        RouteServerVpcAssociationArgs,
    )
    from pulumi_aws.vpc.security_group_egress_rule import (
        SecurityGroupEgressRule,
        SecurityGroupEgressRuleArgs,
    )
    from pulumi_aws.vpc.security_group_ingress_rule import (
        SecurityGroupIngressRule,
        SecurityGroupIngressRuleArgs,
    )

ACCESS_KEY = "AKIAIOSFODNN7TESTING"
SECRET_KEY = "the-secret-access-key-of-the-tests"
ACCOUNT = "123456789012"
DEBIAN = "136693071363"
RULES = 60
ZONES = {
    "us-west-1": ("us-west-1a", "us-west-1c"),
    "us-east-1": ("us-east-1a", "us-east-1b", "us-east-1e"),
}
LOCAL_ZONES = {"us-west-1": "us-west-1-lax-1a", "us-east-1": "us-east-1-bos-1a"}
"""What offerings list beside the zones; a region's address cannot be mapped there."""


def refused(operation: str, code: str, text: str) -> Refused:
    """The API's error as its Go SDK writes it (smithy-go, ``OperationError``)."""
    return Refused(
        f"operation error EC2: {operation}, https response error StatusCode: 400, "
        f"RequestID: 00000000-0000-4000-8000-000000000000, api error {code}: {text}"
    )


def limit(operation: str, code: str, text: str) -> str:
    """What is said to one too many, for ``Cloud.quotas``."""
    return str(refused(operation, code, text))


TOO_MANY_ADDRESSES = limit(
    "AllocateAddress", "AddressLimitExceeded", "The maximum number of addresses has been reached."
)
UNKNOWN_KEY = (
    "operation error EC2: DescribeRegions, https response error StatusCode: 401, RequestID: "
    "00000000-0000-4000-8000-000000000000, api error AuthFailure: AWS was not able to validate the "
    "provided access credentials"
)


def authorize(cloud: Cloud, config: Mapping[str, str]) -> None:
    if (config.get("accessKey"), config.get("secretKey")) != cloud.facts["key"]:
        raise Refused(UNKNOWN_KEY)


def identity(prefix: str) -> Callable[[Cloud, Values], str]:
    """Ids as AWS gives them: what it is, and seventeen digits."""
    return lambda cloud, _inputs: f"{prefix}-{cloud.count():017x}"


def rules(args: type, replaces: str, updates: str = "") -> dict[str, Rule]:
    """A table of the inputs that replace; the others that the file knows are updated in place."""
    named: dict[str, Rule] = dict.fromkeys(replaces.split(), REPLACES)
    named |= dict.fromkeys(updates.split(), UPDATES)
    for name in ("tags", "timeouts"):
        if name in inputs_of(args):
            named[name] = UPDATES
    return {"region": REPLACES, **named}


def arn(kind: str) -> Callable[[Cloud, str, Values], Values]:
    """The outputs that every tagged thing has."""

    def compute(_cloud: Cloud, made: str, inputs: Values) -> Values:
        where = f"arn:aws:ec2:{inputs['region']}:{ACCOUNT}:{kind}/{made}"
        return {"arn": where, "ownerId": ACCOUNT, "tagsAll": inputs.get("tags", {})}

    return compute


def using(cloud: Cloud, key: str, value: str, *kinds: str) -> list[Made]:
    """What exists of these kinds with that input."""
    return [each for kind in kinds for each in cloud.of(kind) if each.inputs.get(key) == value]


def missing(cloud: Cloud, inputs: Values, key: str, code: str) -> None:
    """The API refuses an id that does not exist, or that is another region's."""
    there = cloud.made.get(inputs[key])
    given = inputs[key] in cloud.facts["given"]
    if not given and (there is None or there.inputs["region"] != inputs["region"]):
        raise refused("Create", code, f"The ID '{inputs[key]}' does not exist")


def _vpc(cloud: Cloud, made: str, inputs: Values) -> Values:
    number = cloud.count()
    ipv6 = inputs.get("assignGeneratedIpv6CidrBlock")
    return {
        **arn("vpc")(cloud, made, inputs),
        "ipv6CidrBlock": f"2600:1f00:{number:x}::/56" if ipv6 else "",
        "ipv6AssociationId": f"vpc-cidr-assoc-{number:017x}" if ipv6 else "",
        "mainRouteTableId": f"rtb-{number:017x}",
        "defaultRouteTableId": f"rtb-{number:017x}",
        "defaultSecurityGroupId": f"sg-{number:017x}",
        "defaultNetworkAclId": f"acl-{number:017x}",
        "dhcpOptionsId": f"dopt-{number:017x}",
        "enableDnsSupport": True,
        "enableDnsHostnames": False,
        "instanceTenancy": "default",
    }


def _free_vpc(cloud: Cloud, made: Made) -> None:
    """DeleteVpc: nothing may be left in it; a route table and the like go with ours first."""
    if using(cloud, "vpcId", made.id, "Subnet", "SecurityGroup", "RouteTable", "InternetGateway"):
        text = f"The vpc '{made.id}' has dependencies and cannot be deleted."
        raise refused("DeleteVpc", "DependencyViolation", text)


def _refuse_subnet(cloud: Cloud, inputs: Values) -> None:
    missing(cloud, inputs, "vpcId", "InvalidVpcID.NotFound")
    net = cloud.made[inputs["vpcId"]]
    if not IPv4Network(inputs["cidrBlock"]).subnet_of(IPv4Network(net.inputs["cidrBlock"])):
        text = f"The CIDR '{inputs['cidrBlock']}' is invalid."
        raise refused("CreateSubnet", "InvalidSubnet.Range", text)
    block = inputs.get("ipv6CidrBlock")
    if block and (
        IPv6Network(block).prefixlen != 64
        or not IPv6Network(block).subnet_of(IPv6Network(net.outputs["ipv6CidrBlock"]))
    ):
        raise refused("CreateSubnet", "InvalidSubnet.Range", f"The CIDR '{block}' is invalid.")
    if inputs.get("availabilityZone") not in (None, *ZONES[inputs["region"]]):
        text = f"Value ({inputs['availabilityZone']}) for parameter availabilityZone is invalid."
        raise refused("CreateSubnet", "InvalidParameterValue", text)


def _free_subnet(cloud: Cloud, made: Made) -> None:
    if using(cloud, "subnetId", made.id, "NetworkInterface", "RouteServerEndpoint"):
        text = f"The subnet '{made.id}' has dependencies and cannot be deleted."
        raise refused("DeleteSubnet", "DependencyViolation", text)


def _free_gateway(cloud: Cloud, made: Made) -> None:
    """DetachInternetGateway: no Elastic IP may be in use in its VPC."""
    net = made.inputs["vpcId"]
    if any(_vpc_of(cloud, each) == net for each in cloud.of("EipAssociation")):
        text = (
            f"Network {net} has some mapped public address(es). Please unmap those public "
            "address(es) before detaching the gateway."
        )
        raise refused("DetachInternetGateway", "DependencyViolation", text)


def _vpc_of(cloud: Cloud, association: Made) -> str:
    interface = cloud.made[association.inputs["networkInterfaceId"]]
    subnet = cloud.made.get(interface.inputs["subnetId"])
    return str(subnet.inputs["vpcId"] if subnet else cloud.facts["subnets"][0]["vpcId"])


def _free_group(cloud: Cloud, made: Made) -> None:
    if any(made.id in each.inputs["securityGroups"] for each in cloud.of("NetworkInterface")):
        text = f"resource {made.id} has a dependent object"
        raise refused("DeleteSecurityGroup", "DependencyViolation", text)


def _refuse_group(cloud: Cloud, inputs: Values) -> None:
    missing(cloud, inputs, "vpcId", "InvalidVpcID.NotFound")
    there = using(cloud, "vpcId", inputs["vpcId"], "SecurityGroup")
    if any(each.inputs["name"] == inputs["name"] for each in there):
        text = f"The security group '{inputs['name']}' already exists for VPC '{inputs['vpcId']}'"
        raise refused("CreateSecurityGroup", "InvalidGroup.Duplicate", text)


def _one_source(inputs: Values) -> Iterator[Misfit]:
    """ExactlyOneOf, and the validators of both CIDRs."""
    sources = ("cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId")
    given = [key for key in sources if inputs.get(key)]
    if len(given) != 1:
        yield "cidrIpv4", f"exactly one of {', '.join(sources)} is wanted, not {given}"
    for key, kind in (("cidrIpv4", IPv4Network), ("cidrIpv6", IPv6Network)):
        if isinstance(inputs.get(key), str):
            try:
                kind(inputs[key])
            except ValueError as error:
                yield key, str(error)


def _refuse_rule(cloud: Cloud, inputs: Values) -> None:
    missing(cloud, inputs, "securityGroupId", "InvalidGroup.NotFound")
    group = inputs["securityGroupId"]
    family = "cidrIpv6" if inputs.get("cidrIpv6") else "cidrIpv4"
    present = using(cloud, "securityGroupId", group, "SecurityGroupIngressRule")
    if len([each for each in present if each.inputs.get(family)]) >= RULES:
        raise refused(
            "AuthorizeSecurityGroupIngress",
            "RulesPerSecurityGroupLimitExceeded",
            "The maximum number of rules per security group has been reached.",
        )
    same = ("ipProtocol", "fromPort", "toPort", family)
    if any(all(each.inputs.get(k) == inputs.get(k) for k in same) for each in present):
        text = f'the specified rule "peer: {inputs[family]}" already exists'
        raise refused("AuthorizeSecurityGroupIngress", "InvalidPermission.Duplicate", text)


def _rule(cloud: Cloud, made: str, inputs: Values) -> Values:
    common = arn("security-group-rule")(cloud, made, inputs)
    return {"arn": common["arn"], "tagsAll": common["tagsAll"], "securityGroupRuleId": made}


def _refuse_interface(cloud: Cloud, inputs: Values) -> None:
    missing(cloud, inputs, "subnetId", "InvalidSubnetID.NotFound")
    network = _subnet(cloud, inputs["subnetId"])
    for address in map(IPv4Address, inputs.get("privateIps", [])):
        reserved = [*list(network)[:4], network[-1]]
        if address not in network or address in reserved:
            text = f"Address {address} is in subnet's reserved address range"
            raise refused("CreateNetworkInterface", "InvalidParameterValue", text)
        if str(address) in _in_use(cloud, inputs["subnetId"]):
            text = "The specified address is already in use."
            raise refused("CreateNetworkInterface", "InvalidIPAddress.InUse", text)


def _subnet(cloud: Cloud, made: str) -> IPv4Network:
    if made in cloud.made:
        return IPv4Network(cloud.made[made].inputs["cidrBlock"])
    (given,) = (each for each in cloud.facts["subnets"] if each["id"] == made)
    return IPv4Network(given["cidrBlock"])


def _in_use(cloud: Cloud, subnet: str) -> set[str]:
    interfaces = using(cloud, "subnetId", subnet, "NetworkInterface")
    taken = {address for each in interfaces for address in each.inputs["privateIps"]}
    routers = using(cloud, "subnetId", subnet, "RouteServerEndpoint")
    return taken | {each.outputs["eniAddress"] for each in routers if "eniAddress" in each.outputs}


def _interface(cloud: Cloud, made: str, inputs: Values) -> Values:
    number, count = cloud.count(), inputs.get("ipv6AddressCount", 0)
    return {
        **arn("network-interface")(cloud, made, inputs),
        "privateIp": inputs["privateIps"][0],
        "ipv6Addresses": [f"2600:1f00:{number:x}::{i + 1:x}" for i in range(count)],
        "ipv6AddressCount": count,
        "macAddress": f"02:00:00:00:{number // 256:02x}:{number % 256:02x}",
        "interfaceType": "interface",
        "attachments": [],
    }


def _attached(cloud: Cloud, interface: str) -> list[Made]:
    servers = cloud.of("Instance")
    return [
        each
        for each in servers
        if each.inputs["primaryNetworkInterface"]["networkInterfaceId"] == interface
    ]


def _look_at_interface(cloud: Cloud, made: Made) -> Values:
    """What an instance does to it (attachment: Optional and Computed)."""
    return {
        "attachments": [
            {"attachmentId": f"eni-attach-{each.id[2:]}", "deviceIndex": 0, "instance": each.id}
            for each in _attached(cloud, made.id)
        ]
    }


def _free_interface(cloud: Cloud, made: Made) -> None:
    if _attached(cloud, made.id):
        text = f"Network interface '{made.id}' is currently in use."
        raise refused("DeleteNetworkInterface", "InvalidParameterValue", text)


def _eip(cloud: Cloud, made: str, inputs: Values) -> Values:
    number = cloud.count()
    # Nobody listens there, and what is sent there stays on this machine.
    address = f"127.17.{number // 250}.{number % 250 + 2}"
    return {
        "arn": f"arn:aws:ec2:{inputs['region']}:{ACCOUNT}:elastic-ip/{made}",
        "allocationId": made,
        "publicIp": address,
        "publicDns": f"ec2-{address.replace('.', '-')}.compute.amazonaws.com",
        "publicIpv4Pool": "amazon",
        "networkBorderGroup": inputs["region"],
        "tagsAll": inputs.get("tags", {}),
    }


def _look_at_eip(cloud: Cloud, made: Made) -> Values:
    """What an association does to it (both Optional and Computed)."""
    found = using(cloud, "allocationId", made.id, "EipAssociation")
    if not found:
        return {"associationId": "", "networkInterface": ""}
    (one,) = found
    return {"associationId": one.id, "networkInterface": one.inputs["networkInterfaceId"]}


def _free_eip(cloud: Cloud, made: Made) -> None:
    if using(cloud, "allocationId", made.id, "EipAssociation"):
        text = f"The address with allocation id {made.id} cannot be released because it is in use."
        raise refused("ReleaseAddress", "InvalidIPAddress.InUse", text)


def _refuse_association(cloud: Cloud, inputs: Values) -> None:
    missing(cloud, inputs, "allocationId", "InvalidAllocationID.NotFound")
    missing(cloud, inputs, "networkInterfaceId", "InvalidNetworkInterfaceID.NotFound")
    subnet = cloud.made.get(cloud.made[inputs["networkInterfaceId"]].inputs["subnetId"])
    if subnet and not using(cloud, "vpcId", subnet.inputs["vpcId"], "InternetGateway"):
        text = f"Network {subnet.inputs['vpcId']} is not attached to any internet gateway"
        raise refused("AssociateAddress", "Gateway.NotAttached", text)


def _refuse_instance(cloud: Cloud, inputs: Values) -> None:
    interface = inputs["primaryNetworkInterface"]["networkInterfaceId"]
    if _attached(cloud, interface):
        text = f"Interface: [{interface}] in use."
        raise refused("RunInstances", "InvalidNetworkInterface.InUse", text)
    if inputs["ami"] not in {image["imageId"] for image in cloud.facts["images"]}:
        text = f"The image id '[{inputs['ami']}]' does not exist"
        raise refused("RunInstances", "InvalidAMIID.NotFound", text)
    subnet = cloud.made.get(cloud.made[interface].inputs["subnetId"])
    zone = subnet.inputs["availabilityZone"] if subnet else cloud.facts["subnets"][0]["zone"]
    if zone not in cloud.facts["sizes"].get(inputs["instanceType"], {}).get("zones", ()):
        text = (
            f"Your requested instance type ({inputs['instanceType']}) is not supported in your "
            f"requested Availability Zone ({zone})."
        )
        raise refused("RunInstances", "Unsupported", text)


def _instance(cloud: Cloud, made: str, inputs: Values) -> Values:
    interface = cloud.made[inputs["primaryNetworkInterface"]["networkInterfaceId"]]
    return {
        "arn": f"arn:aws:ec2:{inputs['region']}:{ACCOUNT}:instance/{made}",
        "instanceState": "running",
        "primaryNetworkInterfaceId": interface.id,
        "privateIp": interface.inputs["privateIps"][0],
        "subnetId": interface.inputs["subnetId"],
        "sourceDestCheck": interface.inputs["sourceDestCheck"],
        "vpcSecurityGroupIds": interface.inputs["securityGroups"],
        "tagsAll": inputs.get("tags", {}),
    }


def _user_data(inputs: Values) -> list[Misfit]:
    """ConflictsWith of the two forms of user data, and of an interface of one's own."""
    own = ("subnetId", "privateIp", "vpcSecurityGroupIds", "sourceDestCheck", "ipv6Addresses")
    found = [
        (key, '"primary_network_interface": conflicts with it')
        for key in own
        if inputs.get(key) is not None and inputs.get("primaryNetworkInterface")
    ]
    if inputs.get("userData") and inputs.get("userDataBase64"):
        found.append(("userData", '"user_data": conflicts with user_data_base64'))
    return found


def _refuse_endpoint(cloud: Cloud, inputs: Values) -> None:
    missing(cloud, inputs, "subnetId", "InvalidSubnetID.NotFound")
    server = inputs["routeServerId"]
    if not using(cloud, "routeServerId", server, "RouteServerVpcAssociation"):
        text = f"Route server {server} is not associated with the VPC of {inputs['subnetId']}"
        raise refused("CreateRouteServerEndpoint", "IncorrectState", text)


def _endpoint(cloud: Cloud, made: str, inputs: Values) -> Values:
    """The first free address of the subnet that nobody has reserved."""
    subnet, net = inputs["subnetId"], _subnet(cloud, inputs["subnetId"])
    reserved = [
        IPv4Network(each.inputs["cidrBlock"])
        for each in using(cloud, "subnetId", subnet, "SubnetCidrReservation")
    ]
    taken = _in_use(cloud, subnet)
    free = (
        address
        for address in list(net)[4:-1]
        if str(address) not in taken and not any(address in one for one in reserved)
    )
    common = arn("route-server-endpoint")(cloud, made, inputs)
    return {
        "arn": common["arn"],
        "tagsAll": common["tagsAll"],
        "routeServerEndpointId": made,
        "eniAddress": str(next(free)),
        "eniId": f"eni-{cloud.count():017x}",
    }


def _peer(cloud: Cloud, made: str, inputs: Values) -> Values:
    endpoint = cloud.made[inputs["routeServerEndpointId"]]
    common = arn("route-server-peer")(cloud, made, inputs)
    return {
        "arn": common["arn"],
        "tagsAll": common["tagsAll"],
        "routeServerPeerId": made,
        "routeServerId": endpoint.inputs["routeServerId"],
        "endpointEniAddress": endpoint.outputs["eniAddress"],
        "endpointEniId": endpoint.outputs["eniId"],
        "subnetId": endpoint.inputs["subnetId"],
    }


def _router(cloud: Cloud, made: str, inputs: Values) -> Values:
    common = arn("route-server")(cloud, made, inputs)
    return {
        "arn": common["arn"],
        "tagsAll": common["tagsAll"],
        "routeServerId": made,
        "persistRoutes": "disable",
        "snsNotificationsEnabled": False,
    }


def _still(*kinds: str, key: str) -> Callable[[Cloud, Made], None]:
    """DeleteRouteServer…: what hangs on it goes first."""

    def forget(cloud: Cloud, made: Made) -> None:
        identity = made.inputs.get(key, made.id) if key == "routeServerId" else made.id
        if using(cloud, key, identity, *kinds):
            text = f"{made.id} still has {', '.join(kinds)}"
            raise refused("Delete", "IncorrectState", text)

    return forget


KINDS = (
    Kind(  # vpc_.go
        args=VpcArgs,
        resource=Vpc,
        rules=rules(
            VpcArgs,
            # ForceNew; instance_tenancy by CustomizeDiff, but for dedicated to default.
            "cidrBlock ipv4IpamPoolId ipv4NetmaskLength instanceTenancy",
            "assignGeneratedIpv6CidrBlock enableDnsHostnames enableDnsSupport "
            "enableNetworkAddressUsageMetrics ipv6CidrBlock ipv6CidrBlockNetworkBorderGroup "
            "ipv6IpamPoolId ipv6NetmaskLength",
        ),
        identify=identity("vpc"),
        compute=_vpc,
        forget=_free_vpc,
    ),
    Kind(  # vpc_subnet.go
        args=SubnetArgs,
        resource=Subnet,
        rules=rules(
            SubnetArgs,
            # ForceNew
            "vpcId cidrBlock availabilityZone availabilityZoneId ipv6Native outpostArn "
            "ipv4IpamPoolId ipv4NetmaskLength ipv6IpamPoolId ipv6NetmaskLength",
            # ModifySubnetAttribute; an IPv6 block is associated and dissociated
            "ipv6CidrBlock assignIpv6AddressOnCreation customerOwnedIpv4Pool enableDns64 "
            "enableLniAtDeviceIndex enableResourceNameDnsARecordOnLaunch "
            "enableResourceNameDnsAaaaRecordOnLaunch mapCustomerOwnedIpOnLaunch "
            "mapPublicIpOnLaunch privateDnsHostnameTypeOnLaunch",
        ),
        identify=identity("subnet"),
        compute=arn("subnet"),
        refuse=_refuse_subnet,
        forget=_free_subnet,
    ),
    Kind(  # vpc_subnet_cidr_reservation.go: there is no Update
        args=SubnetCidrReservationArgs,
        resource=SubnetCidrReservation,
        rules=rules(SubnetCidrReservationArgs, "cidrBlock reservationType subnetId description"),
        identify=identity("scr"),
        compute=lambda _cloud, _id, _inputs: {"ownerId": ACCOUNT},
        refuse=lambda cloud, inputs: missing(cloud, inputs, "subnetId", "InvalidSubnetID.NotFound"),
    ),
    Kind(  # vpc_internet_gateway.go: vpc_id is detached and attached
        args=InternetGatewayArgs,
        resource=InternetGateway,
        rules=rules(InternetGatewayArgs, "", "vpcId"),
        identify=identity("igw"),
        compute=arn("internet-gateway"),
        forget=_free_gateway,
    ),
    Kind(  # vpc_route_table.go
        args=RouteTableArgs,
        resource=RouteTable,
        rules=rules(RouteTableArgs, "vpcId", "propagatingVgws routes"),
        identify=identity("rtb"),
        compute=arn("route-table"),
    ),
    Kind(  # vpc_route_table_association.go: ReplaceRouteTableAssociation
        args=RouteTableAssociationArgs,
        resource=RouteTableAssociation,
        rules=rules(RouteTableAssociationArgs, "subnetId gatewayId", "routeTableId"),
        identify=identity("rtbassoc"),
    ),
    Kind(  # vpc_route.go: ReplaceRoute
        args=RouteArgs,
        resource=Route,
        rules=rules(
            RouteArgs,
            "routeTableId destinationCidrBlock destinationIpv6CidrBlock destinationPrefixListId",
            "carrierGatewayId coreNetworkArn egressOnlyGatewayId gatewayId localGatewayId "
            "natGatewayId networkInterfaceId odbNetworkArn transitGatewayId vpcEndpointId "
            "vpcPeeringConnectionId",
        ),
        identify=identity("r-rtb"),
        compute=lambda _cloud, _id, _inputs: {"origin": "CreateRoute", "state": "active"},
    ),
    Kind(  # vpc_security_group.go
        args=SecurityGroupArgs,
        resource=SecurityGroup,
        rules=rules(
            SecurityGroupArgs,
            "description name namePrefix vpcId",
            "ingress egress revokeRulesOnDelete",
        ),
        identify=identity("sg"),
        compute=arn("security-group"),
        refuse=_refuse_group,
        forget=_free_group,
    ),
    *(
        Kind(  # vpc_security_group_{in,e}gress_rule.go: ModifySecurityGroupRules; ModifyPlan
            args=args,
            resource=resource,
            rules=rules(
                args,
                "securityGroupId",
                # A source of another kind replaces (sourceAttributeName): the program never
                # changes the kind of a rule that it has given a name.
                "ipProtocol fromPort toPort cidrIpv4 cidrIpv6 description prefixListId "
                "referencedSecurityGroupId",
            ),
            identify=identity("sgr"),
            compute=_rule,
            check=_one_source,
            refuse=_refuse_rule if resource is SecurityGroupIngressRule else lambda *_: None,
        )
        for args, resource in (
            (SecurityGroupIngressRuleArgs, SecurityGroupIngressRule),
            (SecurityGroupEgressRuleArgs, SecurityGroupEgressRule),
        )
    ),
    Kind(  # vpc_network_interface.go
        args=NetworkInterfaceArgs,
        resource=NetworkInterface,
        rules=rules(
            NetworkInterfaceArgs,
            # ForceNew; the two lists by CustomizeDiff, where the first address changes
            "subnetId interfaceType privateIps privateIpLists enablePrimaryIpv6",
            # ModifyNetworkInterfaceAttribute, Assign…Addresses, Attach and Detach
            "attachments connectionTrackingSpecification description enaSrdSpecification "
            "ipv4PrefixCount ipv4Prefixes ipv6AddressCount ipv6AddressListEnabled "
            "ipv6AddressLists ipv6Addresses ipv6PrefixCount ipv6Prefixes privateIp "
            "privateIpListEnabled privateIpsCount securityGroups sourceDestCheck",
        ),
        defaults={"sourceDestCheck": True, "privateIpListEnabled": False},
        identify=identity("eni"),
        compute=_interface,
        look=_look_at_interface,
        refuse=_refuse_interface,
        forget=_free_interface,
    ),
    Kind(  # ec2_eip.go
        args=EipArgs,
        resource=Eip,
        rules=rules(
            EipArgs,
            "address customerOwnedIpv4Pool domain ipamPoolId networkBorderGroup publicIpv4Pool",
            "associateWithPrivateIp instance networkInterface",
        ),
        identify=identity("eipalloc"),
        compute=_eip,
        look=_look_at_eip,
        forget=_free_eip,
    ),
    Kind(  # ec2_eip_association.go: there is no Update
        args=EipAssociationArgs,
        resource=EipAssociation,
        rules=rules(
            EipAssociationArgs,
            "allocationId allowReassociation instanceId networkInterfaceId privateIpAddress "
            "publicIp",
        ),
        identify=identity("eipassoc"),
        refuse=_refuse_association,
    ),
    Kind(  # vpc_route_server.go: RequiresReplace; ModifyRouteServer
        args=RouteServerArgs,
        resource=RouteServer,
        rules=rules(
            RouteServerArgs,
            "amazonSideAsn",
            "persistRoutes persistRoutesDuration snsNotificationsEnabled",
        ),
        identify=identity("rs"),
        compute=_router,
        forget=_still("RouteServerVpcAssociation", "RouteServerEndpoint", key="routeServerId"),
    ),
    Kind(  # vpc_route_server_vpc_association.go: RequiresReplace
        args=RouteServerVpcAssociationArgs,
        resource=RouteServerVpcAssociation,
        rules=rules(RouteServerVpcAssociationArgs, "routeServerId vpcId"),
        identify=lambda _cloud, inputs: f"{inputs['routeServerId']},{inputs['vpcId']}",
        forget=_still("RouteServerEndpoint", "RouteServerPropagation", key="routeServerId"),
    ),
    Kind(  # vpc_route_server_endpoint.go: RequiresReplace
        args=RouteServerEndpointArgs,
        resource=RouteServerEndpoint,
        rules=rules(RouteServerEndpointArgs, "routeServerId subnetId"),
        identify=identity("rse"),
        compute=_endpoint,
        refuse=_refuse_endpoint,
        forget=_still("RouteServerPeer", key="routeServerEndpointId"),
    ),
    Kind(  # vpc_route_server_propagation.go: RequiresReplace
        args=RouteServerPropagationArgs,
        resource=RouteServerPropagation,
        rules=rules(RouteServerPropagationArgs, "routeServerId routeTableId"),
        identify=lambda _cloud, inputs: f"{inputs['routeServerId']},{inputs['routeTableId']}",
    ),
    Kind(  # vpc_route_server_peer.go: RequiresReplace, bgp_options and all in it too
        args=RouteServerPeerArgs,
        resource=RouteServerPeer,
        rules=rules(RouteServerPeerArgs, "bgpOptions peerAddress routeServerEndpointId"),
        identify=identity("rsp"),
        compute=_peer,
    ),
    Kind(  # ec2_instance.go
        args=InstanceArgs,
        resource=Instance,
        rules=rules(
            InstanceArgs,
            # ForceNew
            "ami associatePublicIpAddress availabilityZone cpuOptions ebsBlockDevices ebsOptimized "
            "enablePrimaryIpv6 enclaveOptions ephemeralBlockDevices hibernation hostId "
            "instanceMarketOptions ipv6AddressCount ipv6Addresses keyName launchTemplate "
            "networkInterfaces placementGroup placementGroupId primaryNetworkInterface "
            "privateDnsNameOptions privateIp secondaryNetworkInterfaces securityGroups subnetId "
            "tenancy "
            # ForceNew of what is in it and matters here: encrypted, device_name, kms_key_id
            "rootBlockDevice",
            # Stop, ModifyInstanceAttribute, start: user data only without
            # user_data_replace_on_change (CustomizeDiff), which the program leaves off
            "userData userDataBase64 userDataReplaceOnChange instanceType "
            # ModifyInstance…
            "capacityReservationSpecification creditSpecification disableApiStop "
            "disableApiTermination forceDestroy getPasswordData hostResourceGroupArn "
            "iamInstanceProfile instanceInitiatedShutdownBehavior maintenanceOptions "
            "metadataOptions monitoring placementPartitionNumber secondaryPrivateIps "
            "sourceDestCheck volumeTags vpcSecurityGroupIds",
        ),
        defaults={"getPasswordData": False, "userDataReplaceOnChange": False},
        # Conflicts with an interface of one's own, and is compared with that interface's
        # (hashicorp/terraform-provider-aws, issue 44768).
        implied={"sourceDestCheck": True},
        identify=identity("i"),
        compute=_instance,
        check=_user_data,
        refuse=_refuse_instance,
    ),
)


def get_regions(cloud: Cloud, _arguments: Values) -> Values:
    return {"id": "aws", "names": cloud.facts["regions"]}


def get_ami(cloud: Cloud, arguments: Values) -> Values:
    """ec2_ami_data_source.go: the newest of those that match."""
    (pattern,) = (f["values"][0] for f in arguments["filters"] if f["name"] == "name")
    found = [
        image
        for image in cloud.facts["images"]
        if fnmatch.fnmatch(image["name"], pattern) and image["ownerId"] in arguments["owners"]
    ]
    if not found:
        raise Refused(
            "Your query returned no results. Please change your search criteria and try again."
        )
    return max(found, key=lambda image: str(image["creationDate"]))


def get_instance_type_offerings(cloud: Cloud, arguments: Values) -> Values:
    """ec2_instance_type_offerings_data_source.go: parallel lists."""
    assert arguments["locationType"] == "availability-zone"
    (wanted,) = (f["values"] for f in arguments["filters"] if f["name"] == "instance-type")
    rows = [
        (size, zone)
        for size in wanted
        for zone in cloud.facts["sizes"].get(size, {}).get("zones", ())
        if zone in (*ZONES[arguments["region"]], LOCAL_ZONES[arguments["region"]])
    ]
    return {
        "id": arguments["region"],
        "instanceTypes": [size for size, _ in rows],
        "locations": [zone for _, zone in rows],
        "locationTypes": ["availability-zone" for _ in rows],
    }


def get_instance_types(cloud: Cloud, arguments: Values) -> Values:
    """ec2_instance_types_data_source.go"""
    filters = {each["name"]: each["values"] for each in arguments["filters"]}
    found = [
        size
        for size in filters["instance-type"]
        if cloud.facts["sizes"].get(size, {}).get("architecture")
        in filters["processor-info.supported-architecture"]
    ]
    return {"id": arguments["region"], "instanceTypes": found}


def get_instances(cloud: Cloud, arguments: Values) -> Values:
    """ec2_instances_data_source.go"""
    found = [each for each in cloud.of("Instance") if _selected(each, arguments)]
    return {"id": arguments["region"], "ids": [each.id for each in found]}


def _selected(made: Made, arguments: Values) -> bool:
    """Whether this is in the region, and the filters let it through."""
    known = {f"tag:{key}": value for key, value in made.inputs["tags"].items()}
    known["instance-type"] = made.inputs.get("instanceType", "")
    return made.inputs["region"] == arguments["region"] and all(
        any(fnmatch.fnmatch(known.get(each["name"], ""), value) for value in each["values"])
        for each in arguments["filters"]
    )


def get_subnet(cloud: Cloud, arguments: Values) -> Values:
    """vpc_subnet_data_source.go"""
    if "filters" in arguments:
        found = [each for each in cloud.of("Subnet") if _selected(each, arguments)]
        if not found:
            raise Refused("no matching EC2 Subnet found")
        (one,) = found
        return {"id": one.id, **one.inputs}
    for each in cloud.facts["subnets"]:
        if each["id"] == arguments["id"]:
            return {**each, "availabilityZone": each["zone"]}
    text = f"The subnet ID '{arguments['id']}' does not exist"
    raise refused("DescribeSubnets", "InvalidSubnetID.NotFound", text)


def aws() -> Cloud:
    """An account with nothing in it, but a VPC that somebody made by hand."""
    cloud = Cloud(
        "aws",
        KINDS,
        {
            "aws:index/getRegions:getRegions": get_regions,
            "aws:ec2/getAmi:getAmi": get_ami,
            "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings": (
                get_instance_type_offerings
            ),
            "aws:ec2/getInstanceTypes:getInstanceTypes": get_instance_types,
            "aws:ec2/getInstances:getInstances": get_instances,
            "aws:ec2/getSubnet:getSubnet": get_subnet,
        },
        version="7.51.1",
    )
    cloud.authorize = lambda config: authorize(cloud, config)
    every = [zone for zones in ZONES.values() for zone in zones]
    cloud.facts = {
        "key": (ACCESS_KEY, SECRET_KEY),
        "regions": sorted(ZONES),
        "images": [
            _image("ami-0a", "debian-12-amd64-20260101-1", "x86_64", "2026-01-01"),
            _image("ami-0b", "debian-13-amd64-20260101-1", "x86_64", "2026-01-01"),
            _image("ami-0c", "debian-13-amd64-20260201-1", "x86_64", "2026-02-01"),
            _image("ami-0d", "debian-13-arm64-20260201-1", "arm64", "2026-02-01"),
            _image("ami-0e", "debian-13-amd64-99999999-1", "x86_64", "2030-01-01", "666666666666"),
        ],
        "sizes": {
            # As in the real us-east-1, one zone has none of the newer sizes.
            "t3.small": {
                "zones": [*LOCAL_ZONES.values(), *every[:-1]],
                "architecture": "x86_64",
            },
            "m7i.large": {"zones": [every[1], every[3]], "architecture": "x86_64"},
            "c7i.large": {"zones": [every[0]], "architecture": "x86_64"},
            "t4g.small": {"zones": every, "architecture": "arm64"},
        },
        "subnets": [
            {
                "id": "subnet-0123456789abcdef0",
                "vpcId": "vpc-0123456789abcdef0",
                "cidrBlock": "10.99.0.0/24",
                "ipv6CidrBlock": "",
                "zone": "us-west-1c",
            }
        ],
        "given": ["subnet-0123456789abcdef0", "vpc-0123456789abcdef0", "rtb-0123456789abcdef0"],
    }
    return cloud


def _image(
    made: str, name: str, architecture: str, day: str, owner: str = DEBIAN
) -> dict[str, Any]:
    return {
        "id": made,
        "imageId": made,
        "name": name,
        "architecture": architecture,
        "creationDate": f"{day}T00:00:00.000Z",
        "ownerId": owner,
    }
