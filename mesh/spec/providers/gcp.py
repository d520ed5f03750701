"""GCP: members only. There is BGP inside a VPC (Cloud Router), but none with the Internet."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated

from pydantic import Field

from mesh.services.checks.check import Whole
from mesh.spec.providers.provider import Provider, Vpc
from mesh.spec.section import Section
from mesh.spec.types import Network4


class Options(Section):
    """Options of GCP."""

    project: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")] | None = None
    """Id of the project in which everything is made; without it, ``gcp:project`` or the environment
    names it."""
    plan: str = "e2-small"
    """Machine type of a node that has no ``plan`` of its own."""
    image: str = "debian-13"
    """Image family of the project ``debian-cloud`` for new servers."""
    network: Network4 = IPv4Network("10.200.0.0/16")
    """Private network of the stack, of which each of GCP's regions has a /24."""
    router_asn: Annotated[Whole, Field(ge=64512, le=65534, alias="routerAsn")] = 65020
    """The private ASN of the Cloud Routers."""
    zone: Annotated[str, Field(pattern=r"^[a-z]$")] = "b"
    """Letter of the zone within a region in which servers are made; those that run stay in
    theirs."""


IMAGES = "projects/debian-cloud/global/images/family"
"""Where the families of Debian images are."""

FACTS = Provider(
    name="gcp",
    asn=15169,
    lab_number=3,
    announces=False,
    refusal=(
        "GCP takes no announcement to the Internet from an instance (it announces a customer's "
        "prefix itself, as a public advertised prefix)"
    ),
    # cloud.google.com/vpc/docs/mtu: 1460 by default.
    mtu=1460,
    translates=True,
    # cloud.google.com, "Router appliance": two interfaces of a Cloud Router, multihop since an
    # instance's own subnet is a /32 to it. REST reference of routers: an MD5 key for each peer, of
    # 80 printable characters. docs.cloud.google.com/network-connectivity/docs/router/concepts/bfd:
    # BFD with VLAN attachments only, not with router appliances.
    vpc=Vpc(routers=2, multihop=2, password=True, bfd=False),
    # cloud.google.com/compute/docs/metadata: 256 KB per value.
    user_data_limit=262_144,
    options=Options,
    examples={
        (): "{project: my-project, plan: e2-medium}",
        ("plan",): "e2-medium",
        ("project",): "my-project",
    },
    keys=("`gcp:project`, where `mesh:providers.gcp.project` is not set",),
    plan_form=r"^[a-z][a-z0-9]*-[a-z0-9-]+$",
    # A region's place in this table is the number of its subnet: new ones go to the end.
    regions={
        "us-west1": (45.60, -121.18), "us-west2": (33.94, -118.41), "us-west3": (40.79, -111.98),
        "us-west4": (36.08, -115.15), "us-central1": (41.26, -95.86), "us-east1": (33.19, -80.01),
        "us-east4": (39.03, -77.47), "us-east5": (39.96, -83.00), "us-south1": (32.90, -97.04),
        "northamerica-northeast1": (45.50, -73.57), "northamerica-northeast2": (43.68, -79.63),
        "southamerica-east1": (-23.43, -46.47), "europe-west1": (50.47, 3.82),
        "europe-west2": (51.47, -0.45), "europe-west3": (50.03, 8.56),
        "europe-west4": (53.44, 6.84),
        "europe-west6": (47.46, 8.55), "europe-west9": (49.01, 2.55),
        "europe-north1": (60.57, 27.19), "asia-northeast1": (35.77, 140.39),
        "asia-northeast2": (34.79, 135.44), "asia-northeast3": (37.46, 126.44),
        "asia-southeast1": (1.36, 103.99), "asia-south1": (19.09, 72.87),
        "australia-southeast1": (-33.95, 151.18), "me-west1": (32.01, 34.89),
        "africa-south1": (-26.14, 28.25),
    },
    at={
        "lax": "us-west2", "sea": "us-west1", "ord": "us-central1", "ewr": "us-east4",
        "iad": "us-east4", "mia": "us-east1", "dfw": "us-south1", "fra": "europe-west3",
        "eu": "europe-west3", "lhr": "europe-west2", "nrt": "asia-northeast1",
        "apac": "asia-northeast1",
    },
)  # fmt: skip
