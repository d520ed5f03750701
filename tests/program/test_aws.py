"""AWS's driver under mocks: what is asked of AWS, in its own words, and what it refuses."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Mapping
from typing import Any

import grpc
import pulumi
import pytest
from pulumi.runtime import mocks

from mesh.infra.providers.aws.user_data import packed
from tests.kit.program import KEYS, OPERATOR, PASSWORD, UNKNOWN, Answers, Registered, Run, run
from tests.kit.stacks import prod
from tests.kit.vultr_api import KEY

RULES = 60
"""What AWS lets a group have in each direction and family, unless asked for more."""
GIVEN = {
    "vpc": "vpc-0123456789abcdef0",
    "subnet": "subnet-0123456789abcdef0",
    "routeTable": "rtb-0123456789abcdef0",
}
SUBNET = {
    "vpcId": GIVEN["vpc"],
    "cidrBlock": "10.99.0.0/24",
    "ipv6CidrBlock": "2600:1f00::/64",
    "availabilityZone": "us-west-1c",
}
SIZES = {
    "t3.small": ("x86_64", ["us-west-1-lax-1a", "us-west-1a", "us-west-1c"]),
    "m7i.large": ("x86_64", ["us-west-1c"]),
    "c7i.large": ("x86_64", ["us-west-1a"]),
    "t4g.small": ("arm64", ["us-west-1a"]),
}
HERE, NODE = "mesh-aws-us-west-1", "mesh-lax-aws-1"


class Said(grpc.RpcError):
    """As the engine hands on what a data source says."""

    def __init__(self, text: str) -> None:
        self._text = text

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        return f"1 error occurred:\n\t* {self._text}\n\n"


class AwsAnswers(Answers):
    """What AWS offers in one region, and what it and Vultr make."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        inputs = dict(args.inputs)
        if self.nothing_exists:
            return None, inputs
        kind = args.typ.rpartition(":")[2]
        computed: Mapping[str, Mapping[str, Any]] = {
            "Operator": {"private": OPERATOR, "public": "cHVibGlj"},
            "Address": {"ipv4": f"198.18.0.{len(args.name)}"},
            "Identity": {"identity": "ab12cd34"},
            "Vpc": {"ipv6CidrBlock": "2600:1f00:aa00::/56"},
            "Eip": {"publicIp": "198.51.100.7", "allocationId": f"{args.name}-id"},
            "NetworkInterface": {
                "ipv6Addresses": ["2600:1f00::7"] if inputs.get("ipv6AddressCount") else []
            },
            "RouteServer": {"routeServerId": "rs-1"},
            "RouteServerEndpoint": {
                "routeServerEndpointId": f"{args.name}-id",
                "eniAddress": f"172.31.0.{3 + int(args.name[-1])}"
                if kind == "RouteServerEndpoint"
                else "",
            },
            "Birth": {"created": "2026-01-01T00:00:00+00:00"},
        }
        inputs |= computed.get(kind, {})
        if args.typ.endswith("vultr:Instance"):
            inputs |= {"created": "2026-01-01T00:00:00+00:00", "ipv6": "2001:db8::1"}
        return f"{args.name}-id", inputs

    def call(self, args: mocks.MockCallArgs) -> Any:
        filters = {f["name"]: f["values"] for f in args.args.get("filters", [])}
        match args.token.rpartition(":")[2]:
            case "getRegions":
                return {"names": ["us-east-1", "us-west-1"]}
            case "getAmi":
                assert args.args["owners"] == ["136693071363"]
                if filters["name"] != ["debian-13-amd64-*"]:
                    raise Said("Your query returned no results. Please change your search")
                return {"imageId": "ami-0c", "architecture": "x86_64"}
            case "getInstanceTypeOfferings":
                rows = [(s, z) for s in filters["instance-type"] for z in SIZES.get(s, ("", []))[1]]
                return {"instanceTypes": [s for s, _ in rows], "locations": [z for _, z in rows]}
            case "getInstanceTypes":
                (architecture,) = filters["processor-info.supported-architecture"]
                names = [s for s in filters["instance-type"] if SIZES[s][0] == architecture]
                return {"instanceTypes": names}
            case "getInstances":
                return {"ids": []}
            case "getSubnet":
                if "filters" in args.args:
                    raise Said("no matching EC2 Subnet found")
                if args.args["id"] != GIVEN["subnet"]:
                    raise Said("api error InvalidSubnetID.NotFound: The subnet ID does not exist")
                return SUBNET
        raise AssertionError(f"the program called {args.token}")


