"""Vultr: takes announcements from instances, over a session that is the same in all regions."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Literal

from pydantic import Field

from mesh.operating_systems import OperatingSystem
from mesh.spec.providers.communities import Communities, Community, Towards
from mesh.spec.providers.provider import Provider, Upstream
from mesh.spec.section import Section


class Options(Section):
    """Options of Vultr."""

    plan: str = "vc2-1c-1gb"
    """Size of a server that has no ``plan`` of its own, by Vultr's name for it."""
    image: str = "Debian 13 x64 (trixie)"
    """Operating system of new servers, by Vultr's name for it."""
    openbsd: str | None = None
    """Operating system of new servers of nodes with ``os: openbsd``, by Vultr's name for it;
    without it the newest OpenBSD that Vultr has."""
    check_account: bool = Field(default=True, alias="checkAccount")
    """Whether a preview compares ASN, prefixes and password with the BGP page of the account."""
    reverse: Annotated[str, Field(pattern=r"^([a-z0-9-]{1,63}\.)+[a-z]{2,63}$")] | None = None
    """Domain of the reverse DNS names of the nodes' main addresses, as in
    ``lax-vultr-1.<domain>``; without it they get none."""
    through: Literal["api", "plugin"] = "api"
    """What makes the servers: ``api`` is this program itself on Vultr's v2 API, ``plugin`` the
    Pulumi plugin ``ediri-vultr``."""
    ddos_protection: bool = Field(default=False, alias="ddosProtection")
    """Whether instances have Vultr's DDoS protection, which it bills for each of them."""


_ASK_ANY_REGION = IPv6Address("2001:19f0:ffff::1")

# docs.vultr.com, "AS20473 BGP Communities Customer Guide", "Action Communities". 6602 and 6603 are
# exceptions from "do not advertise" (6000) there: alone they ask for nothing.
_INSIDE_ONLY = (20473, 6000)
# The same guide, "Informational Communities": from whom, and in which city.
_TAGS: dict[Community, str] = {
    (20473, 100): "transit", (20473, 200): "public peer", (20473, 300): "private peer",
    (20473, 500): "own", (20473, 4000): "customer",
    (20473, 11): "EWR", (20473, 12): "MIA", (20473, 13): "ORD", (20473, 14): "ATL",
    (20473, 15): "DFW", (20473, 16): "SEA", (20473, 17): "LAX", (20473, 18): "SJC",
    (20473, 19): "LHR", (20473, 20): "AMS", (20473, 21): "CDG", (20473, 22): "FRA",
    (20473, 23): "TYO", (20473, 24): "SYD", (20473, 25): "SGP",
}  # fmt: skip
_ACTIONS = Communities(
    asn=20473,
    peers=(64515, 20473),
    prepend=((20473, 6001), (20473, 6002), (20473, 6003)),
    prepend_to=(
        Towards(64601, (20473, 6001)),
        Towards(64602, (20473, 6002)),
        Towards(64603, (20473, 6003)),
    ),
    scopes={
        "all": (),
        "noIxp": ((20473, 6601),),
        "routeServersOnly": (_INSIDE_ONLY, (20473, 6602)),
        "ixpOnly": (_INSIDE_ONLY, (20473, 6603)),
        "providerOnly": (_INSIDE_ONLY,),
    },
    zero_med=(20473, 64609),
    zero_med_to=Towards(64609, (20473, 6009)),
    withhold_from=Towards(64600, (20473, 6000)),
    export_to=Towards(64699, (20473, 6099)),
    blackhole=(20473, 666),
    tags=_TAGS,
)

FACTS = Provider(
    name="vultr",
    asn=20473,
    lab_number=1,
    announces=True,
    mtu=1500,
    # docs.vultr.com, "Configuring BGP on Vultr": multihop 2, TCP MD5 per account; instances speak
    # with AS64515, bare metal with AS20473 (reference/values.md).
    upstream=Upstream(64515, IPv4Address("169.254.169.254"), _ASK_ANY_REGION, 2, password=True),
    bare_metal=Upstream(20473, IPv4Address("169.254.1.1"), _ASK_ANY_REGION, 2, password=True),
    communities=_ACTIONS,
    user_data_limit=16_384,
    # api.vultr.com/v2/os lists releases of OpenBSD for instances; nothing says so of bare metal.
    systems=(OperatingSystem.DEBIAN, OperatingSystem.OPENBSD),
    options=Options,
    examples={
        (): "{plan: vc2-2c-4gb, reverse: nodes.example.net}",
        ("plan",): "vc2-2c-4gb",
        ("openbsd",): "OpenBSD 7.9 x64",
        ("reverse",): "nodes.example.net",
    },
    keys=(
        "`vultr:apiKey`, the API key of the account at Vultr, which is a secret and may come from "
        "the environment variable `VULTR_API_KEY` instead",
    ),
    plan_form=r"^(vc2|vdc|vhf|vhp|voc-[cgms]|vx1|vbm)-[a-z0-9.-]+$",
    # api.vultr.com/v2/regions: the id is the city's IATA code.
    regions={
        "ams": (52.31, 4.76), "atl": (33.64, -84.43), "blr": (13.20, 77.71),
        "bom": (19.09, 72.87), "cdg": (49.01, 2.55), "del": (28.57, 77.10),
        "dfw": (32.90, -97.04), "ewr": (40.69, -74.17), "fra": (50.03, 8.56),
        "hnl": (21.32, -157.92), "icn": (37.46, 126.44), "itm": (34.79, 135.44),
        "jnb": (-26.14, 28.25), "lax": (33.94, -118.41), "lhr": (51.47, -0.45),
        "mad": (40.49, -3.57), "man": (53.35, -2.28), "mel": (-37.67, 144.84),
        "mex": (19.44, -99.07), "mia": (25.79, -80.29), "nrt": (35.77, 140.39),
        "ord": (41.98, -87.90), "sao": (-23.43, -46.47), "scl": (-33.39, -70.79),
        "sea": (47.45, -122.31), "sgp": (1.36, 103.99), "sjc": (37.36, -121.93),
        "sto": (59.65, 17.92), "syd": (-33.95, 151.18), "tlv": (32.01, 34.89),
        "waw": (52.17, 20.97), "yto": (43.68, -79.63),
    },
    at={"eu": "fra", "apac": "nrt"},
)  # fmt: skip
