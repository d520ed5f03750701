"""AWS: members only. There is BGP inside a VPC (Route Server), but none with the Internet."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated

from pydantic import AfterValidator, Field

from mesh.services.checks.check import Whole
from mesh.spec.providers.provider import Provider, Vpc
from mesh.spec.section import Section
from mesh.spec.types import InvalidValue, Network4

WIDEST, NARROWEST = 16, 28
"""Lengths that a VPC and its subnets may have (docs.aws.amazon.com, "VPC CIDR blocks")."""


def _of_a_vpc(network: IPv4Network) -> IPv4Network:
    """Refuse what cannot be a VPC's network."""
    if not WIDEST <= network.prefixlen <= NARROWEST:
        raise InvalidValue(
            f"the network of a VPC is a /{WIDEST} to a /{NARROWEST}", "write it as 172.31.0.0/24"
        )
    if not network.is_private:
        raise InvalidValue("the network of a VPC has to be private", "use a range of RFC 1918")
    return network


class ExistingVpc(Section):
    """A VPC that exists already, by the ids that AWS gave to it and its parts."""

    vpc: Annotated[str, Field(pattern=r"^vpc-[0-9a-f]{8,17}$")]
    """The VPC."""
    subnet: Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")]
    """The subnet in which the nodes are made."""
    route_table: Annotated[str, Field(pattern=r"^rtb-[0-9a-f]{8,17}$", alias="routeTable")]
    """The route table that learns the aggregates from the Route Server."""


class Options(Section):
    """Options of AWS."""

    plan: str = "t3.small"
    """Instance type of a node that has no ``plan`` of its own."""
    image: str = "debian-13-amd64-*"
    """Name of an official Debian AMI for new servers, in which ``*`` stands for any characters."""
    network: Annotated[Network4, AfterValidator(_of_a_vpc)] = IPv4Network("172.31.0.0/24")
    """Private network, a /16 to a /28, of the VPC that is made in each region that has none in
    ``given``; the upper half is the nodes', each with the address of its number."""
    router_asn: Annotated[Whole, Field(ge=64512, le=65534, alias="routerAsn")] = 65010
    """The private ASN of the VPC's Route Server."""
    given: dict[str, ExistingVpc] = Field(default={})
    """VPCs that exist already and are used, by AWS's name of their region."""


FACTS = Provider(
    name="aws",
    asn=16509,
    lab_number=2,
    announces=False,
    refusal=(
        "AWS takes no announcement to the Internet from an instance (it announces a customer's "
        "prefix itself, as BYOIP)"
    ),
    mtu=1500,
    translates=True,
    # docs.aws.amazon.com, "VPC Route Server": two endpoints in a subnet, BFD, no MD5.
    vpc=Vpc(routers=2, multihop=None, password=False, bfd=True),
    # docs.aws.amazon.com, "Run commands at launch": 16 KB before base64; gzip is taken.
    user_data_limit=16_384,
    options=Options,
    examples={
        (): "{plan: t3.medium, network: 172.31.8.0/24}",
        ("plan",): "t3.medium",
        ("given",): (
            "{us-west-2: {vpc: vpc-0123456789abcdef0, subnet: subnet-0123456789abcdef0, "
            "routeTable: rtb-0123456789abcdef0}}"
        ),
        ("given", "*", "vpc"): "vpc-0123456789abcdef0",
        ("given", "*", "subnet"): "subnet-0123456789abcdef0",
        ("given", "*", "routeTable"): "rtb-0123456789abcdef0",
    },
    plan_form=r"^[a-z][a-z0-9-]*[0-9][a-z0-9-]*\.[a-z0-9-]+$",
    regions={
        "us-east-1": (38.95, -77.45), "us-east-2": (40.00, -83.00), "us-west-1": (37.36, -121.93),
        "us-west-2": (45.84, -119.70), "ca-central-1": (45.50, -73.57),
        "eu-central-1": (50.03, 8.56), "eu-west-1": (53.35, -6.26), "eu-west-2": (51.47, -0.45),
        "eu-west-3": (49.01, 2.55), "eu-north-1": (59.65, 17.92), "eu-south-1": (45.46, 9.19),
        "ap-northeast-1": (35.77, 140.39), "ap-northeast-2": (37.46, 126.44),
        "ap-northeast-3": (34.79, 135.44), "ap-south-1": (19.09, 72.87),
        "ap-southeast-1": (1.36, 103.99), "ap-southeast-2": (-33.95, 151.18),
        "sa-east-1": (-23.43, -46.47), "af-south-1": (-33.97, 18.60), "me-south-1": (26.27, 50.63),
    },
    at={
        "lax": "us-west-1", "sjc": "us-west-1", "sea": "us-west-2", "ord": "us-east-2",
        "ewr": "us-east-1", "iad": "us-east-1", "mia": "us-east-1", "fra": "eu-central-1",
        "eu": "eu-central-1", "lhr": "eu-west-2", "nrt": "ap-northeast-1", "apac": "ap-northeast-1",
    },
)  # fmt: skip