def refusing(text: str) -> type[Answers]:
    """An AWS that says this to whatever is asked."""

    class Refusing(AwsAnswers):
        def call(self, args: mocks.MockCallArgs) -> Any:
            if args.token.startswith("aws:"):
                raise Said(text)
            return super().call(args)

    return Refusing


class InZoneC(AwsAnswers):
    """The subnet that an earlier update made lies in us-west-1c."""

    runs = False

    def call(self, args: mocks.MockCallArgs) -> Any:
        filters = {f["name"]: f["values"] for f in args.args.get("filters", [])}
        match args.token.rpartition(":")[2]:
            case "getSubnet" if "id" not in args.args:
                assert filters == {"tag:stack": ["prod"], "tag:Name": ["*-aws-us-west-1-subnet"]}
                return SUBNET
            case "getInstances":
                assert filters["tag:stack"] == ["prod"]
                runs = self.runs and filters["tag:node"] == ["lax-aws-1"]
                return {"ids": ["i-0c"] if runs else []}
        return super().call(args)


class RunsInZoneC(InZoneC):
    """And so does the member."""

    runs = True


class InTwo(AwsAnswers):
    """Two stacks of the same name."""

    def call(self, args: mocks.MockCallArgs) -> Any:
        if args.token.endswith(":getSubnet"):
            raise Said("multiple EC2 Subnets matched; use additional constraints to reduce matches")
        return super().call(args)


NODES = {"lax-vultr-1": {"number": 1}, "ord-vultr-1": {"number": 2}, "lax-aws-1": {"number": 5}}


def deploy(
    nothing_exists: bool = False,
    answers: type[Answers] = AwsAnswers,
    stack: str = "prod",
    **changes: Any,
) -> Run:
    """Two edges and a member with these keys changed."""
    providers = {"vultr": {"checkAccount": False}} | changes.pop("providers", {})
    keys = prod() | {
        "admin": {"ssh": ["207.231.1.46/32"], "keys": KEYS},
        "nodes": NODES,
        "providers": providers,
        "bgpPassword-vultr": PASSWORD,
        "vultr:apiKey": KEY,
        **changes,
    }
    return run(
        keys,
        stack=stack,
        nothing_exists=nothing_exists,
        secret_keys=("bgpPassword-vultr", "vultr:apiKey"),
        answers=answers,
    )


def member(**keys: Any) -> dict[str, Any]:
    """The nodes, the member with these keys."""
    return {"nodes": NODES | {"lax-aws-1": {"number": 5} | keys}}


@pytest.fixture(scope="module")
def deployed() -> Run:
    return deploy()


@pytest.fixture(scope="module")
def crowded() -> Run:
    """A peer more than one group has rules for."""
    return deploy(**fleet(61))


class TestServer:
    """An instance is what the plan says, and stays what it was born as."""

    @pytest.fixture
    def one(self, deployed: Run) -> Registered:
        return deployed.resources[f"{NODE}-instance"]

    def test_is_described_by_the_plan(self, one: Registered) -> None:
        tags = {"stack": "prod", "node": "lax-aws-1"}
        assert {k: v for k, v in one.inputs.items() if k != "userDataBase64"} == {
            "region": "us-west-1",
            "ami": "ami-0c",
            "instanceType": "t3.small",
            "primaryNetworkInterface": {"networkInterfaceId": f"{NODE}-interface-id"},
            "metadataOptions": {
                "httpEndpoint": "enabled",
                "httpTokens": "required",
                "httpPutResponseHopLimit": 1,
            },
            "userDataReplaceOnChange": False,
            "rootBlockDevice": {"encrypted": True, "tags": tags | {"Name": f"{NODE}-disk"}},
            "tags": tags | {"Name": f"{NODE}-instance"},
        }

    def test_keeps_its_user_data_secret_and_compressed(self, one: Registered) -> None:
        assert "userDataBase64" in one.secrets
        text = gzip.decompress(base64.b64decode(one.inputs["userDataBase64"])).decode()
        assert text.startswith("#cloud-config\n")

    def test_is_not_replaced_by_what_it_was_born_with(self, one: Registered) -> None:
        assert {"ami", "userDataBase64"} <= set(one.ignore_changes)

    def test_leaves_to_its_interface_whether_it_forwards(self, one: Registered) -> None:
        """The provider would set it back to what instances without an interface have."""
        assert "sourceDestCheck" in one.ignore_changes

    def test_gives_its_interface_up_before_another_takes_it(self, one: Registered) -> None:
        assert one.delete_before_replace

    def test_waits_for_its_way_to_the_internet(self, one: Registered) -> None:
        way = {f"{NODE}-association", *(f"{HERE}-{part}" for part in ("default4", "routed"))}
        assert way | {f"{HERE}-out-v4"} <= set(one.depends_on)

    def test_the_same_user_data_give_the_same_bytes(self) -> None:
        assert packed("#cloud-config\n") == packed("#cloud-config\n")


