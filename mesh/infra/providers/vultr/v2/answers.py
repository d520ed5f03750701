"""Vultr's answers as types. Unknown fields are ignored, and unknown values of an enumeration kept
as text, so that an extension of the API breaks nothing; a missing field is an error
(``errors.ApiError``). Passwords and console addresses have no field here, so that they are never
kept.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Answer(BaseModel):
    """One object of the API."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _list(value: Any) -> Any:
    """The API sometimes writes an empty list as null."""
    return () if value is None else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_list)]
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class Account(Answer):
    """``GET /account``; money in US dollars, a negative balance is credit."""

    name: Text = ""
    balance: float
    pending_charges: float


class BgpNetwork(Answer):
    """A prefix that the account may announce; one family's fields are empty."""

    v4_subnet: Text = ""
    v4_subnet_len: int | None = None
    v6_subnet: Text = ""
    v6_subnet_len: int | None = None


class Bgp(Answer):
    """``GET /account/bgp``. The password is a secret of the account's."""

    enabled: bool
    asn: int | None = None
    password: Text = Field(default="", repr=False)
    networks: Annotated[tuple[BgpNetwork, ...], BeforeValidator(_list)] = ()


class Region(Answer):
    """A region; ``options`` are the features there, such as ``ddos_protection``."""

    id: str
    options: Texts = ()


class Image(Answer):
    """An operating system."""

    id: int
    name: str
    family: Text = ""


class Plan(Answer):
    """A size of instances; ``monthly_cost`` in US dollars, ``locations`` are region ids.
    ``disk`` is in GB, 0 where it is not told."""

    id: str
    monthly_cost: float
    locations: Texts
    type: Text = ""
    disk: int = 0


class MetalPlan(Plan):
    """A kind of bare metal server."""


class SshKey(Answer):
    """A public key, which servers get at their creation."""

    id: str
    name: str
    ssh_key: str


class StartupScript(Answer):
    """A script that servers run at their first boot; ``script`` is base64, and empty in lists."""

    id: str
    name: str
    script: Text = ""


class Address(Answer):
    """A reserved address; ``instance_id`` is the server that holds it, empty for none."""

    id: str
    region: str
    ip_type: str
    subnet: str
    subnet_size: int
    label: Text
    instance_id: Text


class Group(Answer):
    """A firewall group."""

    id: str
    description: Text
    max_rule_count: int | None = None


class Rule(Answer):
    """A rule of a firewall group; ``id`` is its number. ``source`` is ``cloudflare``, or has no
    meaning: empty, or the subnet again."""

    id: int
    ip_type: str
    protocol: str
    port: Text
    subnet: str
    subnet_size: int
    source: Text = ""
    notes: Text = ""


class Server(Answer):
    """What instances and bare metal servers share. ``v6_main_ip`` is known later than the
    server; ``tags`` contain the mark. ``features`` has ``ipv6`` and ``ddos_protection``."""

    id: str
    label: Text
    region: str
    plan: str
    os_id: int
    main_ip: Text
    v6_main_ip: Text = ""
    status: str
    date_created: str
    tags: Texts
    features: Texts = ()

    @property
    def ipv4(self) -> str:
        """The main address; empty while there is none."""
        return "" if self.main_ip in ("", "0.0.0.0") else self.main_ip  # noqa: S104  none yet


class Instance(Server):
    """A virtual server. ``power_status`` is running or stopped, ``server_status`` none, locked,
    installingbooting, ok. ``disk`` is in GB, 0 where it is not told."""

    firewall_group_id: Text
    power_status: str
    server_status: str
    hostname: Text = ""
    disk: int = 0


class BareMetal(Server):
    """A bare metal server; it has no power status and no firewall group."""


class Upgrades(Answer):
    """``GET /instances/ID/upgrades``: the plans that an instance may be changed to."""

    plans: Texts = ()


class Name(Answer):
    """An address of an instance with its reverse name. IPv6 is written short or expanded."""

    ip: str
    reverse: Text

    def is_for(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether this is that address."""
        try:
            return ip_address(self.ip) == address
        except ValueError:
            return False


class UserData(Answer):
    """``GET /instances/ID/user-data``: base64."""

    data: Text