class TestAddresses:
    """They are there before the server, and after it."""

    def test_both_are_protected_and_what_binds_them_is_not(self, deployed: Run) -> None:
        ours = [r for r in deployed.resources.values() if r.type.startswith("aws:")]
        protected = {r.name for r in ours if r.protect}
        assert protected == {f"{NODE}-address", f"{NODE}-interface"}

    def test_the_interface_forwards_and_holds_the_address_of_its_number(
        self, deployed: Run
    ) -> None:
        inputs = deployed.resources[f"{NODE}-interface"].inputs
        assert inputs["privateIps"] == ["172.31.0.133"]
        assert inputs["sourceDestCheck"] is False
        assert inputs["securityGroups"] == [f"{HERE}-group-id", f"{HERE}-mates1-id"]
        assert inputs["ipv6AddressCount"] == 1

    def test_the_generation_is_told_where_the_node_is(self, deployed: Run) -> None:
        instance = deployed.resources["mesh-generation"].inputs["instances"]["lax-aws-1"]
        assert instance == {
            "id": f"{NODE}-instance-id",
            "created": "2026-01-01T00:00:00+00:00",
            "ipv4": "198.51.100.7",
            "ipv6": "2600:1f00::7",
            "inside": "172.31.0.133",
            "routers": ["172.31.0.4", "172.31.0.5"],
        }

    def test_a_node_without_ipv6_has_none(self) -> None:
        done = deploy(**member(ipv6=False))
        assert done.resources[f"{NODE}-interface"].inputs["ipv6AddressCount"] == 0
        public = done.stack["topology"]["nodes"]["lax-aws-1"]["addresses"]["public"]
        assert public == {"ipv4": "198.51.100.7", "ipv6": None}

    def test_only_the_reservation_keeps_routers_off_the_nodes_addresses(
        self, deployed: Run
    ) -> None:
        assert deployed.resources[f"{HERE}-nodes"].inputs["cidrBlock"] == "172.31.0.128/25"
        for endpoint in deployed.of("RouteServerEndpoint"):
            assert f"{HERE}-nodes" in endpoint.depends_on


class TestNetwork:
    """A VPC per region, or one that is there already."""

    def test_is_open_to_the_internet_in_both_families(self, deployed: Run) -> None:
        routes = [route.inputs for route in deployed.of("Route")]
        assert {r.get("destinationCidrBlock") for r in routes} == {"0.0.0.0/0", None}
        assert {r.get("destinationIpv6CidrBlock") for r in routes} == {"::/0", None}
        assert deployed.of("Subnet")[0].inputs["ipv6CidrBlock"] == "2600:1f00:aa00::/64"

    def test_an_address_is_unmapped_before_the_gateway_goes(self, deployed: Run) -> None:
        assert f"{HERE}-gateway" in deployed.resources[f"{NODE}-association"].depends_on

    def test_everything_is_in_the_region(self, deployed: Run) -> None:
        ours = [r for r in deployed.resources.values() if r.type.startswith("aws:")]
        assert {r.inputs["region"] for r in ours} == {"us-west-1"}

    def test_everything_that_takes_tags_has_a_name(self, deployed: Run) -> None:
        bare = {
            "SubnetCidrReservation", "Route", "RouteTableAssociation", "EipAssociation",
            "RouteServerVpcAssociation", "RouteServerPropagation",
        }  # fmt: skip
        for resource in deployed.resources.values():
            if resource.type.startswith("aws:") and resource.type.rpartition(":")[2] not in bare:
                tags = resource.inputs["tags"]
                assert (tags["Name"], tags["stack"]) == (resource.name, "prod")

    def test_one_that_was_given_is_used_as_it_is(self) -> None:
        done = deploy(providers={"aws": {"given": {"us-west-1": GIVEN}}})
        for kind in ("Vpc", "Subnet", "InternetGateway", "RouteTable", "Route"):
            assert not done.of(kind)
        assert done.resources[f"{NODE}-interface"].inputs["subnetId"] == GIVEN["subnet"]
        assert done.resources[f"{NODE}-interface"].inputs["privateIps"] == ["10.99.0.133"]
        (propagation,) = done.of("RouteServerPropagation")
        assert propagation.inputs["routeTableId"] == GIVEN["routeTable"]
        assert {g.inputs["vpcId"] for g in done.of("SecurityGroup")} == {GIVEN["vpc"]}


class TestZone:
    """A subnet is in one zone for ever, and an address of the region is mapped in no Local Zone."""

    @pytest.mark.parametrize(
        ("answers", "size", "zone"),
        [
            (AwsAnswers, "t3.small", "us-west-1a"),
            (AwsAnswers, "m7i.large", "us-west-1c"),
            (InZoneC, "t3.small", "us-west-1c"),
            (InZoneC, "m7i.large", "us-west-1c"),
            (InTwo, "t3.small", "us-west-1a"),
        ],
    )
    def test_has_every_size(self, answers: type[Answers], size: str, zone: str) -> None:
        done = deploy(answers=answers, **member(plan=size))
        (subnet,) = done.of("Subnet")
        assert subnet.inputs["availabilityZone"] == zone

    def test_that_lacks_a_size_is_told_before_anything_is_made(self) -> None:
        with pytest.raises(pulumi.RunError) as refusal:
            deploy(answers=InZoneC, **member(plan="c7i.large"))
        for said in (
            "mesh:nodes.lax-aws-1.plan = c7i.large: us-west-1c, where the subnet of the nodes lies",
            "has no such size for lax-aws-1; give lax-aws-1 a size that is there",
            "Name=location,Values=us-west-1c",
        ):
            assert said in str(refusal.value)

    def test_that_lacks_the_size_of_a_server_that_runs_stops_nothing(self) -> None:
        done = deploy(answers=RunsInZoneC, **member(plan="c7i.large"))
        (told,) = [line for line in done.log if "has no such size" in line]
        assert "lax-aws-1 keeps its server, and cannot be replaced" in told


class TestFirewall:
    """The groups let in what the plan says, and each node by itself."""

    def rules(self, done: Run) -> dict[str, dict[str, Any]]:
        return {each.name: each.inputs for each in done.of("SecurityGroupIngressRule")}

    @pytest.mark.parametrize(
        ("name", "rule"),
        [
            ("ssh-v4-207.231.1.46-32", ("tcp", 22, 22, "207.231.1.46/32", None)),
            ("wireguard-lax-vultr-1", ("udp", 51820, 51820, "198.18.0.24/32", None)),
            ("bgp-vpc-1", ("tcp", 179, 179, "172.31.0.4/32", None)),
            ("bfd-vpc-2", ("udp", 3784, 3784, "172.31.0.5/32", None)),
            ("icmp-v4", ("icmp", -1, -1, "0.0.0.0/0", None)),
            ("icmp-v6", ("icmpv6", -1, -1, None, "::/0")),
        ],
    )
    def test_speaks_awss_words(self, deployed: Run, name: str, rule: tuple[Any, ...]) -> None:
        found = self.rules(deployed)[f"{HERE}-{name}"]
        keys = ("ipProtocol", "fromPort", "toPort", "cidrIpv4", "cidrIpv6")
        assert tuple(found.get(key) for key in keys) == rule

    def test_nobody_else_is_let_in(self, deployed: Run) -> None:
        world = [
            rule for rule in self.rules(deployed).values()
            if "0.0.0.0/0" in rule.values() or "::/0" in rule.values()
        ]  # fmt: skip
        assert {rule["ipProtocol"] for rule in world} == {"icmp", "icmpv6"}

    def test_nodes_are_let_in_to_a_registry_that_few_networks_may_reach(self) -> None:
        few: dict[str, Any] = {"sources": ["198.51.100.0/24"]}
        rules = self.rules(deploy(registries=["lax-aws-1"], registry=few))
        keys = ("ipProtocol", "fromPort", "cidrIpv4", "securityGroupId")
        rule = rules[f"{HERE}-registry-lax-vultr-1"]
        tunnel = rules[f"{HERE}-wireguard-lax-vultr-1"]
        expected = ("tcp", 8443, tunnel["cidrIpv4"], f"{HERE}-callers1-id")
        assert tuple(rule[key] for key in keys) == expected

    def test_no_group_has_more_rules_than_aws_takes(self, crowded: Run) -> None:
        groups = [rule["securityGroupId"] for rule in self.rules(crowded).values()]
        assert max(groups.count(group) for group in groups) <= RULES
        assert f"{HERE}-mates2-id" in groups

    def test_a_node_more_moves_no_rule(self, crowded: Run) -> None:
        before, after = self.rules(deploy(**fleet(60))), self.rules(crowded)
        assert {
            name: rule["securityGroupId"] for name, rule in after.items() if name in before
        } == {name: rule["securityGroupId"] for name, rule in before.items()}


def fleet(count: int) -> dict[str, Any]:
    """A member as number 200, and as many edges, five in a region."""
    regions: dict[str, Any] = {"lax": prod()["regions"]["lax"]}
    nodes: dict[str, Any] = {"lax-aws-1": {"number": 200}}
    for index in range(count):
        region, base = f"r{index // 5}", 8 * (index // 5 + 1)
        one = regions.setdefault(
            region,
            {
                "name": region,
                "location": [0.0, float(index)],
                "block": f"192.30.{120 + base // 256}.{base % 256}/29",
                "slots": {},
                "at": {"vultr": "lax"},
            },
        )
        slot = f"vultr-{index % 5 + 1}"
        one["slots"][slot] = f"192.30.{120 + base // 256}.{base % 256 + index % 5 + 1}"
        nodes[f"{region}-{slot}"] = {"number": index + 1}
    reflectors = ["r0-vultr-1", "lax-aws-1"]
    services = prod()["services"]
    services["web"]["addresses"] = {"ipv4": "192.30.121.200", "ipv6": "2620:71:4000::200"}
    return {
        "regions": regions, "nodes": nodes, "reflectors": reflectors, "registries": reflectors[:1],
        "services": services, "providers": {"aws": {"network": "172.31.0.0/22"}},
    }  # fmt: skip


def test_a_renamed_stack_replaces_nothing(deployed: Run) -> None:
    """What tells the stack's name is changed in place by its provider, or kept as it is."""
    in_place = {
        "NetworkInterface": {"description", "tags"},
        "FirewallGroup": {"description"},
        "SSHKey": {"name"},
        "Candidate": {"wanted"},
        "Publish": {"plan", "wanted"},
        "Instance": {"tags", "rootBlockDevice"},  # of the device its tags, see below
    }
    renamed, changed = deploy(stack="core"), set()
    servers = [done.resources[f"{NODE}-instance"].inputs for done in (deployed, renamed)]
    disks = [server["rootBlockDevice"] for server in servers]
    assert {**disks[0], "tags": {}} == {**disks[1], "tags": {}}
    for name, after in renamed.resources.items():
        before, kind = deployed.resources[name].inputs, after.type.rpartition(":")[2]
        differing = {key for key in before if before[key] != after.inputs.get(key)}
        left = differing - set(after.ignore_changes) - in_place.get(kind, {"tags"})
        if kind == "SecurityGroup":
            assert {"name", "description"} <= differing
        changed |= {(kind, key) for key in left - {"__provider"}}
    assert changed == set()


class TestUnknowns:
    """A preview of a stack of which nothing exists."""

    def test_plans_the_same_resources(self, deployed: Run) -> None:
        previewed = deploy(nothing_exists=True)
        assert set(previewed.resources) == set(deployed.resources)
        rule = previewed.resources[f"{HERE}-wireguard-lax-vultr-1"].inputs
        assert rule["cidrIpv4"] == rule["securityGroupId"] == UNKNOWN


def key(number: int) -> str:
    """A public key that no compression shortens."""
    kind = b"\0\0\0\x0bssh-ed25519\0\0\0 "
    blob = kind + hashlib.sha256(str(number).encode()).digest()
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} k{number}"


class TestRefusals:
    """What AWS would refuse is said before anything is asked for."""

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            (
                {"providers": {"aws": {"image": "debian-99-*"}}},
                ["mesh:providers.aws.image = debian-99-*", "Debian has no image of that name"],
            ),
            (
                {"providers": {"aws": {"plan": "t3.smal"}}},
                ["mesh:providers.aws.plan = t3.smal", "us-west-1 has no such instance type"],
            ),
            (
                member(plan="t4g.small"),
                ["mesh:nodes.lax-aws-1.plan = t4g.small", "its processor is not x86_64"],
            ),
            (
                {
                    "nodes": NODES
                    | {"lax-aws-1": {"number": 5, "plan": "m7i.large"}}
                    | {"lax-aws-2": {"number": 6, "plan": "c7i.large"}},
                    "regions": {
                        **prod()["regions"],
                        "lax": prod()["regions"]["lax"]
                        | {"slots": {"vultr-1": "192.30.120.1", "aws-1": "192.30.120.3",
                                     "aws-2": "192.30.120.5"}},
                    },
                },
                ["us-west-1 has no zone that has c7i.large and m7i.large", "lies in one"],
            ),
            (
                {"nodes": NODES | {"ord-aws-1": {"number": 6}}},
                ["mesh:regions.ord.at.aws = us-east-2", "not enabled", "ord-aws-1 is there"],
            ),
            (
                {"nodes": NODES | {"lax-aws-1": {"number": 200}}},
                ["mesh:nodes.lax-aws-1.number = 200", "upper half of 172.31.0.0/24", "up to 126"],
            ),
            (
                {"providers": {"aws": {"network": "10.10.10.0/24"}}},
                ["mesh:providers.aws.network = 10.10.10.0/24", "overlaps 10.10.10.0/24"],
            ),
            (
                {"providers": {"aws": {"network": "172.31.0.0/29"}}},
                ["mesh:providers.aws.network = 172.31.0.0/29", "a /16 to a /28"],
            ),
            (
                {"providers": {"aws": {"given": {"us-west-9": GIVEN}}}},
                ["mesh:providers.aws.given.us-west-9", "aws has no such region"],
            ),
            (
                {"providers": {"aws": {"given": {
                    "us-west-1": GIVEN | {"subnet": "subnet-11111111"}}}}},
                ["mesh:providers.aws.given.us-west-1.subnet = subnet-11111111", "no such subnet"],
            ),
            (
                {"providers": {"aws": {"given": {"us-west-1": GIVEN | {"vpc": "vpc-11111111"}}}}},
                ["mesh:providers.aws.given.us-west-1.vpc = vpc-11111111", GIVEN["vpc"]],
            ),
            (
                {"providers": {"aws": {"given": {"us-west-1": GIVEN}}},
                 "tunnels": {"ipv4": "10.99.0.0/16", "ipv6": "fd00:10:10::/48"}},
                ["mesh:providers.aws.given.us-west-1.subnet = 10.99.0.0/24", "overlaps 10.99.0.0"],
            ),
            (
                {"admin": {"ssh": ["207.231.1.46/32"], "keys": [key(n) for n in range(400)]}},
                ["mesh:nodes.lax-aws-1 = ", "bytes of user data", "AWS takes 16384 bytes"],
            ),
            (
                {"admin": {"ssh": [f"198.51.100.{n}/32" for n in range(61)], "keys": KEYS}},
                ["mesh:admin.ssh = 61 networks", f"AWS takes {RULES}"],
            ),
            (
                member(announce=True),
                ["mesh:nodes.lax-aws-1.announce = true", "AWS takes no announcement"],
            ),
        ],
        ids=[
            "image", "size", "processor", "sizes apart", "region not enabled", "number",
            "network of the mesh", "narrow network", "no region", "no subnet", "another VPC",
            "subnet of the mesh", "user data", "rules", "announce",
        ],
    )  # fmt: skip
    def test_names_key_value_reason_and_cure(
        self, changes: dict[str, Any], said: list[str]
    ) -> None:
        with pytest.raises(pulumi.RunError) as refusal:
            deploy(**changes)
        assert all(part in str(refusal.value) for part in said), refusal.value

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                "operation error EC2: DescribeRegions, api error AuthFailure: AWS was not able to "
                "validate the provided access credentials",
                "AWS_ACCESS_KEY_ID = [secret]: AWS does not know these credentials",
            ),
            (
                "operation error EC2: DescribeRegions, api error RequestExpired: Request has "
                "expired.",
                "the credentials for AWS have expired",
            ),
            (
                "operation error EC2: DescribeRegions, api error UnauthorizedOperation: You are "
                "not authorized to perform this operation.",
                "these credentials may not look at EC2",
            ),
            (
                'Post "https://ec2.us-east-1.amazonaws.com/": dial tcp: no such host',
                'AWS answers: Post "https://ec2.us-east-1.amazonaws.com/": dial tcp: no such host',
            ),
        ],
        ids=["wrong", "expired", "not allowed", "no network"],
    )
    def test_says_why_aws_did_not_answer_in_one_sentence(self, text: str, said: str) -> None:
        with pytest.raises(pulumi.RunError) as refusal:
            deploy(answers=refusing(text))
        assert said in str(refusal.value)
        assert len(str(refusal.value).splitlines()) == 2
